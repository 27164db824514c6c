from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import normal
from onnx import TensorProto, helper, numpy_helper

from edgernn.errors import ContractError, InputError, ModelError
from edgernn.metadata import Metadata
from edgernn_runtimes import load
from edgernn_runtimes.model_file import read_interface

Write = Callable[..., Path]


def rewritten(source: Path, path: Path, *constants: onnx.TensorProto, **state: Any) -> Path:
    """Copy a model with more initializers and a changed entry of its first state."""
    model = onnx.load(source)
    metadata = Metadata.from_props({p.key: p.value for p in model.metadata_props}, "test")
    assert metadata.contract is not None
    first, *others = metadata.contract.states
    contract = replace(metadata.contract, states=(replace(first, **state), *others))
    del model.metadata_props[:]
    helper.set_model_props(model, replace(metadata, contract=contract).to_props())
    model.graph.initializer.extend(constants)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    "options",
    [{"cell": "lstm", "layers": 2}, {"bidirectional": True}, {"embedding": 7},
     {"contract": False}],
)  # fmt: skip
def test_it_says_what_onnxruntime_says(model: Write, options: dict[str, Any]) -> None:
    path = model(**options)
    found, session = read_interface(path), load(path, "cpu")
    assert found.metadata == session.metadata
    assert found.inputs == session.inputs
    assert found.outputs == session.outputs
    assert found.states == session.states
    if found.contract is not None:
        for value in found.initial_state(3).values():
            np.testing.assert_array_equal(value, np.zeros_like(value))
            assert value.shape[1] == 3


def test_initializers_are_not_inputs_and_nameless_axes_have_a_mark(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "g",
        [value("x", TensorProto.INT32, [None, 2]), value("w", TensorProto.INT32, [2])],
        [value("y", TensorProto.INT32, ["n", 2])],
        [numpy_helper.from_array(np.zeros(2, np.int32), "w")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph), tmp_path / "a.onnx")
    found = read_interface(tmp_path / "a.onnx")
    assert [str(spec) for spec in found.inputs] == ["x int32 [?, 2]"]
    assert found.check({"x": np.zeros((5, 2), np.int32)}) == 1
    assert found.initial_state(2) == {}


def test_a_learned_first_state_is_repeated_for_the_batch(model: Write, tmp_path: Path) -> None:
    start = normal(1, 16)
    path = rewritten(
        model(), tmp_path / "a.onnx", numpy_helper.from_array(start, "start"), init="start"
    )
    value = read_interface(path).initial_state(2)["h_l0"]
    np.testing.assert_array_equal(value, np.broadcast_to(start, (1, 2, 16)))


def test_inputs_are_checked_and_the_batch_returned(model: Write) -> None:
    found = read_interface(model())
    assert found.check({"x": normal(1, 4, 5, 8)}) == 4
    with pytest.raises(InputError, match=r"expected x float32 \[batch, time, 8\]"):
        found.check({"x": normal(1, 4, 5, 7)})


def test_what_has_no_step_form_is_refused(model: Write) -> None:
    with pytest.raises(ContractError, match=r"no state contract.*edgernn export"):
        read_interface(model(contract=False)).require_stream(1)
    with pytest.raises(ContractError, match=r"not causal.*run whole sequences"):
        read_interface(model(bidirectional=True)).require_stream(1)
    with pytest.raises(InputError, match="batch must be at least 1, got 0"):
        read_interface(model()).require_stream(0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"input": "nothing"}, "names input 'nothing'"),
        ({"dtype": "float64"}, "the dtype float64 of the contract"),
        ({"init": "nothing"}, "initial value from 'nothing', which the file does not hold"),
        ({"init": "linear_w"}, r"'linear_w' has shape \[16, 4\], which does not fit"),
        ({"init": "whole"}, "initial value 'whole' is int64, but its state is float32"),
    ],
)
def test_a_contract_that_does_not_fit_is_refused(
    model: Write, tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    whole = numpy_helper.from_array(np.zeros(16, np.int64), "whole")
    path = rewritten(model(), tmp_path / "a.onnx", whole, **changes)
    with pytest.raises(ContractError, match=expected):
        read_interface(path)


def test_a_first_state_in_another_file_is_not_read(model: Write, tmp_path: Path) -> None:
    outside = TensorProto(name="start", dims=[16], data_type=TensorProto.FLOAT)
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="/etc/passwd")
    path = tmp_path / "a.onnx"
    rewritten(model(), path, init="start")
    made = onnx.load(path)
    made.graph.initializer.append(outside)
    path.write_bytes(made.SerializeToString())
    with pytest.raises(ModelError, match="keeps 'start' in another file, which is not read"):
        read_interface(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80" * 99])
def test_broken_files_are_model_errors_of_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.onnx: (an|not an) ONNX file") as caught:
        read_interface(path)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_missing_files_and_odd_tensors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(ModelError, match="no such file; name an ONNX file"):
            read_interface(path)
    value = helper.make_tensor_value_info("s", TensorProto.STRING, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["s"], ["s2"])], "g", [value], [])
    (tmp_path / "s.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ModelError, match="s is not a tensor of numbers"):
        read_interface(tmp_path / "s.onnx")


def test_importing_it_imports_no_onnx() -> None:
    code = "import edgernn_runtimes.model_file, sys; print('onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
