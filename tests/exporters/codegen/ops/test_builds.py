"""One of everything, built with other compilers, flags and sanitizers."""

from pathlib import Path

import numpy as np
import pytest
from helpers.c_runner import FLAGS, SANITIZE, WARNINGS, CLibrary, CProgram
from helpers.graphs import make_model, normal, run_onnx
from helpers.operators import Case, Const, Timed, case, chain, check
from onnx import helper


def ints(*values: int) -> Const:
    return Const(np.array(values, np.int64))


def one_of_everything() -> list[Case]:
    x, image = normal(0, 2, 3, 8), normal(1, 1, 4, 7, 6)
    w, bias = Const(normal(2, 6, 3, 3)), Const(normal(3, 6))
    return [
        case("Conv", x, w, bias, pads=[1, 1]),
        case("Conv", x, w, bias, dilations=[2]),
        case("Conv", image, Const(normal(4, 4, 1, 3, 3)), group=4, strides=[2, 1]),
        case("Conv", image, Const(normal(5, 6, 2, 3, 2)), group=2, pads=[1, 0, 1, 1]),
        case("Conv", image, Const(normal(5, 5, 4, 3, 6))),
        case("ConvTranspose", image, Const(normal(6, 4, 3, 3, 3)), strides=[2, 3], pads=[1] * 4,
             output_padding=[1, 0]),
        case("MaxPool", image, kernel_shape=[3, 2], pads=[1, 1, 1, 0], strides=[2, 2]),
        case("AveragePool", image, kernel_shape=[3, 2], pads=[1, 1, 1, 0], ceil_mode=1),
        case("MatMul", x, normal(7, 2, 8, 5)),
        case("Gemm", normal(8, 4, 3), Const(normal(9, 4, 17)), transA=1),
        case("Softmax", x),
        case("LogSoftmax", x, axis=1),
        case("Hardmax", x),
        case("LayerNormalization", x, Const(normal(10, 8)), Const(normal(11, 8))),
        case("InstanceNormalization", x, Const(normal(10, 3)), Const(normal(11, 3))),
        case("ReduceLogSumExp", x, ints(1)),
        case("ReduceMax", x, ints(0, 2)),
        case("ArgMin", x, axis=1),
        case("Gather", Const(normal(12, 5, 3)), np.array([[0, -1], [4, 2]])),
        case("GatherElements", x, np.array([[[0, 1, -1]]]), axis=1),
        case("Slice", x, ints(-1), ints(-9), ints(2), ints(-2)),
        case("Split", x, ints(3, 5), results=2, axis=2),
        case("Tile", x, ints(1, 2, 2)),
        case("Pad", x, ints(0, 1, 2, 0, 0, 3), mode="reflect"),
        case("Concat", x, x, axis=1),
        case("CumSum", x, Const(np.array(1)), exclusive=1, reverse=1),
        case("Mod", x, normal(13, 2, 3, 8), fmod=1),
        case("Pow", x, ints(3)),
        case("Gelu", x),
        case("Mish", x),
        case("QuantizeLinear", x, Const(np.float32(0.1)), Const(np.int8(3))),
        case("Div", np.arange(-3, 5), ints(2)),
        case("MatMulInteger", np.arange(6, dtype=np.uint8).reshape(2, 3), np.ones((3, 2), np.int8)),
        chain("a = Transpose (x)\nb = Less (a, s)\nc = Not (b)\ny = Where (c, a, s)", "y", x=x,
              s=Const(np.float32(0.2))),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("gcc", ["-std=c99", "-O3", "-march=native", *WARNINGS, "-ffp-contract=off"]),
        ("gcc", [*FLAGS, "-O3", "-DEDGERNN_PORTABLE"]),
        ("clang", FLAGS),
        ("clang", ["-std=c99", "-O3", "-march=native", *WARNINGS, "-ffp-contract=off"]),
    ],
)
def test_compilers(tmp_path: Path, compiler: str, flags: list[str]) -> None:
    check(one_of_everything(), tmp_path, compiler=[compiler], flags=flags, atol=1e-5)


def test_sanitizers(tmp_path: Path) -> None:
    made = check(one_of_everything(), tmp_path, program=True, flags=[*FLAGS, *SANITIZE], atol=1e-5)
    assert isinstance(made, CProgram)


def test_sanitizers_over_time(tmp_path: Path) -> None:
    x = Timed(normal(0, 2, 9, 4), 1)
    cases = [
        case("MatMul", x, Const(normal(1, 4, 5))),
        case("LayerNormalization", x, Const(normal(2, 4))),
        case("Pad", x, ints(0, 0, 1, 1, 0, 2), mode="edge"),
        chain("a = Transpose (x)\nb = Tanh (a)\ny = Concat <axis = 0> (b, a)", "y", x=x),
        case("Conv", Timed(normal(3, 2, 4, 9), 2), Const(normal(4, 5, 4, 1)), Const(normal(5, 5))),
    ]
    flags = [*FLAGS, *SANITIZE]
    check(cases, tmp_path, causal=True, chunk=4, program=True, flags=flags, atol=1e-5)


def test_names_in_the_graph_do_not_meet_those_in_the_code(tmp_path: Path) -> None:
    names = ["i0", "j0", "k0", "row", "sum", "out", "p0", "t", "n", "i1", "size_t", "float"]
    nodes = [helper.make_node("Transpose", [name], [f"{name}_turned"]) for name in names]
    nodes.append(helper.make_node("Concat", [f"{name}_turned" for name in names], ["y"], axis=1))
    model = make_model(nodes, {name: [2, 3] for name in names}, {"y": [3, 2 * len(names)]})
    feeds = {name: normal(place, 2, 3) for place, name in enumerate(names)}
    got = CLibrary(model, tmp_path / "net").run(feeds)["y"]
    np.testing.assert_array_equal(got, run_onnx(model, feeds)["y"])
