from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import normal
from helpers.operators import Case, Const, Timed, case, check, examples
from hypothesis import given
from hypothesis import strategies as st

NAMES = ("Softmax", "LogSoftmax", "Hardmax")


@pytest.mark.parametrize("opset", [11, 13])
def test_softmax_in_both_meanings(tmp_path: Path, opset: int) -> None:
    shapes = [(5,), (3, 4), (2, 3, 4), (2, 1, 3, 2)]
    cases = [
        case(name, normal(place, *shape, scale=3), axis=axis)
        for name in NAMES
        for place, shape in enumerate(shapes)
        for axis in range(-len(shape) if opset > 11 else 0, len(shape))
    ]
    cases += [case(name, normal(9, 2, 3, 4)) for name in NAMES]
    check(cases, tmp_path, opset=opset)


def test_softmax_of_large_numbers(tmp_path: Path) -> None:
    x = np.float32([[1000, 999, -1000], [-3e38, 3e38, 0], [-1000, -1000, -1000]])
    check([case("Softmax", x), case("LogSoftmax", x)], tmp_path)


@st.composite
def normalization_case(draw: st.DrawFn) -> Case:
    seed, epsilon = draw(st.integers(0, 99)), draw(st.sampled_from([1e-5, 1e-3]))
    channels = draw(st.sampled_from([1, 2, 4, 6]))
    rest = draw(st.sampled_from([(5,), (3, 4), (9,), (2, 2)]))
    x = normal(seed, draw(st.integers(1, 2)), channels, *rest) * np.float32(2) + np.float32(1)
    names = ["LayerNormalization", "InstanceNormalization", "BatchNormalization",
             "GroupNormalization"]  # fmt: skip
    name = draw(st.sampled_from(names))
    if name == "LayerNormalization":
        axis = draw(st.integers(-x.ndim, x.ndim - 1))
        shape = x.shape[axis:] if axis else x.shape
        bias = [Const(normal(seed + 2, *shape))] if draw(st.booleans()) else []
        scale = normal(seed + 1, *shape)
        return case(name, x, scale if draw(st.booleans()) else Const(scale), *bias, axis=axis,
                    epsilon=epsilon)  # fmt: skip
    pair = Const(normal(seed + 1, channels)), Const(normal(seed + 2, channels))
    if name == "BatchNormalization":
        statistics = Const(normal(seed + 3, channels)), Const(np.abs(normal(seed + 4, channels)))
        return case(name, x, *pair, *statistics, epsilon=epsilon)
    if name == "GroupNormalization":
        groups = draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
        return case(name, x, *pair, num_groups=groups, epsilon=epsilon)
    return case(name, x, *pair, epsilon=epsilon)


@examples(7)
@given(cases=st.lists(normalization_case(), min_size=10, max_size=12))
def test_normalizations(tmp_path: Path, cases: list[Case]) -> None:
    check(cases, tmp_path, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("axis", [0, 1])
def test_over_time_in_chunks(tmp_path: Path, axis: int) -> None:
    shape = [1, 1, 6]
    shape[axis] = 9
    x = Timed(normal(0, *shape), axis)
    scale, bias = Const(normal(1, 6)), Const(normal(2, 6))
    cases = [case("LayerNormalization", x, scale, bias)]
    cases += [case(name, x, axis=2) for name in NAMES]
    statistics = [Const(np.abs(normal(place, 4))) for place in range(4)]
    cases.append(case("BatchNormalization", Timed(normal(3, 2, 4, 9), 2), *statistics))
    check(cases, tmp_path, causal=True, chunk=2, atol=1e-5)
    whole = [case("Softmax", x, axis=axis), case("LogSoftmax", x, axis=axis)]
    check(whole, tmp_path, causal=False)
