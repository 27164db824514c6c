from pathlib import Path

from helpers.graphs import normal
from helpers.operators import Case, Const, Timed, case, chain, check, examples
from hypothesis import given
from hypothesis import strategies as st


@st.composite
def pool_case(draw: st.DrawFn) -> Case:
    rank = draw(st.sampled_from([1, 2]))
    name = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    attributes = {"kernel_shape": kernel, "strides": [draw(st.integers(1, 3)) for _ in kernel]}
    spans = list(kernel)
    if name == "MaxPool":
        attributes["dilations"] = [draw(st.sampled_from([1, 1, 2])) for _ in kernel]
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, attributes["dilations"], strict=True)]
    else:
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    auto = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if auto == "NOTSET":
        attributes["pads"] = [draw(st.integers(0, (k - 1))) for k in kernel * 2]
        attributes["ceil_mode"] = draw(st.integers(0, 1))
    else:
        attributes["auto_pad"] = auto
        attributes.pop("dilations", None)
        strides = zip(attributes["strides"], kernel, strict=True)
        attributes["strides"] = [min(stride, k) for stride, k in strides]
    sizes = [draw(st.integers(span, 9)) for span in spans]
    x = normal(draw(st.integers(0, 99)), draw(st.integers(1, 2)), draw(st.integers(1, 3)), *sizes)
    return case(name, x, **attributes)


@examples(9)
@given(cases=st.lists(pool_case(), min_size=10, max_size=12))
def test_pools(tmp_path: Path, cases: list[Case]) -> None:
    check(cases, tmp_path)


def test_global_pools(tmp_path: Path) -> None:
    cases = [case(name, normal(0, 2, 3, *sizes)) for name in ("GlobalAveragePool", "GlobalMaxPool")
             for sizes in ((5,), (4, 3), (2, 3, 2))]  # fmt: skip
    check(cases, tmp_path)


def test_behind_a_convolution_and_over_time(tmp_path: Path) -> None:
    text = """
    a = Conv <pads = [1, 1, 1, 1]> (x, w)
    r = Relu (a)
    y = MaxPool <kernel_shape = [1, 2], strides = [1, 2]> (r)
    z = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (r)
    """
    x = Timed(normal(0, 1, 2, 9, 6), 2)
    cases = [
        chain(text, "y z", x=x, w=Const(normal(1, 4, 2, 3, 3))),
        case("MaxPool", Timed(normal(2, 1, 3, 9), 2), kernel_shape=[3], pads=[2, 0]),
        case("AveragePool", Timed(normal(2, 1, 3, 9), 2), kernel_shape=[3], pads=[1, 1]),
        case("GlobalAveragePool", Timed(normal(3, 1, 3, 9), 2)),
    ]
    library = check(cases, tmp_path, causal=False, atol=1e-5)
    assert not library.project.fixed_steps
