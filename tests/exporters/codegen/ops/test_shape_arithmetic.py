from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import normal
from helpers.operators import Const, Timed, chain, check


def ints(*values: int) -> Const:
    return Const(np.array(values, np.int64))


COMMON = {
    "zero": Const(np.array(0)), "one": Const(np.array(1)), "two": Const(np.array(2)),
    "first": ints(0), "second": ints(1), "third": ints(2), "four": ints(4), "minus": ints(-1),
    "all": ints(2**62),
}  # fmt: skip

CHAINS = {
    "merge batch and time": """
        s = Shape (x)
        t = Gather (s, one)
        b = Gather (s, zero)
        bt = Mul (b, t)
        btu = Unsqueeze (bt, first)
        shape = Concat <axis = 0> (btu, minus)
        r = Reshape (x, shape)
        y = Reshape (r, s)
    """,
    "zeros of the size": """
        s = Shape (x)
        z = ConstantOfShape (s)
        y = Sub (x, z)
    """,
    "a part of the shape": """
        t = Shape <start = 1, end = 2> (x)
        shape = Concat <axis = 0> (minus, t, four)
        y = Reshape (x, shape)
    """,
    "slice of the shape": """
        s = Shape (x)
        a = Slice (s, first, third)
        p = ReduceProd <keepdims = 1> (a)
        shape = Concat <axis = 0> (p, four)
        r = Reshape (x, shape)
        e = Relu (r)
        y = Reshape (e, s)
    """,
    "expand with a choice": """
        s = Shape (x)
        e = Equal (s, minus)
        o = ConstantOfShape <value = int64[1] {1}> (third_)
        w = Where (e, o, s)
        y = Expand (x, w)
    """,
    "number of elements": """
        n = Size (x)
        q = Div (n, n)
        f = Cast <to = 1> (q)
        y = Mul (x, f)
    """,
    "split of the shape": """
        s = Shape (x)
        b, t, f = Split <axis = 0, num_outputs = 3> (s)
        shape = Concat <axis = 0> (t, b, f)
        r = Transpose <perm = [1, 0, 2]> (x)
        q = Reshape (r, shape)
        y = Transpose <perm = [1, 0, 2]> (q)
    """,
    "reading up to the size": """
        s = Shape (x)
        t = Gather (s, second)
        a = Slice (x, first, t, second)
        y = Neg (a)
    """,
    "more and less": """
        s = Shape (x)
        t = Gather (s, one)
        a = Add (t, two)
        b = Sub (a, two)
        c = Max (b, one)
        i = Cast <to = 6> (c)
        j = Cast <to = 7> (i)
        u = Unsqueeze (j, first)
        shape = Concat <axis = 0> (minus, u, four)
        y = Reshape (x, shape)
    """,
}


def operands(text: str) -> dict[str, Const]:
    known = {**COMMON, "third_": ints(3)}
    return {name: value for name, value in known.items() if name in text}


@pytest.mark.parametrize("causal", [None, True, False])
def test_shapes_as_data(tmp_path: Path, causal: bool | None) -> None:
    x = normal(0, 2, 9, 4)
    given = x if causal is None else Timed(x, 1)
    cases = [chain(text, "y", x=given, **operands(text)) for text in CHAINS.values()]
    library = check(cases, tmp_path, causal=causal, chunk=4)
    assert not library.project.fixed_steps


def test_steps_as_numbers(tmp_path: Path) -> None:
    """Where a number of steps is data, C computes it from the steps of the call."""
    mean = """
        s = Shape (x)
        t = Gather (s, one)
        f = Cast <to = 1> (t)
        a = ReduceSum <keepdims = 1> (x, second)
        y = Div (a, f)
        z = Add (x, y)
    """
    positions = """
        s = Shape (x)
        t = Gather (s, one)
        r = Range (zero, t, one)
        p = Gather (table, r)
        y = Add (x, p)
    """
    shape = "s = Shape (x)\nz = Gather (s, order)\nr = Reshape (x, s)\ny = Relu (r)"
    masked = """
        s = Shape (x)
        t = Gather (s, one)
        r = Range (zero, t, one)
        u = Unsqueeze (r, second)
        m = Less (u, r)
        f = Cast <to = 1> (m)
        g = Unsqueeze (f, first)
        y = MatMul (g, x)
    """
    x = Timed(normal(0, 2, 9, 4), 1)
    table = Const(normal(1, 20, 4))
    cases = [
        chain(mean, "y z", x=x, **operands(mean)),
        chain(positions, "y", x=x, table=table, **operands(positions)),
        chain(shape, "y z s", x=x, order=np.array([2, 1, 1])),
    ]
    library = check(cases, tmp_path, causal=False)
    assert not library.project.fixed_steps
    square = check([chain(masked, "y", x=x, **operands(masked))], tmp_path, causal=False, atol=1e-5)
    assert square.project.fixed_steps  # its mask has the square of the steps


def test_comparisons_that_depend_on_the_steps(tmp_path: Path) -> None:
    """As data they are computed in C; as a size they take a fixed number of steps."""
    data = """
        s = Shape (x)
        e = Equal (s, four)
        f = Cast <to = 1> (e)
        z = ReduceMax <keepdims = 0> (f)
        w = Add (x, z)
    """
    size = """
        s = Shape (x)
        e = Equal (s, four)
        o = Where (e, one, s)
        y = Reshape (x, o)
        b = ReduceSum <keepdims = 0> (y)
        w = Add (x, b)
    """
    x = Timed(normal(0, 2, 9, 3), 1)
    library = check([chain(data, "w", x=x, **operands(data))], tmp_path, causal=False)
    assert not library.project.fixed_steps
    library = check([chain(size, "w", x=x, **operands(size))], tmp_path, causal=False, atol=1e-5)
    assert library.project.fixed_steps
