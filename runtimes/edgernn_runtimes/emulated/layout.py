"""Turn arrays into the bytes of the generated C's parameters and back.

In C time is the outermost axis, and a call takes one row of the batch. Targets are
little-endian, as are the hosts on which QEMU and this package run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgernn.c_project import CProject, CState, CTensor
from edgernn.contract import Contract, TensorSpec
from edgernn.errors import ContractError, InputError, ModelError
from edgernn.sessions import Array, Arrays
from edgernn_runtimes.model_file import Interface


@dataclass(frozen=True)
class Port:
    """One input or output with its place in the graph and in C.

    Attributes:
        spec: In the graph.
        tensor: In C.
        row_axis: Axis of the batch in the graph, whose rows are run one after another; None if
            there is none, or the program takes the whole batch at once.
    """

    spec: TensorSpec
    tensor: CTensor
    row_axis: int | None

    def pack(self, value: Array, row: int) -> Array:
        """Return one row with time outermost: ``[T, size]``, or ``[size]`` without time."""
        if self.row_axis is not None:
            value = value.take([row], axis=self.row_axis)
        if self.tensor.time_axis is None:
            return np.ascontiguousarray(value).reshape(self.tensor.size)
        moved = np.moveaxis(value, self.tensor.time_axis, 0)
        return np.ascontiguousarray(moved).reshape(len(moved), self.tensor.size)

    def unpack(self, content: bytes, steps: int) -> Array:
        """Turn what the program gave for one row into an array with the graph's axes."""
        flat = np.frombuffer(content, self.tensor.dtype)
        time, shape = self.tensor.time_axis, self.tensor.shape
        fixed = [int(size) for axis, size in enumerate(shape) if axis != time]
        if time is None:
            return flat.reshape(fixed)
        return np.moveaxis(flat.reshape(steps, *fixed), 0, time)

    def join(self, pieces: list[Array]) -> Array:
        """Join what the rows of a batch gave."""
        if self.row_axis is not None:
            return np.concatenate(pieces, self.row_axis)
        if len(pieces) > 1:
            raise InputError(
                f"output {self.spec} has no batch axis, so this target runs the model with a batch "
                f"of 1 only; give the rows one by one"
            )
        return np.array(pieces[0], order="C")


@dataclass(frozen=True)
class Layout:
    """All inputs, outputs and states of a program, compared with those of the model file.

    Attributes:
        inputs: In the order of the C parameters.
        outputs: Likewise.
        states: Members of the state struct.
        batch_axes: Batch axis of each state by name.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: tuple[CState, ...]
    batch_axes: Mapping[str, int]

    def steps_of(self, inputs: Mapping[str, Array]) -> int:
        """Return the number of time steps of checked inputs; 1 without a time axis.

        Raises:
            InputError: The inputs disagree.
        """
        sizes = {
            port.spec.name: inputs[port.spec.name].shape[port.tensor.time_axis]
            for port in self.inputs
            if port.tensor.time_axis is not None
        }
        if len(set(sizes.values())) > 1:
            raise InputError(f"the inputs disagree on the size of the time axis: {sizes}")
        return next(iter(sizes.values()), 1)

    def rows_of(self, inputs: Mapping[str, Array]) -> int:
        """Return how many rows of checked inputs are run one after another."""
        for port in self.inputs:
            if port.row_axis is not None:
                return int(inputs[port.spec.name].shape[port.row_axis])
        return 1

    def read_states(self, rows: list[bytes]) -> Arrays:
        """Return the states that the saved structs of all rows hold."""
        found = {}
        for state in self.states:
            pieces = [
                np.frombuffer(row, state.dtype, count, state.offset_bytes).reshape(state.shape)
                for row in rows
                for count in [int(np.prod(state.shape))]
            ]
            found[state.name] = np.concatenate(pieces, self.batch_axes[state.name])
        return found

    def write_states(self, rows: list[bytes], values: Mapping[str, Array]) -> list[bytes]:
        """Return the saved structs with other states in them."""
        written = [bytearray(row) for row in rows]
        for state in self.states:
            pieces = np.split(values[state.name], len(rows), self.batch_axes[state.name])
            for piece, struct in zip(pieces, written, strict=True):
                content = np.ascontiguousarray(piece).tobytes()
                struct[state.offset_bytes : state.offset_bytes + len(content)] = content
        return [bytes(struct) for struct in written]


def make_layout(interface: Interface, project: CProject) -> Layout:
    """Match the parameters of a C project with the tensors of its model.

    Raises:
        ModelError: They are not the same.
    """
    contract, where = interface.contract, str(interface.path)
    axes = {**contract.stream.inputs, **contract.stream.outputs} if contract else {}

    def row_axis(spec: TensorSpec, tensor: CTensor) -> int | None:
        if project.batch != 1:
            return None
        return axes[spec.name].batch if contract else _compiled_in(spec, tensor)

    def ports(specs: tuple[TensorSpec, ...], tensors: tuple[CTensor, ...]) -> tuple[Port, ...]:
        by_name = {spec.name: spec for spec in specs}
        if sorted(by_name) != sorted(tensor.name for tensor in tensors):
            raise ModelError(
                f"{where}: the generated C takes and gives {[t.name for t in tensors]}, the model "
                f"{list(by_name)}; compile the model again"
            )
        return tuple(Port(by_name[t.name], t, row_axis(by_name[t.name], t)) for t in tensors)

    return Layout(
        ports(interface.inputs, project.inputs),
        ports(interface.outputs, project.outputs),
        project.states,
        _state_axes(contract, project, where),
    )


def _state_axes(contract: Contract | None, project: CProject, where: str) -> dict[str, int]:
    axes = {state.input: state.batch_axis for state in contract.states} if contract else {}
    if set(axes) != {state.name for state in project.states}:
        raise ContractError(
            f"{where}: the generated C keeps the states {[s.name for s in project.states]}, the "
            f"contract names {list(axes)}; compile the model again"
        )
    return axes


def _compiled_in(spec: TensorSpec, tensor: CTensor) -> int | None:
    """Find the batch axis of a tensor that no contract describes: named there, a size in C."""
    for axis, (name, size) in enumerate(zip(spec.shape, tensor.shape, strict=True)):
        if isinstance(name, str) and isinstance(size, int):
            return axis
    return None
