"""Models that take the length of each row: what is refused, and that the targets agree."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import normal
from onnx import TensorProto, helper, numpy_helper

from edgernn.contract import Axes, Contract, StreamSpec
from edgernn.errors import ContractError, InputError
from edgernn.metadata import Metadata
from edgernn.streaming import measure_sequences
from edgernn_exporters.codegen import compile as generate
from edgernn_runtimes import load
from edgernn_runtimes.model_file import read_interface

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
STEPS, ROWS, WIDTH, HIDDEN = 6, 4, 2, 3
X = normal(1, STEPS, ROWS, WIDTH)
load_native = partial(load, target="native", compile=generate)


def write(path: Path, operator: str, direction: str = "forward") -> Path:
    """Write one layer from a learned state: y ``[T, D, B, H]`` and last ``[D, B, H]``."""
    directions, rows = 1 + (direction == "bidirectional"), GATES[operator] * HIDDEN
    weights = {
        "W": normal(2, directions, rows, WIDTH), "R": normal(3, directions, rows, HIDDEN),
        "h": normal(4, directions, 1, HIDDEN),
    }  # fmt: skip
    node = helper.make_node(
        operator, ["x", "W", "R", "", "lengths", "first"], ["y", "last"],
        hidden_size=HIDDEN, direction=direction,
    )  # fmt: skip
    expand = helper.make_node("Expand", ["h", "shape"], ["first"])
    sizes = [numpy_helper.from_array(np.array([1]), "one")]
    shape = [
        helper.make_node("Shape", ["x"], ["batch"], start=1, end=2),
        helper.make_node("Concat", ["one", "batch", "one"], ["shape"], axis=0),
    ]
    floats = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    graph = helper.make_graph(
        [*shape, expand, node],
        "lengths",
        [
            floats("x", shape=["time", "batch", WIDTH]),
            helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]),
        ],
        [
            floats("y", shape=["time", directions, "batch", HIDDEN]),
            floats("last", shape=[directions, "batch", HIDDEN]),
        ],
        [*(numpy_helper.from_array(value, name) for name, value in weights.items()), *sizes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    contract = Contract((), StreamSpec(
        causal=False,
        inputs={"x": Axes(1, 0), "lengths": Axes(0, None)},
        outputs={"y": Axes(2, 0), "last": Axes(1, None)},
        lengths="lengths",
    ))  # fmt: skip
    helper.set_model_props(model, Metadata(contract=contract).to_props())
    onnx.save(model, path)
    return path


def given(*lengths: int) -> dict[str, np.ndarray]:
    return {"x": X[:, : len(lengths)], "lengths": np.array(lengths, np.int32)}


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_rows_of_all_lengths_are_the_same_on_all_targets_and_end_in_zeros(
    tmp_path: Path, operator: str, direction: str
) -> None:
    path, inputs = write(tmp_path / "a.onnx", operator, direction), given(STEPS, 0, 1, 4)
    reference, native = load(path, "cpu"), load_native(path)
    want, got = reference.run(inputs), native.run(inputs)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, atol=2e-6)
    for result in (want, got):
        np.testing.assert_array_equal(result["last"][:, 1], 0)
        for row, length in enumerate(inputs["lengths"]):
            assert not result["y"][length:, :, row].any()
            alone = {"x": X[: max(length, 1), row : row + 1], "lengths": np.array([length], "i4")}
            y = reference.run(alone)["y"][:length, :, 0]
            np.testing.assert_allclose(result["y"][:length, :, row], y, atol=2e-6)


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ((3, -1, 2), r"lengths is -1 for row 1, but the inputs have 6 time steps; .* from 0 to 6"),
        ((3, 2, 7), "lengths is 7 for row 2"),
        ((2**31 - 1, 1, -(2**31)), "lengths is 2147483647 for row 0"),
    ],
)
def test_lengths_outside_the_sequence_are_refused_each_time(
    tmp_path: Path, lengths: tuple[int, ...], expected: str
) -> None:
    path = write(tmp_path / "a.onnx", "GRU")
    for session in (load(path, "cpu"), load_native(path)):
        session.run(given(1, 2, 3))  # native remembers the shapes of calls that were good
        for _ in range(2):
            with pytest.raises(InputError, match=expected):
                session.run(given(*lengths))
        with pytest.raises(InputError, match=expected):
            measure_sequences(session, given(*lengths))
    with pytest.raises(InputError, match=expected):  # what emulated targets call
        read_interface(path).check(given(*lengths))


def test_a_model_that_takes_lengths_has_no_step_form(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", "GRU")
    model = onnx.load(path)
    props = {item.key: item.value for item in model.metadata_props}
    props["edgernn.stream"] = props["edgernn.stream"].replace('"causal":false', '"causal":true')
    helper.set_model_props(model, props)
    onnx.save(model, path)
    with pytest.raises(ContractError, match="the length of each row in 'lengths'"):
        load(path, "cpu").stream()
