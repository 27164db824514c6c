from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.graphs import normal
from helpers.operators import Case, Const, Timed, case, chain, check, examples
from hypothesis import given
from hypothesis import strategies as st

sizes = st.integers(1, 6)


@st.composite
def gemm_case(draw: st.DrawFn) -> Case:
    m, n, k = draw(sizes), draw(st.integers(1, 19)), draw(sizes)
    trans_a, trans_b = draw(st.booleans()), draw(st.booleans())
    seed = draw(st.integers(0, 99))
    a = normal(seed, *((k, m) if trans_a else (m, k)))
    b = normal(seed + 1, *((n, k) if trans_b else (k, n)))
    shapes = [None, (), (1,), (n,), (1, n), (m, 1), (m, n), (1, 1)]
    shape = draw(st.sampled_from(shapes))
    c = None if shape is None else normal(seed + 2, *shape)

    def maybe(value: Any) -> Any:
        return value if value is None or draw(st.booleans()) else Const(value)

    return case(
        "Gemm", a, maybe(b), maybe(c), transA=int(trans_a), transB=int(trans_b),
        alpha=draw(st.sampled_from([1.0, 0.5])), beta=draw(st.sampled_from([1.0, -2.0])),
    )  # fmt: skip


@st.composite
def matmul_case(draw: st.DrawFn) -> Case:
    m, n, k = draw(sizes), draw(st.integers(1, 19)), draw(st.integers(1, 20))
    seed = draw(st.integers(0, 99))
    outer = draw(st.sampled_from([((), ()), ((2,), ()), ((), (2,)), ((3, 1), (2,)), ((2,), (2,))]))
    a, b = normal(seed, *outer[0], m, k), normal(seed + 1, *outer[1], k, n)
    vector = draw(st.sampled_from(["no", "no", "left", "right", "both"]))
    if vector in ("left", "both"):
        a = a.reshape(-1, k)[0]
    if vector in ("right", "both"):
        b = b.reshape(-1, k, n)[0, :, 0]
    constant = draw(st.sampled_from(["none", "left", "right"]))
    return case("MatMul", Const(a) if constant == "left" else a,
                Const(b) if constant == "right" else b)  # fmt: skip


@examples(7)
@given(cases=st.lists(gemm_case() | matmul_case(), min_size=12, max_size=14))
def test_products(tmp_path: Path, cases: list[Case]) -> None:
    check(cases, tmp_path, atol=1e-5)


def test_a_bias_and_a_batch_normalization_are_taken_in(tmp_path: Path) -> None:
    w, b = normal(0, 5, 7), normal(1, 7)
    statistics = {"s": Const(normal(2, 7)), "t": Const(normal(3, 7)), "m": Const(normal(4, 7)),
                  "v": Const(np.abs(normal(5, 7)))}  # fmt: skip
    library = check(
        [
            chain("a = MatMul (x, w)\ny = Add (b, a)", "y", x=normal(6, 2, 3, 5), w=Const(w),
                  b=Const(b)),
            chain("a = MatMul (x, w)\ny = Add (a, b)", "y a", x=normal(6, 2, 5), w=Const(w),
                  b=Const(b)),
            chain("a = Gemm (x, w, b)\ny = BatchNormalization (a, s, t, m, v)", "y",
                  x=normal(7, 2, 5), w=Const(w), b=Const(b), **statistics),
        ],
        tmp_path,
    )  # fmt: skip
    assert library.project.macs_per_step == 35 * (6 + 2 + 2)


def test_rows_are_read_where_they_are(tmp_path: Path) -> None:
    x, w = normal(0, 4, 6, 8), normal(1, 3, 5)
    texts = {
        "part": "a = Slice (x, start, end, axis)\ny = MatMul (a, w)",
        "turned": "b = Transpose <perm = [0, 2, 1]> (x)\na = Slice (b, start, end, axis)\n"
                  "y = MatMul (a, w)",
        "left": "a = Slice (x, start, end, axis)\nb = Transpose <perm = [0, 2, 1]> (a)\n"
                "y = MatMul (wt, b)",
    }  # fmt: skip
    common = {"start": Const([2]), "end": Const([5]), "axis": Const([2]), "w": Const(w)}
    cases = [chain(texts["part"], "y", x=x, **common), chain(texts["turned"], "y", x=x, **common)]
    cases.append(
        chain("b = Transpose <perm = [0, 2, 1]> (x)\ny = MatMul (w, b)", "y", x=normal(2, 2, 4, 5),
              w=Const(w))
    )  # fmt: skip
    check(cases, tmp_path, atol=1e-5)


def test_attention(tmp_path: Path) -> None:
    text = """
    kt = Transpose <perm = [0, 2, 1]> (k)
    s = MatMul (q, kt)
    a = Mul (s, scale)
    p = Softmax <axis = -1> (a)
    y = MatMul (p, v)
    """
    operands = {name: normal(place, 2, 5, 12) for place, name in enumerate("qkv")}
    check([chain(text, "y p", scale=Const(np.float32(0.3)), **operands)], tmp_path)


@pytest.mark.parametrize("causal", [True, False])
def test_products_over_time(tmp_path: Path, causal: bool) -> None:
    w, b = Const(normal(0, 6, 17)), Const(normal(1, 17))
    x = Timed(normal(2, 2, 9, 6), 1)
    cases = [
        case("MatMul", x, w),
        chain("a = MatMul (x, w)\nb = Add (a, c)\ny = Relu (b)", "y", x=x, w=w, c=b),
        case("Gemm", Timed(normal(3, 9, 6), 0), w, b),
        case("Gemm", Timed(normal(3, 6, 9), 1), w, b, transA=1),
        case("MatMul", Timed(normal(4, 2, 9, 5), 1), normal(5, 2, 5, 3)),
        case("MatMul", Const(normal(6, 4, 6)), Timed(normal(7, 6, 9), 1)),
    ]
    library = check(cases, tmp_path, causal=causal, chunk=4, atol=1e-5)
    assert not library.project.fixed_steps


def test_integer_products(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 255, (3, 5), np.uint8), rng.integers(-128, 127, (5, 4), np.int8)
    zero = Const(np.uint8(128)), Const(np.int8(3))
    check([case("MatMulInteger", a, b), case("MatMulInteger", a, Const(b), *zero),
           case("MatMulInteger", a, b.astype(np.int16).astype(np.uint8), np.uint8(7))],
          tmp_path)  # fmt: skip


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m55"])
def test_layouts_of_other_targets(tmp_path: Path, target: str) -> None:
    w = Const(normal(3, 6, 3, 3))
    cases = [
        case("MatMul", normal(0, 3, 5), Const(normal(1, 5, 6))),
        case("Conv", normal(2, 1, 3, 8), w, Const(normal(4, 6))),
    ]
    check(cases, tmp_path, target=target, atol=1e-5)
