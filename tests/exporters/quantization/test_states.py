"""States of integer layers: int16 in the contract, or float with conversions at the layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import draw_parameters, make_model, normal, recurrent_model, run_onnx, tensor
from helpers.quantized import ranges_for, rewritten
from onnx import TensorProto, helper

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.integer import LayerRange, Ranges

H_UNIT, C_UNIT = 2.0**-15, 2.0**-12  # ranges_for says that c reaches 4


def contract_of(*names: str, init: str = "zeros") -> Contract:
    states = tuple(StateSpec(name, f"{name}k", batch_axis=1, init=init) for name in names)
    axes = {"x": Axes(batch=1, time=0)}
    return Contract(states, StreamSpec(True, axes, {"y": Axes(batch=2, time=0)}))


def model_of(cell: str, **options: Any) -> onnx.ModelProto:
    count = 2 if options.get("direction") == "bidirectional" else 1
    return recurrent_model(
        cell, draw_parameters(cell, inputs=4, hidden=6, directions=count), **options
    )


def types_of(model: onnx.ModelProto) -> dict[str, str]:
    return {
        value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
        for value in (*model.graph.input, *model.graph.output)
    }


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_wired_states_become_int16(direction: str) -> None:
    model = model_of("lstm", direction=direction)
    done = rewritten(model, "int8", ranges=ranges_for(["cell"]), contract=contract_of("h", "c"))
    assert done.contract is not None
    h, c = done.contract.states
    assert (h.dtype, h.scale, c.dtype, c.scale) == ("int16", H_UNIT, "int16", C_UNIT)
    kinds = types_of(model)
    assert {name: kinds[name] for name in ("h", "hk", "c", "ck")} == dict.fromkeys(
        ("h", "hk", "c", "ck"), "int16"
    )
    assert not {"QuantizeLinear", "DequantizeLinear"} & {n.op_type for n in model.graph.node}
    count = 2 if direction == "bidirectional" else 1
    start = np.zeros((count, 3, 6), np.int16)
    got = run_onnx(model, {"x": normal(1, 5, 3, 4), "h": start, "c": start})
    assert got["hk"].dtype == np.int16
    assert got["hk"].shape == (count, 3, 6)
    # The last state is the last output of a direction that walks forward, else the first one.
    for d in range(count):
        at = 0 if direction == "reverse" or d == 1 else -1
        np.testing.assert_array_equal(got["y"][at, d], got["hk"][d] * np.float32(H_UNIT))


def test_directions_with_other_units_stay_float_in_the_contract() -> None:
    model = model_of("lstm", direction="bidirectional")
    spans = Ranges({"cell": LayerRange((-3.0,), (3.0,), largest_cell=(3.0, 30.0))}, "minmax", 1, 1)
    done = rewritten(model, "int8", ranges=spans, contract=contract_of("h", "c"))
    assert done.contract is not None
    assert [state.dtype for state in done.contract.states] == ["int16", "float32"]
    start = np.zeros((2, 3, 6), np.int16)
    feeds = {"x": normal(1, 5, 3, 4), "h": start, "c": start.astype(np.float32)}
    got = run_onnx(model, feeds)
    fine = got["ck"] * np.float32([2**13, 2**10]).reshape(2, 1, 1)
    np.testing.assert_array_equal(fine, np.rint(fine))


def test_a_last_state_that_is_read_is_converted_for_its_readers() -> None:
    model = model_of("gru")
    model.graph.node.append(helper.make_node("Neg", ["hk"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", 1, [1, "batch", 6]))
    done = rewritten(model, "int8", ranges=ranges_for(["cell"]), contract=contract_of("h"))
    assert done.contract is not None
    assert done.contract.states[0].dtype == "int16"
    got = run_onnx(model, {"x": normal(1, 5, 3, 4), "h": np.zeros((1, 3, 6), np.int16)})
    np.testing.assert_array_equal(got["z"], -got["hk"] * np.float32(H_UNIT))


def test_a_last_state_goes_as_floats_into_other_integer_layers() -> None:
    model = model_of("gru")
    decoder = draw_parameters("gru", inputs=4, hidden=6, seed=1)
    model.graph.initializer.extend([
        tensor("head.w", normal(3, 6, 2)), tensor("W2", decoder.w), tensor("R2", decoder.r),
    ])  # fmt: skip
    model.graph.node.extend([
        helper.make_node("MatMul", ["hk", "head.w"], ["z"], name="head"),
        helper.make_node(
            "GRU", ["x", "W2", "R2", "", "", "hk"], ["", "dk"], name="decoder", hidden_size=6
        ),
    ])  # fmt: skip
    for name, width in (("z", 2), ("dk", 6)):
        model.graph.output.append(helper.make_tensor_value_info(name, 1, [1, "batch", width]))
    before, feeds = onnx.ModelProto(), {"x": normal(1, 5, 3, 4)}
    before.CopyFrom(model)
    want = run_onnx(before, {**feeds, "h": np.zeros((1, 3, 6), np.float32)})
    done = rewritten(
        model, "w8a16", ranges=ranges_for(["cell", "head", "decoder"]), contract=contract_of("h")
    )
    assert done.contract is not None
    assert done.contract.states[0].dtype == "int16"
    got = run_onnx(model, {**feeds, "h": np.zeros((1, 3, 6), np.int16)})
    for name in ("z", "dk"):
        np.testing.assert_allclose(got[name], want[name], atol=0.02)


def reads_first(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Neg", ["h"], ["z"]))
    model.graph.output.append(helper.make_tensor_value_info("z", 1, [1, "batch", 6]))


def scales_first(model: onnx.ModelProto) -> None:
    model.graph.node.insert(0, helper.make_node("Mul", ["h", "half"], ["h2"]))
    model.graph.initializer.append(tensor("half", np.float32(0.5)))
    model.graph.node[1].input[5] = "h2"


def changes_last(model: onnx.ModelProto) -> None:
    model.graph.node[0].output[1] = "raw"
    model.graph.node.append(helper.make_node("Mul", ["raw", "half"], ["hk"]))
    model.graph.initializer.append(tensor("half", np.float32(0.5)))


def captures_last(model: onnx.ModelProto) -> None:
    value = helper.make_tensor_value_info("t", 1, [1, "batch", 6])
    body = helper.make_graph([helper.make_node("Neg", ["hk"], ["t"])], "body", [], [value])
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["z"], then_branch=body, else_branch=body)
    )
    model.graph.initializer.append(tensor("yes", np.array(True)))
    model.graph.output.append(helper.make_tensor_value_info("z", 1, [1, "batch", 6]))


@pytest.mark.parametrize("change", [reads_first, scales_first, changes_last, captures_last])
def test_states_with_other_readers_stay_float_and_exact(change: Any) -> None:
    model = model_of("gru")
    change(model)
    done = rewritten(model, "int8", ranges=ranges_for(["cell"]), contract=contract_of("h"))
    assert done.contract == contract_of("h")
    assert types_of(model)["h"] == types_of(model)["hk"] == "float32"
    x, start = normal(1, 8, 3, 4), np.zeros((1, 3, 6), np.float32)
    first = run_onnx(model, {"x": x[:5], "h": start})
    second = run_onnx(model, {"x": x[5:], "h": first["hk"]})
    whole = run_onnx(model, {"x": x, "h": start})
    if change not in (scales_first, changes_last):  # there, a chunk halves the state
        np.testing.assert_array_equal(second["hk"], whole["hk"])
        np.testing.assert_array_equal(np.concatenate([first["y"], second["y"]]), whole["y"])


def test_without_contract_states_stay_float() -> None:
    model = model_of("rnn")
    assert rewritten(model, "int8", ranges=ranges_for(["cell"])).contract is None
    assert types_of(model)["h"] == "float32"


@pytest.mark.parametrize("value", [0.3, -1.0, 5.0])
def test_a_constant_first_state_is_rounded(value: float) -> None:
    model = model_of("gru")
    model.graph.input.pop(1)
    start = np.full((1, 1, 6), value, np.float32)
    model.graph.initializer.append(tensor("h", start))
    rewritten(model, "int8", ranges=ranges_for(["cell"]))
    kinds = {item.name: item.data_type for item in model.graph.initializer}
    assert TensorProto.INT16 in kinds.values()
    assert "h" not in kinds
    other = model_of("gru")
    rewritten(other, "int8", ranges=ranges_for(["cell"]))
    x = normal(1, 5, 1, 4)
    np.testing.assert_array_equal(
        run_onnx(model, {"x": x})["y"], run_onnx(other, {"x": x, "h": start})["y"]
    )


@pytest.mark.parametrize("shared", [False, True])
def test_learned_initial_values_become_integers(shared: bool) -> None:
    model = model_of("lstm")
    model.graph.initializer.append(tensor("start", np.full((1, 1, 6), 0.5, np.float32)))
    if shared:
        model.graph.node.append(helper.make_node("Neg", ["start"], ["z"]))
        model.graph.output.append(helper.make_tensor_value_info("z", 1, [1, 1, 6]))
    contract = contract_of("h", "c", init="start")
    done = rewritten(model, "int8", ranges=ranges_for(["cell"]), contract=contract)
    assert done.contract is not None
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for state, unit in zip(done.contract.states, (H_UNIT, C_UNIT), strict=True):
        assert values[state.init].dtype == np.int16
        np.testing.assert_array_equal(values[state.init], np.full((1, 1, 6), 0.5 / unit))
    assert ("start" in values) == shared


def test_a_first_state_that_is_computed_elsewhere_is_limited() -> None:
    model = model_of("gru")
    scales_first(model)
    rewritten(model, "int8", ranges=ranges_for(["cell"]))
    x, huge = normal(1, 1, 1, 4), np.full((1, 1, 6), -1e6, np.float32)
    limit = np.full((1, 1, 6), -2 * 32767 / 32768, np.float32)
    np.testing.assert_array_equal(
        run_onnx(model, {"x": x, "h": huge})["hk"], run_onnx(model, {"x": x, "h": limit})["hk"]
    )


def test_two_layers_with_one_first_state_stay_float() -> None:
    nodes = []
    for name in "ab":
        one = recurrent_model("rnn", draw_parameters("rnn", inputs=4, hidden=6)).graph.node[0]
        one.name = name
        one.output[:] = [f"{name}.y", f"{name}.h"]
        nodes.append(one)
    parameters = draw_parameters("rnn", inputs=4, hidden=6)
    assert parameters.b is not None
    tensors = [tensor("W", parameters.w), tensor("R", parameters.r), tensor("B", parameters.b)]
    state = [1, "batch", 6]
    model = make_model(nodes, {"x": ["t", "batch", 4], "h": state},
                       {"a.h": state, "b.h": state}, tensors)  # fmt: skip
    contract = Contract((StateSpec("h", "a.h", 1),), StreamSpec(True, {}, {}))
    done = rewritten(model, "int8", ranges=ranges_for("ab"), contract=contract)
    assert done.contract == contract
    got = run_onnx(model, {"x": normal(1, 3, 2, 4), "h": np.zeros((1, 2, 6), np.float32)})
    np.testing.assert_array_equal(got["a.h"], got["b.h"])
