from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import normal
from helpers.operators import Case, Const, Timed, case, chain, check, examples
from hypothesis import given
from hypothesis import strategies as st

from edgernn_exporters.codegen.ops import reduction

NAMES = sorted({*reduction.REDUCTIONS, "ReduceLogSumExp"})


@st.composite
def reduction_case(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from(NAMES))
    shape = draw(st.sampled_from([(5,), (3, 4), (2, 3, 4), (2, 1, 3, 2)]))
    x = normal(draw(st.integers(0, 99)), *shape)
    if name == "ReduceLogSum":
        x = np.abs(x) + np.float32(0.1)
    if name in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd") and draw(st.booleans()):
        x = np.round(x * 3).astype(draw(st.sampled_from([np.int64, np.int32])))
    axes = draw(
        st.lists(st.integers(-len(shape), len(shape) - 1), unique_by=lambda a: a % len(shape))
    )
    keep = draw(st.integers(0, 1))
    attributes = {"keepdims": keep, "noop_with_empty_axes": draw(st.integers(0, 1))}
    if not axes:
        return case(name, x, **attributes)
    return case(name, x, Const(np.array(axes, np.int64)), **attributes)


@examples(9)
@given(cases=st.lists(reduction_case(), min_size=12, max_size=14))
def test_reductions(tmp_path: Path, cases: list[Case]) -> None:
    check(cases, tmp_path, rtol=2e-5)


def test_axes_as_an_attribute(tmp_path: Path) -> None:
    x = normal(0, 2, 3, 4)
    cases = [case(name, np.abs(x), axes=[0, -1], keepdims=0) for name in NAMES]
    check(cases, tmp_path, opset=12, rtol=2e-5)


def test_means_of_integers(tmp_path: Path) -> None:
    x = np.arange(-10, 14, dtype=np.int32).reshape(2, 3, 4)
    check([case("ReduceMean", x, Const(np.array([1])))], tmp_path)


@st.composite
def extreme_case(draw: st.DrawFn) -> Case:
    shape = draw(st.sampled_from([(5,), (3, 4), (2, 3, 4), (3, 1)]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.integers(0, 4, shape).astype(draw(st.sampled_from([np.float32, np.int32])))
    return case(
        draw(st.sampled_from(["ArgMax", "ArgMin"])), x,
        axis=draw(st.integers(-len(shape), len(shape) - 1)), keepdims=draw(st.integers(0, 1)),
        select_last_index=draw(st.integers(0, 1)),
    )  # fmt: skip


@examples(3)
@given(cases=st.lists(extreme_case(), min_size=10, max_size=12))
def test_places_of_extremes(tmp_path: Path, cases: list[Case]) -> None:
    check(cases, tmp_path)


def test_expressions_and_transposes_are_reduced_in_place(tmp_path: Path) -> None:
    text = """
    m = ReduceMean <keepdims = 1> (x, axis)
    d = Sub (x, m)
    s = Mul (d, d)
    v = ReduceMean <keepdims = 1> (s, axis)
    e = Add (v, eps)
    q = Sqrt (e)
    y = Div (d, q)
    """
    turned = (
        "a = Transpose <perm = [2, 0, 1]> (x)\nb = Exp (a)\ny = ReduceMax <keepdims = 0> (b, axis)"
    )
    operands = {"x": normal(0, 2, 3, 4), "axis": Const(np.array([-1]))}
    library = check(
        [chain(text, "y", eps=Const(np.float32(1e-5)), **operands), chain(turned, "y", **operands)],
        tmp_path,
        atol=1e-5,
    )
    assert library.project.scratch_bytes < 24 * 4 * 4


@pytest.mark.parametrize("causal", [True, False])
def test_over_time(tmp_path: Path, causal: bool) -> None:
    x = Timed(normal(0, 2, 9, 4), 1)
    axes = [0, 2] if causal else [1]
    cases = [
        case(name, x, Const(np.array(axes)), keepdims=0) for name in NAMES if "LogSum" not in name
    ]
    cases += [case("ReduceLogSumExp", x, Const(np.array(axes)))]
    cases += [case("ArgMax", x, axis=axes[-1], keepdims=0)]
    library = check(cases, tmp_path, causal=causal, chunk=4, rtol=2e-5, atol=1e-5)
    assert not library.project.fixed_steps
