from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.operators import Case, Const, Timed, case, chain, check, examples
from hypothesis import given
from hypothesis import strategies as st

from edgernn_exporters.codegen.ops import elementwise

FLOATS = {
    "Abs", "Neg", "Sign", "Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Erf", "Softplus",
    "Softsign", "Reciprocal", "Floor", "Ceil", "Round", "HardSwish", "Mish",
}  # fmt: skip
POSITIVE = ("Log", "Sqrt", "Reciprocal")
SHAPES = [(), (1,), (5,), (2, 3), (3, 1), (1, 3), (2, 3, 4), (2, 1, 4), (1, 3, 1)]


def data(seed: int, shape: tuple[int, ...], dtype: str = "float32", scale: float = 3.0) -> Any:
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype == "float32":
        return (rng.standard_normal(shape) * scale).astype(dtype)
    low = 0 if dtype.startswith("u") else -9
    return rng.integers(low, 10, shape).astype(dtype)


@pytest.mark.parametrize("opset", [13, 22])
def test_every_operator_of_one_float(tmp_path: Path, opset: int) -> None:
    x = data(0, (3, 5))
    known = FLOATS - ({"HardSwish", "Mish"} if opset == 13 else set())
    cases = [
        case(name, np.abs(x) + np.float32(0.1) if name in POSITIVE else x) for name in sorted(known)
    ]
    assert set(elementwise.UNARY) - FLOATS == {"BitwiseNot"}
    cases += [
        case("LeakyRelu", x, alpha=0.3),
        case("Elu", x, alpha=0.7),
        case("Celu", x, alpha=1.7),
        case("Selu", x),
        case("Selu", x, alpha=1.1, gamma=0.9),
        case("ThresholdedRelu", x, alpha=0.5),
        case("HardSigmoid", x, alpha=0.3, beta=0.4),
        case("Shrink", x, lambd=0.8, bias=0.2),
        case("IsNaN", x),
        case("IsInf", x, detect_negative=0),
    ]
    if opset > 20:
        cases += [case("Gelu", x), case("Gelu", x, approximate="tanh")]
    check(cases, tmp_path, opset=opset)


def test_hard_cases_of_rounding(tmp_path: Path) -> None:
    halves = np.arange(-4, 4, 0.5, np.float32)
    large = np.float32(
        [2**22 + 0.5, 2**22 + 1.5, 2**23 - 0.5, 2**23 + 1, 3e9, -1e30, -(2**22) - 0.5]
    )
    x = np.concatenate([halves, large, np.nextafter(halves, 9), np.nextafter(halves, -9)])
    names = ("Round", "Floor", "Ceil", "Sign")
    check([case(name, x.astype(np.float32), exact=True) for name in names], tmp_path)


@st.composite
def binary_case(draw: st.DrawFn) -> Case:
    seed = draw(st.integers(0, 1000))
    target = draw(st.sampled_from([(2, 3, 4), (3, 4), (4,)]))
    shapes = []
    for _ in range(2):
        kept = target[draw(st.integers(0, len(target))) :]
        shapes.append(tuple(1 if draw(st.booleans()) else size for size in kept))
    dtype = draw(st.sampled_from(["float32", "float32", "int64", "int32"]))
    arithmetic = ["Add", "Sub", "Mul", "Div", "Max", "Min", "Mod", "Equal", "Less", "Greater",
                  "LessOrEqual", "GreaterOrEqual"]  # fmt: skip
    if dtype == "float32":
        arithmetic += ["Pow", "PRelu", "Sum", "Mean"]
    name = draw(st.sampled_from(arithmetic))
    a, b = (data(seed + place, shape, dtype) for place, shape in enumerate(shapes))
    attributes = (
        {"fmod": 1} if name == "Mod" and (dtype == "float32" or draw(st.booleans())) else {}
    )
    if name in ("Div", "Mod"):
        b = np.where(b == 0, b + 1, b).astype(dtype)
    if name == "Pow":
        a = np.abs(a)
    if name == "PRelu":
        a, b = data(seed, (2, 3, 4)), data(seed, (shapes[1] or (1,)))
    second = draw(st.sampled_from([Const(b), b]))
    return case(name, *((second, a) if name not in ("PRelu", "Pow", "Div", "Mod") else (a, second)),
                **attributes)  # fmt: skip


@examples(9)
@given(cases=st.lists(binary_case(), min_size=12, max_size=14))
def test_operators_of_two_values(tmp_path: Path, cases: list[Case]) -> None:
    check(cases, tmp_path)


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "uint8"])
def test_integers(tmp_path: Path, dtype: str) -> None:
    a, b = data(1, (3, 4), dtype), data(2, (4,), dtype)
    b[b == 0] = 1
    names = ["Add", "Sub", "Mul", "Div", "Equal", "Less", "Greater", "Max", "Min", "Mod"]
    names += ["BitwiseAnd", "BitwiseOr", "BitwiseXor"]
    cases = [case(name, a, b) for name in names]
    cases += [case("Clip", a, Const(np.array(2, dtype)), Const(np.array(5, dtype)))]
    cases += [case("Abs", a), case("Sign", a), case("BitwiseNot", a), case("Max", a, b, a)]
    if dtype != "uint8":
        cases += [case("Neg", a), case("Relu", a), case("Mod", a, b, fmod=1)]
    check(cases, tmp_path)


def test_logic_and_choice(tmp_path: Path) -> None:
    a, b = data(1, (3, 4), "bool"), data(2, (4,), "bool")
    x, y = data(3, (3, 4)), data(4, (1,))
    cases = [case(name, a, b) for name in ("And", "Or", "Xor", "Equal")]
    cases += [
        case("Not", a),
        case("Where", a, x, y),
        case("Where", b, Const(np.float32(1)), x),
        case("Where", a, data(5, (4,), "int64"), data(6, (3, 1), "int64")),
        case("Where", a, b, a),
    ]
    check(cases, tmp_path)


def test_powers(tmp_path: Path) -> None:
    x = data(0, (40,), scale=2.0)
    positive = np.abs(x) + np.float32(0.01)
    constants = [2.0, 3.0, 0.5, -0.5, -1.0, -2.0, 1.7, -3.3, 0.0, 1.0, 4.0]
    cases = [case("Pow", positive, Const(np.float32(c))) for c in constants]
    cases += [
        case("Pow", x, Const(np.float32(3))),
        case("Pow", x, Const(np.array([2], np.int64))),
        case("Pow", x, data(1, (40,), "int32", 1) % 4),
        case("Pow", positive, x),
        case("Pow", x, Const(np.array([[2.0], [3.0]], np.float32))),
    ]
    check(cases, tmp_path, rtol=5e-6)


def test_clip_in_every_form(tmp_path: Path) -> None:
    x = data(0, (2, 5))
    check(
        [
            case("Clip", x, Const(np.float32(-1)), Const(np.float32(0.5))),
            case("Clip", x, None, Const(np.float32(0.5))),
            case("Clip", x, np.float32(-0.5)),
            case("Clip", x),
        ],
        tmp_path,
    )
    check([case("Clip", x, min=-1.0, max=0.3), case("Clip", x, max=0.1)], tmp_path, opset=10)


def test_more_than_two_values(tmp_path: Path) -> None:
    a, b, c = data(0, (2, 3)), data(1, (3,)), data(2, (2, 1))
    names = ("Max", "Min", "Sum", "Mean")
    cases = [case(name, a, b, c, Const(np.float32(0.3))) for name in names]
    check([*cases, *(case(name, a) for name in names)], tmp_path)


def test_float_remainder_is_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a = (rng.standard_normal(400) * 10.0 ** rng.integers(-38, 30, 400)).astype(np.float32)
    b = (rng.standard_normal(400) * 10.0 ** rng.integers(-38, 20, 400)).astype(np.float32)
    b[b == 0] = 1
    check([case("Mod", a, b, fmod=1, exact=True)], tmp_path)


CHAINS: list[Callable[[Any], Case]] = [
    lambda x: chain("a = Add (x, s)\nb = Sigmoid (a)\ny = Mul (x, b)", "y",
                    x=x, s=Const(np.float32(0.5))),
    lambda x: chain("a = Relu (x)\nb = Exp (a)\nc = Neg (b)\ny = Sub (c, a)", "y b", x=x),
    lambda x: chain("a = Tanh (x)\nb = Mul (a, a)\nc = Add (b, w)\ny = Sqrt (c)", "y",
                    x=x, w=Const(np.full((1, 1), 2, np.float32))),
    lambda x: chain("a = Sub (x, s)\nb = Softplus (a)\nc = Tanh (b)\ny = Mul (x, c)", "y a",
                    x=x, s=Const(np.float32([0.1, 0.2, 0.3]))),
    lambda x: chain("a = Less (x, s)\nb = Not (a)\nc = Cast <to = 1> (b)\ny = Mul (c, x)", "y",
                    x=x, s=Const(np.float32(0.2))),
]  # fmt: skip


def test_chains_become_one_expression(tmp_path: Path) -> None:
    x = data(0, (4, 2, 3))
    check([make(x) for make in CHAINS], tmp_path)


@pytest.mark.parametrize("axis", [0, 1])
def test_chains_over_time_in_chunks(tmp_path: Path, axis: int) -> None:
    x = data(0, (8, 7, 3))
    library = check([make(Timed(x, axis)) for make in CHAINS], tmp_path, causal=True, chunk=3)
    assert library.project.chunk == 3
    assert not library.project.fixed_steps
