"""Files of old opsets and IR versions compute the same after they have been raised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.foreign import INT64, NODE, foreign, value
from helpers.graphs import normal, run_onnx, tensor
from onnx import TensorProto, helper

from edgernn.errors import ModelError
from edgernn_exporters.onnx_import.folding import simplify
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.opsets import raise_opset, without_functions

X3, X4 = ["batch", 2, 4], ["batch", 2, 4, 6]
Case = tuple[str, Sequence[int], list[int | str], list[onnx.NodeProto], list[onnx.TensorProto]]


def bn() -> list[onnx.TensorProto]:
    return [tensor(name, np.abs(normal(seed, 2)) + 0.1) for seed, name in enumerate("gbmv")]


def one(name: str, opsets: Sequence[int], shape: list[int | str], *more: str, **given: Any) -> Case:
    tensors = given.pop("tensors", [])
    node = NODE(name, ["x", *(t.name for t in tensors)], ["y", *more], **given)
    return (name, opsets, shape, [node], tensors)


FLOATS = np.float32
CASES: list[Case] = [
    *(one(name, (9, 11, 12), X3, axis=axis)
      for name in ("Softmax", "LogSoftmax", "Hardmax") for axis in (1, 2)),
    one("Hardmax", (9, 11), X3),
    one("Slice", (9,), X3, axes=[1, 2], starts=[0, -2], ends=[1, 9999]),
    one("Slice", (10, 11, 17), X3,
        tensors=[tensor("s", np.array([1])), tensor("e", np.array([9]))]),
    one("Clip", (9, 10), X3, min=-0.5, max=0.4),
    one("Clip", (9,), X3, min=-0.5),
    one("Pad", (9, 10), X3, pads=[0, 1, 2, 0, 0, 1], value=2.0),
    one("Pad", (9,), X3, pads=[0, 1, 1, 0, 0, 1], mode="reflect"),
    one("Dropout", (9, 10, 11), X3, ratio=0.3),
    one("BatchNormalization", (8,), X3, tensors=bn(), spatial=1),
    one("BatchNormalization", (9, 11, 13, 14), X3, tensors=bn()),
    one("Unsqueeze", (9, 11), X3, axes=[0, 3]),
    one("Squeeze", (9, 11), [1, "batch", 1], axes=[0]),
    *(one(f"Reduce{kind}", (9, 11, 13, 17) if kind != "Sum" else (9, 11), X3, axes=[1], keepdims=0)
      for kind in ("Sum", "Mean", "Max", "Min", "L2", "SumSquare")),
    one("ReduceMean", (9, 17), X3),
    one("Split", (9, 13, 17), X3, "z", axis=1),
    one("Split", (9, 11), X3, "z", axis=2, split=[1, 3]),
    one("TopK", (9,), X3, "z", k=2, axis=2),
    one("Upsample", (9,), X4, tensors=[tensor("s", FLOATS([1, 1, 2, 3]))], mode="nearest"),
    one("Upsample", (9,), X4, tensors=[tensor("s", FLOATS([1, 1, 1.5, 2.5]))], mode="nearest"),
    one("Upsample", (9,), X4, tensors=[tensor("s", FLOATS([1, 1, 2, 3]))], mode="linear"),
    one("Resize", (10,), X4, tensors=[tensor("s", FLOATS([1, 1, 2, 3]))], mode="linear"),
    one("Resize", (10,), X4, tensors=[tensor("s", FLOATS([1, 1, 2.5, 0.5]))], mode="nearest"),
    one("AveragePool", (9, 11, 17), X3, kernel_shape=[2]),
    one("MaxPool", (9, 11, 17), X3, kernel_shape=[2]),
    one("Gemm", (9, 11, 13), ["batch", 4], transB=1,
        tensors=[tensor("w", normal(1, 3, 4)), tensor("c", normal(2, 3))]),
    one("Scatter", (9, 10), X3, axis=1,
        tensors=[tensor("i", np.array([[[1, 0, 1, 0]]])), tensor("u", normal(0, 1, 1, 4))]),
    one("ArgMax", (9, 11, 13), X3, axis=1),
    one("Conv", (9, 11, 17), X3, tensors=[tensor("w", normal(1, 5, 2, 2))]),
    one("Flatten", (9, 11), X3, axis=2),
    one("Reshape", (9, 13), X3, tensors=[tensor("s", np.array([0, -1]))]),
    one("InstanceNormalization", (9, 17), X3, tensors=bn()[:2]),
    *(one(cell, (9, 11, 13, 17, 21, 22, 23), ["time", "batch", 4], hidden_size=3,
          direction="bidirectional",
          tensors=[tensor("W", normal(0, 2, gates * 3, 4)), tensor("R", normal(1, 2, gates * 3, 3)),
                   tensor("B", normal(2, 2, 2 * gates * 3))])
      for cell, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1))),
]  # fmt: skip
FLAT = [(opset, case) for case in CASES for opset in case[1]]


@pytest.mark.parametrize("listed", [False, True], ids=["ir8", "ir3"])
@pytest.mark.parametrize(("opset", "case"), FLAT, ids=[f"{c[0]}-{opset}" for opset, c in FLAT])
def test_operators_compute_the_same(opset: int, case: Case, listed: bool) -> None:
    name, _, shape, nodes, tensors = case
    # Before opset 11 TopK and others give integers in their second output.
    kinds = {"ArgMax": [INT64], "TopK": [TensorProto.FLOAT, INT64]}.get(name, [])
    outputs = [
        value(output, None, kinds[place] if place < len(kinds) else TensorProto.FLOAT)
        for place, output in enumerate(nodes[0].output)
    ]
    old = listed and opset < 15
    model = foreign(
        nodes, [value("x", shape)], outputs, tensors, opset=opset,
        ir_version=3 if old else 10, listed=old,
    )  # fmt: skip
    feeds = {"x": normal(7, *(size if isinstance(size, int) else 3 for size in shape))}
    want = run_onnx(model, feeds)
    raise_opset(model, Notes())
    simplify(model, Notes())
    assert [v.name for v in model.graph.input] == ["x"]
    got = run_onnx(model, feeds)
    for output, value_ in want.items():
        np.testing.assert_allclose(got[output], value_, rtol=0, atol=1e-6)


def test_versions_go_up_or_stay() -> None:
    for opset, ir_version, want, want_ir in (
        (9, 3, 20, 9), (17, 8, 20, 9), (20, 14, 20, 9), (21, 10, 21, 10), (23, 11, 23, 11),
    ):  # fmt: skip
        model = foreign(
            [NODE("Relu", ["x"], ["y"])], [value("x", [2])], [value("y", [2])], opset=opset,
            ir_version=ir_version,
        )  # fmt: skip
        notes = Notes()
        raise_opset(model, notes)
        assert (model.opset_import[0].version, model.ir_version) == (want, want_ir)
        assert len(notes) == (opset < 20) + (ir_version > want_ir)
        run_onnx(model, {"x": normal(0, 2)})


def test_the_standard_domain_has_one_name() -> None:
    model = foreign(
        [NODE("Relu", ["x"], ["y"], domain="ai.onnx")], [value("x", [2])], [value("y", [2])]
    )
    model.opset_import.extend(
        [helper.make_opsetid("ai.onnx", 17), helper.make_opsetid("com.microsoft", 1)]
    )
    raise_opset(model, Notes())
    assert [(i.domain, i.version) for i in model.opset_import] == [("", 20)]
    assert model.graph.node[0].domain == ""


def test_nested_graphs_are_raised_too() -> None:
    def branch(name: str, axis: int) -> onnx.GraphProto:
        nodes = [NODE("Softmax", ["x"], ["s"], axis=axis), NODE("Squeeze", ["s"], ["o"], axes=[0])]
        return helper.make_graph(nodes, name, [], [value("o", None)])

    model = foreign(
        [NODE("If", ["c"], ["y"], then_branch=branch("a", 1), else_branch=branch("b", 2))],
        [value("x", [1, 3, 4]), value("c", [], TensorProto.BOOL)], [value("y", None)], opset=11,
    )  # fmt: skip
    for condition in (True, False):
        feeds = {"x": normal(0, 1, 3, 4), "c": np.array(condition)}
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        raise_opset(copy, Notes())
        np.testing.assert_allclose(
            run_onnx(copy, feeds)["y"], run_onnx(model, feeds)["y"], atol=1e-6
        )


def functional(opset: int, inner: int) -> onnx.ModelProto:
    """Make a model of two calls of a function with an attribute, one within a function."""
    imports = [helper.make_opsetid("", inner), helper.make_opsetid("mine", 1)]
    scale = helper.make_function(
        "mine", "scaled", ["a"], ["b"],
        [NODE("Softmax", ["a"], ["t"], axis=-1), NODE("Add", ["a", "t"], ["b"])], imports,
    )  # fmt: skip
    twice = helper.make_function(
        "mine", "twice", ["a"], ["b"],
        [NODE("scaled", ["a"], ["t"], domain="mine"), NODE("scaled", ["t"], ["b"], domain="mine")],
        imports,
    )  # fmt: skip
    model = foreign(
        [NODE("scaled", ["x"], ["t"], domain="mine"), NODE("twice", ["t"], ["y"], domain="mine")],
        [value("x", [2, 3])], [value("y", [2, 3])], opset=opset, functions=[scale, twice],
    )  # fmt: skip
    model.opset_import.append(helper.make_opsetid("mine", 1))
    return model


@pytest.mark.parametrize(("opset", "inner"), [(17, 17), (18, 17), (14, 18)])
def test_functions_are_inlined(opset: int, inner: int) -> None:
    model = functional(opset, inner)
    feeds = {"x": normal(0, 2, 3)}
    want = run_onnx(functional(inner, inner), feeds)["y"]
    inlined = without_functions(model)
    assert not inlined.functions
    raise_opset(inlined, Notes())
    np.testing.assert_allclose(run_onnx(inlined, feeds)["y"], want, atol=1e-6)


def test_a_function_of_another_opset_is_refused() -> None:
    with pytest.raises(ModelError, match="'scaled' is written for opset 12, where Softmax is not"):
        without_functions(functional(17, 12))
