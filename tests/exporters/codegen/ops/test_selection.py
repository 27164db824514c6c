from itertools import product
from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import normal
from helpers.operators import Case, Const, Timed, case, chain, check, examples
from hypothesis import given
from hypothesis import strategies as st

END = 2**63 - 1


def ints(*values: int) -> Const:
    return Const(np.array(values, np.int64))


LIMITS = (-(2**63), -9, -3, -1, 0, 1, 2, 4, 9, END)
SHAPE = (5, 4, 6)


def cuts(size: int) -> list[tuple[int, int, int]]:
    """Return starts, ends and steps that leave something of ``size`` elements."""
    found = []
    for start, end, step in product(LIMITS, LIMITS, (1, 2, 3, -1, -2)):
        stop = None if step < 0 and end < -size else end
        if len(range(*slice(start, stop, step).indices(size))):
            found.append((start, end, step))
    return found


@st.composite
def slice_case(draw: st.DrawFn) -> Case:
    axes = draw(st.sampled_from([(0,), (-1,), (1, 0), (-2, 2), (0, 1, 2)]))
    rows = [draw(st.sampled_from(cuts(SHAPE[axis]))) for axis in axes]
    starts, ends, steps = zip(*rows, strict=True)
    x = normal(draw(st.integers(0, 99)), *SHAPE)
    return case("Slice", x, ints(*starts), ints(*ends), ints(*axes), ints(*steps))


@examples(7)
@given(cases=st.lists(slice_case(), min_size=12, max_size=14))
def test_slices(tmp_path: Path, cases: list[Case]) -> None:
    check(cases, tmp_path)


def test_other_forms_of_slice_and_split(tmp_path: Path) -> None:
    x = normal(0, 6, 5)
    new = [
        case("Slice", x, ints(1, 2), ints(4, END)),
        case("Split", x, ints(1, 2, 3), results=3),
        case("Split", x, results=3, num_outputs=3),
        case("Split", x, results=2, axis=-1, num_outputs=2),
        case("Split", normal(1, 2, 6), ints(3, 3), results=2, axis=1),
    ]
    check(new, tmp_path)
    old = [
        case("Split", x, results=2, split=[4, 2]),
        case("Split", x, results=3),
        case("Split", x, results=5, axis=-1),
    ]
    check(old, tmp_path, opset=11)
    check([case("Slice", x, starts=[1, -2], ends=[-1, END], axes=[0, 1])], tmp_path, opset=9)


@st.composite
def gather_case(draw: st.DrawFn) -> Case:
    shape = draw(st.sampled_from([(5,), (4, 3), (2, 5, 3)]))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    size = shape[axis]
    kind = draw(st.sampled_from([np.int64, np.int32]))
    indices = rng.integers(-size, size, draw(st.sampled_from([(), (1,), (3,), (2, 2)]))).astype(
        kind
    )
    data = normal(draw(st.integers(0, 99)), *shape)
    return case("Gather", Const(data) if draw(st.booleans()) else data,
                Const(indices) if draw(st.booleans()) else indices, axis=axis)  # fmt: skip


@examples(7)
@given(cases=st.lists(gather_case(), min_size=12, max_size=14))
def test_gathers(tmp_path: Path, cases: list[Case]) -> None:
    check(cases, tmp_path)


def test_gathers_of_views_and_elements(tmp_path: Path) -> None:
    text = """
    a = Transpose (x)
    y = Gather <axis = 1> (a, i)
    b = Slice (x, s, e, z, m)
    z0 = Gather (b, i)
    """
    x = normal(0, 4, 3)
    operands = {
        "i": np.array([1, 0, -1]),
        "s": ints(-1),
        "e": ints(-9),
        "z": ints(0),
        "m": ints(-1),
    }
    rng = np.random.default_rng(0)
    check(
        [
            chain(text, "y z0", x=x, **operands),
            case("GatherElements", x, rng.integers(-4, 4, (2, 3)), axis=0),
            case("GatherElements", x, rng.integers(-3, 3, (4, 2)), axis=1),
            case("Tile", x, ints(2, 3)),
            case("Tile", normal(1, 2, 1, 3), ints(1, 4, 2)),
            chain("a = Neg (x)\nb = Transpose (a)\ny = Tile (b, r)", "y", x=x, r=ints(2, 2)),
        ],
        tmp_path,
    )


def test_indices_out_of_range_read_the_nearest_element(tmp_path: Path) -> None:
    library = check(
        [case("Gather", Const(np.arange(5, dtype=np.float32)), np.array([0, 4, -5]))], tmp_path
    )
    got = library.run({"c0_a1": np.array([99, -99, 2**62])})["c0_r0"]
    np.testing.assert_array_equal(got, [4, 0, 4])


@pytest.mark.parametrize("causal", [True, False])
def test_over_time(tmp_path: Path, causal: bool) -> None:
    x = Timed(normal(0, 2, 9, 4), 1)
    tokens = Timed(np.arange(9).reshape(1, 9) % 5, 1)
    cases = [
        case("Gather", Const(normal(1, 5, 3)), tokens),
        case("Gather", x, ints(1, 0, 0), axis=2),
        case("Gather", x, Const(np.array(-1)), axis=2),
        case("Slice", x, ints(1), ints(END), ints(2)),
        case("Slice", x, ints(-1), ints(-9), ints(2), ints(-2)),
        case("Split", x, ints(1, 3), results=2, axis=2),
        case("Tile", x, ints(2, 1, 2)),
    ]
    if not causal:
        cases += [
            case("Gather", x, Const(np.array(-1)), axis=1),
            case("Gather", x, np.array([0, -1]), axis=1),
            case("Slice", x, ints(-1), ints(END), ints(1)),
            chain(
                "a = Slice (x, z, m, o)\nb = Slice (x, z, o, o)\ny = Concat <axis = 1> (b, a)",
                "y",
                x=x,
                z=ints(0),
                m=ints(-1),
                o=ints(1),
            ),
            case("Slice", x, ints(-1), ints(-END), ints(1), ints(-1)),
        ]
    library = check(cases, tmp_path, causal=causal, chunk=4)
    assert not library.project.fixed_steps


def test_what_depends_on_the_steps_otherwise_takes_a_fixed_number(tmp_path: Path) -> None:
    x = Timed(normal(0, 1, 9, 4), 1)
    total = "b = ReduceSum <keepdims = 1> (r, one)\ny = Add (x, b)"
    numbers = {"zero": ints(0), "one": ints(1), "two": ints(2), "six": ints(6), "end": ints(END),
               "back": ints(-3)}  # fmt: skip
    for slice_ in ("zero, end, one, two", "back, end, one", "two, six, one"):
        text = f"r = Slice (x, {slice_})\n{total}"
        used = {name: value for name, value in numbers.items() if name in text}
        library = check([chain(text, "y", x=x, **used)], tmp_path, causal=False, atol=1e-5)
        assert library.project.fixed_steps
