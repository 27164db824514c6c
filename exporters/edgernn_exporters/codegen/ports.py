"""Parameters and states of the emitted functions, from a graph's inputs, outputs and contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx
from onnx import helper

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.errors import ModelError
from edgernn_exporters.codegen.dims import Dim, Shape, count
from edgernn_exporters.codegen.names import Names
from edgernn_exporters.codegen.request import Request
from edgernn_exporters.codegen.values import C_TYPES, Buffer


@dataclass(frozen=True)
class Port:
    """A parameter of ``NAME_run``.

    Attributes:
        name: Name in the graph.
        buffer: Pointer in C.
        dtype: Element type.
        shape: In the graph's order.
        time_axis: Axis of time there, or None.
        names: The graph's own sizes, for people: a number or the name of a dynamic axis.
    """

    name: str
    buffer: Buffer
    dtype: str
    shape: Shape
    time_axis: int | None
    names: tuple[int | str, ...]

    @property
    def order(self) -> list[int]:
        """The graph's axes in C's order, time outermost."""
        axes = list(range(len(self.shape)))
        if self.time_axis is not None:
            axes.insert(0, axes.pop(self.time_axis))
        return axes

    @property
    def back(self) -> list[int]:
        """C's axes in the graph's order."""
        return [self.order.index(axis) for axis in range(len(self.shape))]

    @property
    def c_shape(self) -> Shape:
        """Shape in C's order."""
        return tuple(self.shape[axis] for axis in self.order)

    @property
    def same_memory(self) -> bool:
        """True if both orders are the same memory."""
        moved = [axis for axis in self.order if self.shape[axis] != 1]
        return moved == sorted(moved)

    @property
    def step_size(self) -> Dim:
        """Elements of one time step, or in all without a time axis."""
        return count([size for axis, size in enumerate(self.shape) if axis != self.time_axis])


@dataclass(frozen=True)
class State:
    """A member of ``NAME_state``; ``scale`` is the value of one unit of an integer state."""

    input: str
    output: str
    buffer: Buffer
    dtype: str
    shape: tuple[int, ...]
    init: str
    scale: float | None = None


@dataclass(frozen=True)
class Ports:
    """Parameters and states.

    Attributes:
        inputs: In the graph's order.
        outputs: Likewise.
        states: In the contract's order.
        batch: Sequences that advance together, 1 if no axis is known to be the batch.
        causal: True if calls may follow each other.
        steps: Time steps of a call: ``Steps()`` for any number; None without a time axis.
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: tuple[State, ...]
    batch: int
    causal: bool
    steps: Dim | None

    @property
    def advances(self) -> bool:
        """True if a call is one time step of a model without a time axis."""
        return self.causal and self.steps is None and bool(self.states)


def open_ports(request: Request, steps: Dim, names: Names) -> Ports:
    """Work out the parameters and states of a model.

    Args:
        request: Model, batch and fixed sizes.
        steps: What a time axis stands for.
        names: Where C identifiers come from.

    Raises:
        ModelError: A dynamic axis is neither batch nor time and has no fixed size, or an input
            has a type that is not supported.
    """
    graph, contract = request.model.graph, request.metadata.contract
    if contract is not None and request.timeless:
        contract = replace(contract, stream=_without_time(contract.stream))
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if contract is not None:
        described = {value.name: value for value in inputs}
        _check_contract(contract, described, {v.name: v for v in graph.output}, request.where)
    resolve = _Resolver(request, contract, inputs, steps)
    fed = {state.input: state for state in contract.states} if contract else {}
    returned = {state.output for state in contract.states} if contract else set()

    def port(value: onnx.ValueInfoProto, axes: Axes | None, storage: str) -> Port:
        dtype, shape = resolve.tensor(value, axes)
        name = names.unique(value.name)
        buffer = Buffer(name, C_TYPES[dtype], count(shape), storage)  # type: ignore[arg-type]
        time = axes.time if axes else None
        return Port(value.name, buffer, dtype, shape, time, _names(value))

    states = []
    for value in inputs:
        if value.name in fed:
            states.append(_state(resolve, value, fed[value.name], names))
    order = list(fed)
    states.sort(key=lambda state: order.index(state.input))
    stream = contract.stream if contract else None
    made = Ports(
        inputs=tuple(
            port(v, stream.inputs[v.name] if stream else None, "input")
            for v in inputs if v.name not in fed
        ),
        outputs=tuple(
            port(v, stream.outputs[v.name] if stream else None, "output")
            for v in graph.output if v.name not in returned
        ),
        states=tuple(states),
        batch=resolve.batch,
        causal=stream.causal if stream else False,
        steps=steps if stream and _timed(stream.inputs, stream.outputs) else None,
    )  # fmt: skip
    resolve.finish()
    return made


def fixed_time(request: Request) -> int | None:
    """Return the number of time steps that the graph itself fixes, or None if it leaves it open."""
    contract = request.metadata.contract
    for value in request.model.graph.input if contract else ():
        axes = contract.stream.inputs.get(value.name) if contract else None
        if axes is not None and axes.time is not None:
            dim = value.type.tensor_type.shape.dim[axes.time]
            return dim.dim_value if dim.HasField("dim_value") else None
    return None


def _without_time(stream: StreamSpec) -> StreamSpec:
    inputs, outputs = (
        {name: Axes(place.batch, None) for name, place in axes.items()}
        for axes in (stream.inputs, stream.outputs)
    )
    return replace(stream, inputs=inputs, outputs=outputs, lengths=None)


def _timed(inputs: Mapping[str, Axes], outputs: Mapping[str, Axes]) -> bool:
    return any(axes.time is not None for axes in (*inputs.values(), *outputs.values()))


def _state(resolve: _Resolver, value: onnx.ValueInfoProto, spec: StateSpec, names: Names) -> State:
    dtype, shape = resolve.tensor(value, Axes(spec.batch_axis, None))
    sizes = tuple(size for size in shape if isinstance(size, int))
    buffer = Buffer(names.unique(value.name), C_TYPES[dtype], count(sizes), "state")
    return State(value.name, spec.output, buffer, dtype, sizes, spec.init, spec.scale)


class _Resolver:
    """Replaces the dynamic axes of a graph by sizes, and collects those it cannot."""

    def __init__(
        self,
        request: Request,
        contract: Contract | None,
        inputs: list[onnx.ValueInfoProto],
        steps: Dim,
    ) -> None:
        self._request, self._steps = request, steps
        self._sizes: dict[str, Dim] = dict(request.fixed)
        self._unknown: list[str] = []
        self.batch = request.batch
        for value in inputs:
            axes = contract.stream.inputs.get(value.name) if contract else None
            dims = value.type.tensor_type.shape.dim
            if axes is not None and axes.batch is not None and dims[axes.batch].dim_value:
                self.batch = dims[axes.batch].dim_value
            sizes = ((axes.batch, self.batch), (axes.time, steps)) if axes else ()
            for place, size in sizes:
                if place is not None and dims[place].dim_param:
                    self._sizes.setdefault(dims[place].dim_param, size)

    def tensor(self, value: onnx.ValueInfoProto, axes: Axes | None) -> tuple[str, Shape]:
        """Return dtype and shape of an input or output."""
        kind = value.type.tensor_type
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name if kind.elem_type else "?"
        if dtype not in C_TYPES:
            raise ModelError(
                f"{self._request.where}: {value.name!r} has type {dtype}, which has no C type "
                f"here; export the model with {', '.join(C_TYPES)}"
            )
        shape: list[Dim] = []
        for axis, dim in enumerate(kind.shape.dim):
            if dim.HasField("dim_value"):
                shape.append(dim.dim_value)
            elif axes is not None and axis == axes.batch:
                shape.append(self.batch)
            elif axes is not None and axis == axes.time:
                shape.append(self._steps)
            elif dim.dim_param in self._sizes:
                shape.append(self._sizes[dim.dim_param])
            else:
                self._unknown.append(f"axis {axis} ({dim.dim_param or '?'}) of {value.name}")
                shape.append(1)
        return dtype, tuple(shape)

    def finish(self) -> None:
        """Refuse axes that have no size."""
        if self._unknown:
            raise ModelError(
                f"{self._request.where}: {', '.join(self._unknown)}: neither batch nor time by the "
                f"state contract, so its size must be known; give it with --fix NAME=SIZE, or "
                f"export the model with edgernn export"
            )


def _check_contract(
    contract: Contract,
    inputs: Mapping[str, onnx.ValueInfoProto],
    outputs: Mapping[str, onnx.ValueInfoProto],
    where: str,
) -> None:
    from edgernn_exporters.inspection import tensor_spec

    contract.check(
        {name: tensor_spec(value) for name, value in inputs.items()},
        {name: tensor_spec(value) for name, value in outputs.items()},
        where,
    )


def _names(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"
        for dim in value.type.tensor_type.shape.dim
    )
