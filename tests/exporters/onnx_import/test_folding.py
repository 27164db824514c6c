from __future__ import annotations

import numpy as np
import onnx
import pytest
from helpers.foreign import NODE, foreign, value, voice_model
from helpers.graphs import normal, run_onnx, tensor
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgernn.errors import ModelError
from edgernn_exporters.onnx_import.fixing import fix
from edgernn_exporters.onnx_import.folding import simplify
from edgernn_exporters.onnx_import.limits import Limits
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.opsets import raise_opset


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    simplify(copy, Notes())
    onnx.checker.check_model(copy, full_check=True)
    return copy


def test_a_constant_without_a_value_is_named() -> None:
    node = NODE("Constant", [], ["c"], name="empty")
    model = foreign(
        [node, NODE("Add", ["x", "c"], ["y"])], [value("x", [2])], [value("y", [2])]
    )  # fmt: skip
    with pytest.raises(ModelError, match="Constant node 'empty' holds no value"):
        simplify(model, Notes())


@given(data=st.data())
def test_weights_that_are_expressions(data: st.DataObject) -> None:
    """Chains of operators on a constant become one constant, of the same value."""
    chain, name, tensors = [], "w", [tensor("w", normal(0, 4, 6))]
    for place in range(data.draw(st.integers(1, 5))):
        kind = data.draw(st.sampled_from(["Transpose", "Reshape", "Concat", "Cast", "Mul", "Neg"]))
        more: list[str] = []
        given: dict[str, object] = {}
        if kind == "Reshape":
            more = [f"shape{place}"]
            sizes = data.draw(st.sampled_from([[4, -1], [-1, 3], [0, 0], [2, -1]]))
            tensors.append(tensor(more[0], np.array(sizes)))
        elif kind == "Concat":
            more, given = [name], {"axis": data.draw(st.integers(0, 1))}
        elif kind == "Cast":
            given = {"to": data.draw(st.sampled_from([TensorProto.FLOAT, TensorProto.DOUBLE]))}
            chain.append(NODE("Cast", [name], [f"d{place}"], **given))
            name, given = f"d{place}", {"to": TensorProto.FLOAT}
        elif kind == "Mul":
            more = [f"k{place}"]
            chain.append(NODE("Constant", [], more, value_float=1.5))
        elif kind == "Transpose":
            given = {"perm": [1, 0]}
        chain.append(NODE(kind, [name, *more], [f"v{place}"], **given))
        name = f"v{place}"
    rows = [NODE("Flatten", [name], ["flat"], axis=0), NODE("Mul", ["x", "flat"], ["y"])]
    model = foreign([*chain, *rows], [value("x", ["b", 1])], [value("y", ["b", "n"])], tensors,
                    opset=20)  # fmt: skip
    got = folded(model)
    assert operators(got) == ["Mul"]
    assert len(got.graph.initializer) == 1
    feeds = {"x": normal(1, 3, 1)}
    np.testing.assert_array_equal(run_onnx(got, feeds)["y"], run_onnx(model, feeds)["y"])


def test_nodes_that_hand_on_their_input_go() -> None:
    nodes = [
        NODE("Identity", ["x"], ["a"]),
        NODE("Dropout", ["a"], ["b"]),
        NODE("Transpose", ["b"], ["c"], perm=[0, 1]),
        NODE("Cast", ["c"], ["d"], to=TensorProto.FLOAT),
        NODE("Concat", ["d"], ["e"], axis=0),
        NODE("Expand", ["e", "one"], ["f"]),
        NODE("Relu", ["f"], ["g"]),
        NODE("Relu", ["a"], ["unused"]),
        NODE("Identity", ["g"], ["y"]),
    ]
    tensors = [tensor("one", np.array([1])), tensor("left", normal(0, 3))]
    model = foreign(nodes, [value("x", ["b", 3])], [value("y", ["b", 3])], tensors, opset=20)
    got = folded(model)
    assert operators(got) == ["Relu"]
    assert not got.graph.initializer
    kept = foreign([NODE("Dropout", ["x"], ["y", "mask"])], [value("x", [3])],
                   [value("y", [3]), value("mask", [3], TensorProto.BOOL)], opset=20)  # fmt: skip
    assert operators(folded(kept)) == ["Dropout"]


@pytest.mark.parametrize(
    ("first", "second", "gone"),
    [
        (("Unsqueeze", [1, -1]), ("Squeeze", [4, 1]), True),
        (("Unsqueeze", [1]), ("Squeeze", [2]), False),
        (("Squeeze", [0]), ("Unsqueeze", [-3]), True),
        (("Squeeze", [0]), ("Unsqueeze", [1]), False),
        (("Transpose", [1, 2, 0]), ("Transpose", [2, 0, 1]), True),
        (("Transpose", [1, 2, 0]), ("Transpose", [1, 2, 0]), False),
        (("Transpose", None), ("Transpose", None), True),
        (("Transpose", None), ("Transpose", [2, 1, 0]), True),
    ],
)
def test_views_that_undo_each_other_go(
    first: tuple[str, list[int] | None], second: tuple[str, list[int] | None], gone: bool
) -> None:
    shape = [1, 1, 5] if first[0] == "Unsqueeze" else [1, 2, 5]
    nodes, tensors, last = [], [], "a"
    for at, (kind, axes) in enumerate((first, second)):
        if kind == "Transpose":
            given = {} if axes is None else {"perm": axes}
            nodes.append(NODE(kind, [last], [f"v{at}"], **given))
        else:
            tensors.append(tensor(f"axes{at}", np.array(axes)))
            nodes.append(NODE(kind, [last, f"axes{at}"], [f"v{at}"]))
        last = f"v{at}"
    nodes = [NODE("Relu", ["x"], ["a"]), *nodes, NODE("Neg", [last], ["y"])]
    dims = [f"d{at}" for at in range(3)]
    model = foreign(nodes, [value("x", shape)], [value("y", dims)], tensors, opset=20)
    got = folded(model)
    assert operators(got) == (["Relu", "Neg"] if gone else ["Relu", first[0], second[0], "Neg"])
    feeds = {"x": normal(0, *shape)}
    np.testing.assert_array_equal(run_onnx(got, feeds)["y"], run_onnx(model, feeds)["y"])


def test_sizes_that_are_known() -> None:
    nodes = [
        NODE("Shape", ["x"], ["s"]),
        NODE("Gather", ["s", "two"], ["width"]),
        NODE("Gather", ["s", "zero"], ["rows"]),
        NODE("Shape", ["x"], ["tail"], start=1),
        NODE("ReduceProd", ["tail"], ["n"], keepdims=1),
        NODE("Concat", ["rows", "n"], ["shape"], axis=0),
        NODE("Reshape", ["x", "shape"], ["flat"]),
        NODE("Cast", ["width"], ["w"], to=TensorProto.FLOAT),
        NODE("Mul", ["flat", "w"], ["y"]),
    ]
    tensors = [tensor("two", np.array(-1)), tensor("zero", np.array([0]))]
    model = foreign(nodes, [value("x", ["b", 2, 4])], [value("y", ["b", 8])], tensors, opset=20)
    got = folded(model)
    assert operators(got) == ["Shape", "Gather", "Concat", "Reshape", "Mul"]
    feeds = {"x": normal(0, 3, 2, 4)}
    np.testing.assert_array_equal(run_onnx(got, feeds)["y"], run_onnx(model, feeds)["y"])
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fix(fixed, {"b": 3}, Notes())
    simplify(fixed, Notes())
    assert operators(fixed) == ["Reshape", "Mul"]
    np.testing.assert_array_equal(run_onnx(fixed, feeds)["y"], run_onnx(model, feeds)["y"])


@pytest.mark.parametrize("rate", [16000, 8000, 44100])
def test_a_sample_rate_decides_nested_conditions(rate: int) -> None:
    model = voice_model()
    feeds = {"frame": normal(0, 3, 24), "state": normal(1, 2, 3, 16), "sr": np.array(rate)}
    want = run_onnx(model, feeds)
    notes = Notes()
    raise_opset(model, notes)
    fix(model, {"sr": rate}, notes)
    simplify(model, notes)
    onnx.checker.check_model(model, full_check=True)
    assert "If" not in operators(model)
    assert operators(model).count("LSTM") == 1
    assert "Transpose" not in operators(model)  # of the weights
    del feeds["sr"]
    got = run_onnx(model, feeds)
    for name, value_ in want.items():
        np.testing.assert_allclose(got[name], value_, atol=1e-6)


def test_both_branches_of_a_nested_condition_stay_where_it_is_open() -> None:
    """Weights are folded inside of them; names of both are kept apart."""
    model = voice_model()
    raise_opset(model, Notes())
    simplify(model, Notes())
    onnx.checker.check_model(model, full_check=True)
    for rate in (16000, 8000, 1):
        feeds = {"frame": normal(0, 3, 24), "state": normal(1, 2, 3, 16), "sr": np.array(rate)}
        want = run_onnx(voice_model(), feeds)
        for name, value_ in run_onnx(model, feeds).items():
            np.testing.assert_allclose(value_, want[name], atol=1e-6)
    inner = helper.get_attribute_value(
        next(a for a in model.graph.node[-1].attribute if a.name == "then_branch")
    )
    assert "Transpose" not in [node.op_type for node in inner.node]


def test_a_branch_may_hand_on_outer_values_and_constants() -> None:
    then = helper.make_graph(
        [NODE("Identity", ["x"], ["t1"]), NODE("Identity", ["k"], ["t2"])], "then", [],
        [value("t1", None), value("t2", None)],
    )  # fmt: skip
    other = helper.make_graph(
        [NODE("Neg", ["x"], ["o1"]), NODE("Identity", ["inner"], ["o2"])], "other", [],
        [value("o1", None), value("o2", None)], [tensor("inner", np.float32([5, 6]))],
    )  # fmt: skip
    for flag in (True, False):
        model = foreign(
            [NODE("If", ["c"], ["p", "q"], then_branch=then, else_branch=other),
             NODE("Add", ["p", "q"], ["y"])],
            [value("x", [2])], [value("y", [2]), value("p", [2])],
            [tensor("c", np.array(flag)), tensor("k", np.float32([1, 2]))], opset=20,
        )  # fmt: skip
        feeds = {"x": normal(0, 2)}
        got = folded(model)
        assert "If" not in operators(got)
        for name, value_ in run_onnx(model, feeds).items():
            np.testing.assert_array_equal(run_onnx(got, feeds)[name], value_)


@pytest.mark.parametrize("operator", ["ConstantOfShape", "Expand", "Tile", "Range", "OneHot"])
def test_what_would_be_huge_is_never_made(operator: str) -> None:
    big = 1 << 34
    inputs, tensors = {
        "ConstantOfShape": (["n"], [tensor("n", np.array([big]))]),
        "Expand": (["v", "n"], [tensor("v", np.float32([1])), tensor("n", np.array([big]))]),
        "Tile": (["v", "n"], [tensor("v", np.float32([1])), tensor("n", np.array([big]))]),
        "Range": (["a", "n", "d"], [tensor("a", np.float32(0)), tensor("n", np.float32(big)),
                                    tensor("d", np.float32(1))]),
        "OneHot": (["i", "n", "v"], [tensor("i", np.array([1])), tensor("n", np.array(big)),
                                     tensor("v", np.float32([0, 1]))]),
    }[operator]  # fmt: skip
    nodes = [NODE(operator, inputs, ["b"]), NODE("ReduceMax", ["b"], ["m"]),
             NODE("Add", ["x", "m"], ["y"])]  # fmt: skip
    model = foreign(nodes, [value("x", [1])], [value("y", ["n"])], tensors, opset=20)
    with pytest.raises(ModelError, match=rf"{operator} node 'b' makes a constant of 17,179,869"):
        simplify(model, Notes())


def test_a_constant_does_not_grow_much() -> None:
    nodes = [NODE("Expand", ["v", "n"], ["b"]), NODE("Mul", ["x", "b"], ["y"])]
    tensors = [tensor("v", np.float32([1])), tensor("n", np.array([100_000]))]
    model = foreign(nodes, [value("x", [1])], [value("y", [100_000])], tensors, opset=20)
    assert operators(folded(model)) == ["Expand", "Mul"]
    tensors[1] = tensor("n", np.array([100]))
    model = foreign(nodes, [value("x", [1])], [value("y", [100])], tensors, opset=20)
    assert operators(folded(model)) == ["Mul"]


def test_the_sum_of_all_constants_is_bounded() -> None:
    nodes, names = [], []
    for place in range(10):
        nodes.append(NODE("Mul", ["w", f"k{place}"], [f"w{place}"]))
        names.append(f"w{place}")
    nodes.append(NODE("Sum", [*names, "x"], ["y"]))
    tensors = [tensor("w", normal(0, 100)), *(tensor(f"k{p}", np.float32(p)) for p in range(10))]
    model = foreign(nodes, [value("x", [100])], [value("y", [100])], tensors, opset=20)
    simplify(model, Notes(), Limits(tensor_bytes=1000))
    assert operators(model) == ["Mul"] * 8 + ["Sum"]


def test_random_numbers_are_not_constants() -> None:
    nodes = [NODE("RandomNormalLike", ["w"], ["r"]), NODE("Add", ["x", "r"], ["y"])]
    model = foreign(nodes, [value("x", [3])], [value("y", [3])], [tensor("w", normal(0, 3))],
                    opset=20)  # fmt: skip
    assert operators(folded(model)) == ["RandomNormalLike", "Add"]


def test_inputs_of_old_files_that_are_constants() -> None:
    nodes = [NODE("Cast", ["k"], ["c"], to=TensorProto.FLOAT), NODE("Mul", ["x", "c"], ["y"])]
    model = foreign(nodes, [value("x", [3])], [value("y", [3])], [tensor("k", np.array([2]))],
                    opset=11, ir_version=3, listed=True)  # fmt: skip
    simplify(model, Notes())
    assert [v.name for v in model.graph.input] == ["x"]
    assert operators(model) == ["Mul"]
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]), [2.0])
