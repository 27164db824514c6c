from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import normal
from helpers.operators import Case, Const, Timed, case, chain, check, examples
from hypothesis import given
from hypothesis import strategies as st


def ints(*values: int) -> Const:
    return Const(np.array(values, np.int64))


@st.composite
def concat_case(draw: st.DrawFn) -> Case:
    rank = draw(st.integers(1, 3))
    axis = draw(st.integers(-rank, rank - 1))
    parts = []
    for number in range(draw(st.integers(1, 4))):
        shape = [2, 3, 4][:rank]
        shape[axis] = draw(st.integers(1, 4))
        part = normal(number, *shape)
        parts.append(Const(part) if draw(st.booleans()) else part)
    return case("Concat", *parts, axis=axis)


@st.composite
def pad_case(draw: st.DrawFn) -> Case:
    shape = draw(st.sampled_from([(5,), (4, 5), (3, 4, 5)]))
    mode = draw(st.sampled_from(["constant", "constant", "edge", "reflect", "wrap"]))
    low = -2 if mode == "constant" else 0
    pads = [draw(st.integers(low, 2)) for _ in range(2 * len(shape))]
    for place, size in enumerate(shape):
        if size + pads[place] + pads[place + len(shape)] < 1:
            pads[place] = 0
    value = [Const(np.float32(1.5))] if draw(st.booleans()) else []
    return case("Pad", normal(draw(st.integers(0, 99)), *shape), ints(*pads), *value, mode=mode)


@examples(7)
@given(cases=st.lists(concat_case() | pad_case(), min_size=12, max_size=14))
def test_concats_and_pads(tmp_path: Path, cases: list[Case]) -> None:
    check(cases, tmp_path)


def test_other_forms(tmp_path: Path) -> None:
    x = normal(0, 3, 4)
    cases = [
        case("Pad", x, ints(1, 2), Const(np.float32(0)), ints(-1)),
        case("Pad", np.arange(4), ints(1, 2), Const(np.array(7))),
        case("Concat", np.arange(3), np.arange(4), axis=0),
        chain("a = Neg (x)\nb = Transpose (a)\nc = Concat <axis = 0> (b, b, z)\ny = Exp (c)", "y",
              x=x, z=normal(1, 1, 3)),
    ]  # fmt: skip
    check(cases, tmp_path)
    check([case("Pad", x, pads=[0, 1, 2, 0], value=0.5)], tmp_path, opset=10)


def test_cumulative_sums(tmp_path: Path) -> None:
    cases = [
        case("CumSum", x, Const(np.array(axis)), exclusive=exclusive, reverse=reverse)
        for x, axis in ((normal(0, 2, 3, 4), 1), (np.arange(6).reshape(2, 3), -1))
        for exclusive in (0, 1)
        for reverse in (0, 1)
    ]
    check(cases, tmp_path)


def test_over_time_in_chunks(tmp_path: Path) -> None:
    x, y = Timed(normal(0, 2, 9, 4), 1), Timed(normal(1, 2, 9, 3), 1)
    cases = [
        case("Concat", x, y, axis=2),
        case("Pad", x, ints(0, 0, 1, 0, 0, 2)),
        case("Pad", x, ints(0, 0, 1, 1, 0, 2), mode="edge"),
        case("CumSum", x, Const(np.array(2))),
        chain("a = Concat <axis = -1> (x, y)\nb = Relu (a)\nz = Transpose <perm = [1, 0, 2]> (b)",
              "z", x=x, y=y),
    ]  # fmt: skip
    check(cases, tmp_path, causal=True, chunk=4)


@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_along_time(tmp_path: Path, mode: str) -> None:
    x = Timed(normal(0, 2, 9, 4), 1)
    cut = "a = Slice (j, one, end, one)\ny = Relu (a)"
    cases = [
        chain(f"j = Concat <axis = 1> (s, x)\n{cut}", "y", x=x, s=Const(normal(1, 2, 1, 4)),
              one=ints(1), end=ints(2**62)),
        chain(f'j = Pad <mode = "{mode}"> (x, p)\n{cut}', "y", x=x, p=ints(0, 1, 0, 0, 0, 0),
              one=ints(1), end=ints(2**62)),
        case("CumSum", x, Const(np.array(1)), reverse=1),
    ]  # fmt: skip
    library = check(cases, tmp_path, causal=False)
    assert not library.project.fixed_steps
