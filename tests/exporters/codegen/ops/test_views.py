from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import normal
from helpers.operators import Case, Const, Timed, case, chain, check, examples
from hypothesis import given
from hypothesis import strategies as st


def ints(*values: int) -> Const:
    return Const(np.array(values, np.int64))


def test_shapes_in_every_form(tmp_path: Path) -> None:
    x, single = normal(0, 2, 3, 4), normal(1, 1, 3, 1)
    check(
        [
            case("Identity", x),
            case("Reshape", x, ints(4, 6)),
            case("Reshape", x, ints(0, -1)),
            case("Reshape", x, ints(-1)),
            case("Flatten", x, axis=2),
            case("Flatten", x, axis=-1),
            case("Flatten", x, axis=0),
            case("Squeeze", single),
            case("Squeeze", single, ints(-1)),
            case("Unsqueeze", x, ints(0, -1)),
            case("Unsqueeze", x, ints(1, 3)),
            case("Dropout", x),
            case("Transpose", x),
            case("Transpose", x, perm=[1, 0, 2]),
            case("Transpose", single, perm=[1, 0, 2]),
            case("Expand", single, ints(2, 1, 4)),
            case("Expand", single, ints(5, 1, 1, 2)),
            case("Expand", np.float32(3), ints(2, 2)),
            case("Expand", Const(np.float32([[1], [2]])), ints(2, 3)),
            case("Transpose", np.arange(6).reshape(2, 3)),
        ],
        tmp_path,
    )


def test_axes_as_an_attribute(tmp_path: Path) -> None:
    x = normal(0, 2, 1, 3)
    check([case("Squeeze", x, axes=[1]), case("Unsqueeze", x, axes=[0, 4])], tmp_path, opset=12)


@st.composite
def chain_case(draw: st.DrawFn) -> Case:
    """A chain of views and cheap elementwise operators, which end as one loop."""
    sizes = [draw(st.sampled_from([1, 2, 3, 4])) for _ in range(3)]
    array = normal(draw(st.integers(0, 99)), *sizes)
    value, lines, constants, name = array, [], {}, "x"
    for number in range(draw(st.integers(2, 6))):
        out, rank = f"v{number}", value.ndim
        kind = draw(st.sampled_from(["turn", "cut", "shape", "add", "relu", "repeat", "wrap"]))
        if kind == "turn":
            order = draw(st.permutations(range(rank)))
            value = value.transpose(order)
            text = f"Transpose <perm = {list(order)}> ({name})"
        elif kind == "cut":
            axis = draw(st.integers(0, rank - 1))
            step = draw(st.sampled_from([1, 1, 2, -1]))
            start = draw(st.integers(0, value.shape[axis] - 1)) if step > 0 else value.shape[axis]
            end = value.shape[axis] if step > 0 else -(2**40)
            index = [slice(None)] * rank
            index[axis] = slice(start, None, step)
            value = value[tuple(index)]
            for letter, item in zip("seap", (start, end, axis, step), strict=True):
                constants[f"{letter}{number}"] = ints(item)
            text = f"Slice ({name}, s{number}, e{number}, a{number}, p{number})"
        elif kind == "shape":
            shape = draw(st.sampled_from([(-1,), (value.shape[0], -1), (1, -1, value.shape[-1])]))
            value = value.reshape(shape)
            constants[f"s{number}"] = ints(*shape)
            text = f"Reshape ({name}, s{number})"
        elif kind == "add":
            constants[f"c{number}"] = Const(normal(number, value.shape[-1]))
            value = value + constants[f"c{number}"].value
            text = f"Add ({name}, c{number})"
        elif kind == "relu":
            value = np.maximum(value, 0)
            text = f"Relu ({name})"
        elif kind == "repeat":
            shape = (2, *value.shape)
            value = np.broadcast_to(value, shape)
            constants[f"s{number}"] = ints(*shape)
            text = f"Expand ({name}, s{number})"
        else:
            value = value[:, None]
            constants[f"s{number}"] = ints(1)
            text = f"Unsqueeze ({name}, s{number})"
        lines.append(f"{out} = {text}")
        name = out
    outputs = [name, draw(st.sampled_from([name, "v0"]))]
    return chain("\n".join(lines), " ".join(dict.fromkeys(outputs)), x=array, **constants)


@examples(9)
@given(cases=st.lists(chain_case(), min_size=10, max_size=12))
def test_chains_of_views(tmp_path: Path, cases: list[Case]) -> None:
    check(cases, tmp_path)


def test_a_chain_of_views_copies_once(tmp_path: Path) -> None:
    text = """
    a = Transpose <perm = [0, 2, 1]> (x)
    b = Relu (a)
    c = Transpose <perm = [0, 2, 1]> (b)
    y = Add (c, one)
    """
    library = check([chain(text, "y", x=normal(0, 1, 4, 5), one=Const(np.float32(1)))], tmp_path)
    assert library.project.scratch_bytes == 0


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_over_time_in_chunks(tmp_path: Path, axis: int) -> None:
    shape = [2, 3, 4]
    shape[axis] = 9
    x = Timed(normal(0, *shape), axis)
    flat = [2, 3, 4]
    flat[axis] = -1
    cases = [
        case("Transpose", x),
        case("Transpose", x, perm=[1, 0, 2]),
        case("Unsqueeze", x, ints(0, 2)),
        case("Reshape", x, ints(*([*flat[:1], 0, 0] if axis == 0 else flat))),
        chain("a = Transpose (x)\nb = Tanh (a)\ny = Transpose <perm = [2, 0, 1]> (b)", "y", x=x),
        chain("a = Transpose (x)\ny = Unsqueeze (a, s)\nz = Squeeze (y, s)", "y z", x=x, s=ints(1)),
    ]
    library = check(cases, tmp_path, causal=True, chunk=4)
    assert not library.project.fixed_steps
