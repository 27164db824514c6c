"""Read what an ONNX file takes, gives and remembers, for adapters that run generated code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgernn.contract import ZEROS, Axes, Contract, StateSpec, TensorSpec, require_stream
from edgernn.errors import ContractError, ModelError
from edgernn.metadata import Metadata
from edgernn.sessions import Array, Arrays, check_inputs

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Interface:
    """Describe the outside of a model file; its contract, if it has one, fits its graph.

    Attributes:
        path: The file.
        metadata: What it says about itself.
        inputs: Inputs that the caller gives.
        outputs: Outputs that the caller gets.
        states: State inputs, in the order of the contract.
        first_values: First value of each state, for a batch of one.
    """

    path: Path
    metadata: Metadata
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[TensorSpec, ...]
    first_values: Mapping[str, Array]

    @property
    def contract(self) -> Contract | None:
        """The state contract, if the file has one."""
        return self.metadata.contract

    @property
    def places(self) -> Mapping[str, Axes]:
        """Axes of the inputs that are not states; empty without a contract."""
        return self.contract.stream.inputs if self.contract else {}

    def with_sizes(self, fixed: Mapping[str, int]) -> Interface:
        """Return the interface with sizes in place of the names of dynamic axes."""

        def sized(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
            return tuple(
                replace(spec, shape=tuple(fixed.get(str(size), size) for size in spec.shape))
                for spec in specs
            )

        return replace(self, inputs=sized(self.inputs), outputs=sized(self.outputs))

    def initial_state(self, batch: int) -> Arrays:
        """Return the first value of every state, for ``batch`` sequences."""
        states = self.contract.states if self.contract else ()
        return {
            state.input: np.repeat(self.first_values[state.input], batch, state.batch_axis)
            for state in states
        }

    def check(self, inputs: Mapping[str, Array]) -> int:
        """Compare arrays with the inputs (see `edgernn.sessions.check_inputs`).

        Returns:
            The size of their batch axis; 1 without one.

        Raises:
            InputError: They do not fit.
        """
        axes = self.places
        lengths = self.contract.stream.lengths if self.contract else None
        check_inputs(self.inputs, axes, inputs, lengths)
        for name, place in axes.items():
            if place.batch is not None:
                return int(inputs[name].shape[place.batch])
        return 1

    def require_stream(self, batch: int) -> Contract:
        """Return the contract of a model that can run step by step.

        Raises:
            ContractError, InputError: See `edgernn.contract.require_stream`.
        """
        return require_stream(self.contract, str(self.path), batch)


def read_interface(path: str | os.PathLike[str]) -> Interface:
    """Read the interface of a model file and compare its contract with its graph.

    Raises:
        ModelError: The file is missing, cut off or not an ONNX model.
        ContractError: Its metadata or its contract do not fit its graph.

    Example:
        >>> [str(spec) for spec in read_interface("kw.onnx").inputs]
        ['x float32 [batch, time, 40]']
    """
    file, where = Path(path), str(path)
    model = _read(file)
    metadata = Metadata.from_props({prop.key: prop.value for prop in model.metadata_props}, where)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    inputs = {v.name: _spec(v, where) for v in model.graph.input if v.name not in constants}
    outputs = {value.name: _spec(value, where) for value in model.graph.output}
    contract = metadata.contract
    if contract is not None:
        contract.check(inputs, outputs, where)
    states = contract.states if contract else ()
    fed, returned = {s.input for s in states}, {s.output for s in states}
    return Interface(
        path=file,
        metadata=metadata,
        inputs=tuple(spec for name, spec in inputs.items() if name not in fed),
        outputs=tuple(spec for name, spec in outputs.items() if name not in returned),
        states=tuple(inputs[state.input] for state in states),
        first_values={s.input: _first(s, inputs[s.input], constants, where) for s in states},
    )


def _read(file: Path) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    if not file.is_file():
        raise ModelError(
            f"{file}: no such file; name an ONNX file, such as one from edgernn export"
        )
    try:
        model = onnx.load_model_from_string(file.read_bytes())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ModelError(f"{file}: cannot be read: {reason}; check its permissions") from None
    except DecodeError:
        raise ModelError(
            f"{file}: not an ONNX file, or cut off; export it again or copy it again"
        ) from None
    if not model.graph.node:
        raise ModelError(f"{file}: an ONNX file without a graph; export it again")
    return model


def _spec(value: onnx.ValueInfoProto, where: str) -> TensorSpec:
    from onnx import helper

    kind = value.type.tensor_type
    try:
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    except KeyError:
        dtype = "object"
    if dtype == "object":  # not a tensor, or one of strings
        raise ModelError(
            f"{where}: {value.name} is not a tensor of numbers, which no target here takes; "
            f"export the model with tensors of numbers"
        )
    shape = tuple(
        axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?"
        for axis in kind.shape.dim
    )
    return TensorSpec(value.name, dtype, shape)


def _first(
    state: StateSpec, spec: TensorSpec, constants: Mapping[str, onnx.TensorProto], where: str
) -> Array:
    from onnx import numpy_helper

    shape = [size if isinstance(size, int) else 1 for size in spec.shape]
    shape[state.batch_axis] = 1
    if state.init == ZEROS:
        return np.zeros(shape, state.dtype)
    if state.init not in constants:
        raise ContractError(
            f"{where}: the contract takes an initial value from {state.init!r}, which the file "
            f"does not hold; export the model again"
        )
    constant = constants[state.init]
    if constant.data_location == constant.EXTERNAL:
        raise ModelError(
            f"{where}: keeps {state.init!r} in another file, which is not read; bring both "
            f"into one file with edgernn import"
        )
    value = numpy_helper.to_array(constant)
    if value.dtype.name != state.dtype:
        raise ContractError(
            f"{where}: initial value {state.init!r} is {value.dtype.name}, but its "
            f"state is {state.dtype}; export the model again"
        )
    try:
        return np.broadcast_to(value, shape).copy()
    except ValueError:
        raise ContractError(
            f"{where}: initial value {state.init!r} has shape {list(value.shape)}, which "
            f"does not fit state {spec}; export the model again"
        ) from None
