"""What the kernels here do not do is refused with a reason, and leaves no trace behind."""

import numpy as np
import onnx
import pytest
from helpers.graphs import make_model, normal, tensor
from helpers.operators import Case, Const, case, chain, model_of
from onnx import helper

from edgernn.errors import ModelError
from edgernn.metadata import Metadata
from edgernn_exporters.codegen.build import build
from edgernn_exporters.codegen.layouts import layout_of
from edgernn_exporters.codegen.lowering import Lowering
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.request import Request
from edgernn_exporters.codegen.visiting import Visitor

X, W = normal(0, 1, 4, 6), normal(1, 4, 4, 3)


def refuse(lowering: Lowering, node: onnx.NodeProto) -> None:
    raise  # noqa: PLE0704 - called where a refusal is being handled


def compile_alone(model: onnx.ModelProto) -> None:
    build(Request(model, Metadata(), "net", layout_of("native"), 1, {}, 1, "net.onnx"), refuse)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (case("Sin", X), "no kernel for this operator"),
        (case("Conv", X, W), "its weight is not a constant"),
        (case("Conv", X, Const(W), normal(2, 4)), "its bias is not a constant"),
        (case("Conv", normal(0, 1, 2, 3, 3, 3), Const(normal(1, 2, 2, 1, 1, 1))), "3 dimensions"),
        (case("ConvTranspose", X, Const(W), strides=[2], output_shape=[20]), "its output is 20"),
        (case("MaxPool", X, kernel_shape=[2], results=2), "places of its largest elements"),
        (case("AveragePool", X, kernel_shape=[2], dilations=[2]), "its window has gaps"),
        (case("MaxPool", X, kernel_shape=[2], strides=[3], auto_pad="SAME_UPPER"), "automatic"),
        (case("LayerNormalization", X, Const(normal(0, 6)), results=2), "its mean"),
        (case("MatMul", X.astype(np.float64), Const(W[0].astype(np.float64))), "float64"),
        (case("Exp", X.astype(np.float64)), "it takes float64 values"),
        (case("ReduceL2", X.astype(np.int64)), "it reduces int64 values"),
        (case("Pad", X, np.zeros(6, np.int64)), "its pads is not a constant"),
        (case("Slice", X, np.array([0]), np.array([1])), "its start is not a constant"),
        (case("Reshape", X, np.array([4, 6])), "its shape is not a constant"),
        (case("QuantizeLinear", X, np.float32(1)), "its scale is not a constant"),
        (chain("a = Cast <to = 10> (x)\ny = Cast <to = 1> (a)", "y", x=X), "it casts to FLOAT16"),
    ],
    ids=lambda item: item.nodes[0].op_type if isinstance(item, Case) else "",
)
def test_refusals(item: Case, reason: str) -> None:
    model = model_of([item])
    for value in model.graph.output:  # whatever depends on data
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param:
                dim.dim_value = 1
    with pytest.raises(ModelError, match=reason):
        compile_alone(model)


def test_a_refused_node_leaves_nothing_behind() -> None:
    """The batch normalization behind a refused convolution is computed all the same."""
    statistics = [tensor(name, np.abs(normal(place, 4))) for place, name in enumerate("stmv")]
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["c"], group=3),
        helper.make_node("BatchNormalization", ["c", "s", "t", "m", "v"], ["y"]),
    ]
    model = make_model(nodes, {"x": [1, 4, 6]}, {"y": [1, 4, 4]},
                       [tensor("w", W), *statistics])  # fmt: skip
    with pytest.raises(ModelError, match=r"net\.onnx: a node cannot .* Conv c: it has weights for"):
        compile_alone(model)


def test_all_refusals_are_named_at_once() -> None:
    cases = [case("Sin", X), case("Exp", X), case("Cos", X), case("Conv", X, W)]
    with pytest.raises(ModelError, match=r"3 nodes cannot .*Sin c0_r0.*Cos c2_r0.*Conv c3_r0"):
        compile_alone(model_of(cases))


def test_results_of_another_size_than_the_file_says() -> None:
    nodes = [helper.make_node("Concat", ["x", "x"], ["y"], axis=0)]
    model = make_model(nodes, {"x": [2, 3]}, {"y": [3, 3]})
    with pytest.raises(
        ModelError, match=r"'y' is float32 \[3, 3\], but .* compute float32 \[4, 3\]"
    ):
        compile_alone(model)


def test_trial_restores_what_a_refusal_changed() -> None:
    graph = make_model([helper.make_node("Relu", ["x"], ["y"])], {"x": [2]}, {"y": [2]}).graph
    visitor = Visitor(onnx.ModelProto(), refuse)
    lowering = Lowering(graph, 20, layout_of("native"), "net", visitor)

    def refused() -> None:
        lowering.weight("w", np.ones(3, np.float32))
        lowering.emit("x;")
        lowering.skip(graph.node[0])
        lowering.headers.add("edgernn_conv.h")
        raise NotLoweredError("no")

    with pytest.raises(NotLoweredError), lowering.trial():
        refused()
    assert not lowering.weights.arrays
    assert not lowering.statements
    assert not lowering.headers
    assert not lowering.is_skipped(graph.node[0])
