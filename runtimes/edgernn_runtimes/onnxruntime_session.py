"""`Session` and `Stream` on top of an ``onnxruntime.InferenceSession``, for CPU and CUDA."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from edgernn.contract import ZEROS, Axes, Contract, StateSpec, TensorSpec, require_stream
from edgernn.errors import ContractError, ModelError, UsageError
from edgernn.metadata import Metadata
from edgernn.sessions import Array, Arrays, check_inputs
from edgernn_runtimes.onnxruntime_buffers import Device
from edgernn_runtimes.onnxruntime_loader import runtime_failure
from edgernn_runtimes.onnxruntime_stream import OnnxRuntimeStream

_DTYPES = {
    "float": "float32", "double": "float64", "float16": "float16", "bool": "bool",
    "int8": "int8", "int16": "int16", "int32": "int32", "int64": "int64",
    "uint8": "uint8", "uint16": "uint16", "uint32": "uint32", "uint64": "uint64",
}  # fmt: skip


class OnnxRuntimeSession:
    """A model loaded in ONNX Runtime (see `edgernn.sessions.Session`)."""

    def __init__(
        self,
        session: Any,
        *,
        target: str,
        path: str | os.PathLike[str],
        device: Device = ("cpu", 0),
    ) -> None:
        where = str(path)
        self.target = target
        self.metadata = Metadata.from_props(session.get_modelmeta().custom_metadata_map, where)
        inputs = {node.name: _spec(node, where) for node in session.get_inputs()}
        outputs = {node.name: _spec(node, where) for node in session.get_outputs()}
        contract = self.metadata.contract
        if contract is not None:
            contract.check(inputs, outputs, where)
        fed = {state.input for state in contract.states} if contract else set()
        returned = {state.output for state in contract.states} if contract else set()
        self.inputs = tuple(spec for name, spec in inputs.items() if name not in fed)
        self.outputs = tuple(spec for name, spec in outputs.items() if name not in returned)
        self.states = tuple(inputs[state.input] for state in contract.states) if contract else ()
        self._session = session
        self._device = device
        # ONNX Runtime's CPU provider runs from several threads at once; its CUDA provider must not.
        self.lock: AbstractContextManager[object] = nullcontext() if device[0] == "cpu" else Lock()
        self.path = Path(path)
        self._output_names = [spec.name for spec in self.outputs]
        self._initial = _initial_values(self.path, contract) if contract else {}

    def run(self, inputs: Mapping[str, Array]) -> Arrays:
        """Run whole sequences from the initial state (see `edgernn.sessions.Session.run`)."""
        contract = self.metadata.contract
        axes: Mapping[str, Axes] = contract.stream.inputs if contract else {}
        session = self._opened()
        check_inputs(self.inputs, axes, inputs, contract.stream.lengths if contract else None)
        feeds = dict(inputs)
        if contract is not None:
            batch = next(
                (inputs[name].shape[place.batch] for name, place in axes.items()
                 if place.batch is not None), 1
            )  # fmt: skip
            feeds.update(self.initial_state(batch))
        try:
            with self.lock:
                values = session.run(self._output_names, feeds)
        except Exception as error:
            raise runtime_failure(self.path, error) from None
        return dict(zip(self._output_names, values, strict=True))

    def stream(self, batch: int = 1) -> OnnxRuntimeStream:
        """Open a stream (see `edgernn.sessions.Session.stream`)."""
        contract = require_stream(self.metadata.contract, str(self.path), batch)
        return OnnxRuntimeStream(self, self._opened(), contract, batch, self._device)

    def initial_state(self, batch: int) -> Arrays:
        """Return the first value of every state, for ``batch`` sequences."""
        contract = self.metadata.contract
        assert contract is not None
        return {
            state.input: self._initial_value(state, spec, batch)
            for state, spec in zip(contract.states, self.states, strict=True)
        }

    def _initial_value(self, state: StateSpec, spec: TensorSpec, batch: int) -> Array:
        shape = [size if isinstance(size, int) else batch for size in spec.shape]
        shape[state.batch_axis] = batch
        if state.init == ZEROS:
            return np.zeros(shape, state.dtype)
        first = self._initial[state.init]
        shape[state.batch_axis] = 1  # every row starts at the same value
        try:
            return np.repeat(np.broadcast_to(first, shape), batch, state.batch_axis)
        except ValueError:
            raise ContractError(
                f"{self.path}: initial value {state.init!r} has shape {list(first.shape)}, which "
                f"does not fit state {spec}; export the model again"
            ) from None

    def _opened(self) -> Any:
        if self._session is None:
            raise UsageError(f"{self.path}: this session was closed; load the model again")
        return self._session

    def close(self) -> None:
        """Free the session's memory, once its streams are gone; no run or stream after this."""
        self._session = None


def _spec(node: Any, where: str) -> TensorSpec:
    kind = node.type.removeprefix("tensor(").removesuffix(")")
    if kind not in _DTYPES:
        raise ModelError(
            f"{where}: {node.name} has type {node.type}, which no target here takes; export the "
            f"model with tensors of {', '.join(_DTYPES.values())}"
        )
    shape = tuple(size if isinstance(size, int) else str(size or "?") for size in node.shape)
    return TensorSpec(node.name, _DTYPES[kind], shape)


def _initial_values(path: Path, contract: Contract) -> Arrays:
    wanted = {state.init for state in contract.states} - {ZEROS}
    if not wanted:
        return {}
    import onnx  # only files with a learned initial state pay for parsing twice

    found = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(path).graph.initializer
        if tensor.name in wanted
    }
    for state in contract.states:
        if state.init != ZEROS and state.init not in found:
            raise ContractError(
                f"{path}: the contract takes an initial value from {state.init!r}, which the file "
                f"does not hold; export the model again"
            )
        if state.init != ZEROS and found[state.init].dtype.name != state.dtype:
            raise ContractError(
                f"{path}: initial value {state.init!r} is {found[state.init].dtype.name}, but its "
                f"state is {state.dtype}; export the model again"
            )
    return found
