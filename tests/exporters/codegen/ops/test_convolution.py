from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import normal
from helpers.operators import Case, Const, Timed, case, chain, check, examples
from hypothesis import given
from hypothesis import strategies as st


@st.composite
def conv_case(draw: st.DrawFn) -> Case:
    rank = draw(st.sampled_from([1, 2]))
    group = draw(st.sampled_from([1, 1, 2, 3, "depthwise"]))
    inner, each = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    if group == "depthwise":
        group, inner, each = inner + 1, 1, draw(st.sampled_from([1, 1, 2]))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    dilations = [draw(st.sampled_from([1, 1, 2])) for _ in range(rank)]
    strides = [draw(st.sampled_from([1, 1, 2, 3])) for _ in range(rank)]
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    sizes = [draw(st.integers(span, 9)) for span in spans]
    seed = draw(st.integers(0, 99))
    attributes = {"group": group, "strides": strides, "dilations": dilations}
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if auto == "NOTSET":
        attributes["pads"] = [draw(st.integers(0, 2)) for _ in range(2 * rank)]
    else:
        attributes["auto_pad"] = auto
        if auto != "VALID":
            attributes["dilations"] = [1] * rank
    x = normal(seed, draw(st.sampled_from([1, 1, 2])), inner * group, *sizes)
    w = Const(normal(seed + 1, each * group, inner, *kernel))
    bias = draw(st.sampled_from([[], [Const(normal(seed + 2, each * group))]]))
    return case("Conv", x, w, *bias, **attributes)


@examples(9)
@given(cases=st.lists(conv_case(), min_size=10, max_size=12))
def test_conv(tmp_path: Path, cases: list[Case]) -> None:
    check(cases, tmp_path, atol=1e-5)


@st.composite
def conv_transpose_case(draw: st.DrawFn) -> Case:
    rank = draw(st.sampled_from([1, 2]))
    group = draw(st.sampled_from([1, 1, 2, 3]))
    inner, each = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    strides = [draw(st.integers(1, 4)) for _ in range(rank)]
    dilations = [draw(st.sampled_from([1, 1, 2])) for _ in range(rank)]
    sizes = [draw(st.integers(3, 6)) for _ in range(rank)]
    seed = draw(st.integers(0, 99))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = [draw(st.integers(0, max(0, min(span - 1, 2)))) for span in spans * 2]
    extra = [draw(st.integers(0, stride - 1)) for stride in strides]
    x = normal(seed, draw(st.sampled_from([1, 1, 2])), inner * group, *sizes)
    w = Const(normal(seed + 1, inner * group, each, *kernel))
    bias = draw(st.sampled_from([[], [Const(normal(seed + 2, each * group))]]))
    attributes = {"group": group, "strides": strides, "dilations": dilations, "pads": pads,
                  "output_padding": extra}  # fmt: skip
    return case("ConvTranspose", x, w, *bias, **attributes)


@examples(7)
@given(cases=st.lists(conv_transpose_case(), min_size=10, max_size=12))
def test_conv_transpose(tmp_path: Path, cases: list[Case]) -> None:
    check(cases, tmp_path, atol=1e-5)


def test_output_shape_and_auto_pad_of_conv_transpose(tmp_path: Path) -> None:
    x, w = normal(0, 1, 2, 5), Const(normal(1, 2, 3, 4))
    check(
        [
            case("ConvTranspose", x, w, strides=[2], output_shape=[11]),
            case("ConvTranspose", x, w, strides=[2], output_shape=[11], auto_pad="SAME_UPPER"),
            case("ConvTranspose", x, w, strides=[2], auto_pad="SAME_UPPER"),
            case("ConvTranspose", x, w, strides=[2], auto_pad="SAME_LOWER"),
            case("ConvTranspose", x, w, strides=[2], auto_pad="VALID"),
        ],
        tmp_path,
        atol=1e-5,
    )


STATISTICS = {"s": Const(normal(2, 4)), "t": Const(normal(3, 4)), "m": Const(normal(4, 4)),
              "v": Const(np.abs(normal(5, 4)))}  # fmt: skip


def test_stacks_stay_channels_last(tmp_path: Path) -> None:
    weights = {"w": Const(normal(0, 4, 3, 3, 3)), "u": Const(normal(1, 4, 1, 3, 3)),
               "p": Const(normal(6, 5, 4, 1, 1)), "b": Const(normal(7, 5))}  # fmt: skip
    text = """
    a = Conv <pads = [1, 1, 1, 1]> (x, w)
    n = BatchNormalization (a, s, t, m, v)
    r = Relu (n)
    d = Conv <group = 4, strides = [2, 2], pads = [1, 1, 1, 1]> (r, u)
    q = Add (d, shift)
    z = Sigmoid (q)
    y = Conv (z, p, b)
    """
    residual = """
    a = Conv <pads = [1, 1, 1, 1]> (x, w)
    r = Relu (a)
    d = Conv <group = 4, pads = [1, 1, 1, 1]> (r, u)
    y = Add (d, r)
    """
    back = """
    a = ConvTranspose <strides = [2, 2]> (x, g, c)
    n = BatchNormalization (a, s, t, m, v)
    y = Tanh (n)
    """
    x = normal(8, 1, 3, 7, 6)
    used = {name: weights[name] for name in "wu"}
    library = check(
        [
            chain(text, "y", x=x, shift=Const(normal(9, 4, 1, 1)), **weights, **STATISTICS),
            chain(residual, "y", x=x, **used),
            chain(back, "y", x=x, g=Const(normal(10, 3, 4, 2, 2)), c=Const(normal(11, 4)),
                  **STATISTICS),
        ],
        tmp_path,
        atol=1e-5,
    )  # fmt: skip
    source = (next(tmp_path.iterdir()) / "net" / "net.c").read_text()
    assert "BatchNormalization" not in source
    assert library.project.fallback == ()


STREAMING = """
xt = Transpose <perm = [0, 2, 1]> (x)
joined = Concat <axis = 2> (state, xt)
c = Conv (joined, w, b)
r = Relu (c)
y = Transpose <perm = [0, 2, 1]> (r)
"""


def test_over_time_with_padding_of_the_past(tmp_path: Path) -> None:
    x = Timed(normal(0, 1, 9, 4), 1)
    w, b = Const(normal(1, 6, 4, 3)), Const(normal(2, 6))
    cases = [
        chain(STREAMING, "y", x=x, state=Const(normal(3, 1, 4, 2)), w=w, b=b),
        case("Conv", Timed(normal(4, 1, 4, 9), 2), w, b, pads=[1, 1]),
        case("Conv", Timed(normal(4, 2, 4, 9), 2), w, b, pads=[2, 2], dilations=[2]),
        case("Conv", Timed(normal(5, 1, 1, 9, 8), 2), Const(normal(6, 3, 1, 3, 3)),
             pads=[1, 0, 1, 0], strides=[1, 2]),
        case("Conv", Timed(normal(5, 1, 2, 9, 8), 2), Const(normal(6, 3, 2, 3, 8)),
             pads=[1, 0, 1, 0]),
        case("Conv", Timed(normal(7, 1, 4, 9), 2), Const(normal(8, 4, 1, 3)), pads=[2, 0], group=4),
        case("Conv", Timed(normal(7, 1, 4, 9), 2), Const(normal(8, 6, 2, 1)), group=2),
    ]  # fmt: skip
    library = check(cases, tmp_path, causal=False, atol=1e-5)
    assert not library.project.fixed_steps


def test_over_time_step_by_step(tmp_path: Path) -> None:
    x = Timed(normal(0, 1, 9, 4), 1)
    turn = "Transpose <perm = [0, 2, 1]>"
    text = f"a = {turn} (x)\nc = Conv (a, w)\ny = {turn} (c)"
    cases = [
        chain(text, "y", x=x, w=Const(normal(1, 6, 4, 1))),
        case("ConvTranspose", Timed(normal(2, 1, 3, 9), 2), Const(normal(3, 3, 5, 1))),
    ]
    check(cases, tmp_path, causal=True, chunk=4, atol=1e-5)


def test_upsampling_over_time(tmp_path: Path) -> None:
    x = Timed(normal(2, 1, 1, 9, 3), 2)
    cases = [case("ConvTranspose", x, Const(normal(3, 1, 5, 3, 2)), pads=[1, 0, 1, 0],
                  strides=[1, 2])]  # fmt: skip
    check(cases, tmp_path, causal=False, atol=1e-5)


def test_a_stride_over_time_takes_a_fixed_number_of_steps(tmp_path: Path) -> None:
    x = Timed(normal(0, 1, 4, 9), 2)
    text = (
        "a = Conv <strides = [2]> (x, w)\nb = ReduceMean <keepdims = 0> (a, axes)\ny = Add (x, b)"
    )
    operands = {"w": Const(normal(1, 6, 4, 3)), "axes": Const([0, 1, 2])}
    library = check([chain(text, "y", x=x, **operands)], tmp_path, causal=False)
    assert library.project.fixed_steps


@pytest.mark.parametrize("rank", [1, 2])
def test_sizes_beyond_a_block_of_rows(tmp_path: Path, rank: int) -> None:
    x, w = normal(0, 1, 20, *[12] * rank), Const(normal(1, 37, 20, *[3] * rank, scale=0.2))
    check([case("Conv", x, w, Const(normal(2, 37)), pads=[1] * 2 * rank)], tmp_path, atol=1e-5)
