"""Turn a whole ONNX graph into statements, constants and a memory plan."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgernn.contract import ZEROS
from edgernn.errors import ModelError
from edgernn_exporters.codegen.dims import Dim, Steps, render
from edgernn_exporters.codegen.graph import initializers
from edgernn_exporters.codegen.loops import materialize, permute_copy
from edgernn_exporters.codegen.lowering import Lowering
from edgernn_exporters.codegen.memory import MemoryPlan, plan_memory
from edgernn_exporters.codegen.ports import Port, Ports, State, fixed_time, open_ports
from edgernn_exporters.codegen.request import Request
from edgernn_exporters.codegen.states import store_states
from edgernn_exporters.codegen.strided import permuted, view_of
from edgernn_exporters.codegen.values import (
    Buffer,
    Constant,
    Lazy,
    Statement,
    Tensor,
    Value,
    Weights,
)
from edgernn_exporters.codegen.visiting import Fallback, Refusal, Visitor, label_of
from edgernn_exporters.quantization.functions.loops import lengths_of


@dataclass(frozen=True)
class Built:
    """A graph as C statements.

    Attributes:
        ports: Parameters and states.
        statements: In order.
        memory: Where scratch buffers lie.
        weights: Constants.
        headers: Kernel headers that are used.
        functions: C functions that the file needs, by name.
        macs_per_step: Multiply-accumulate operations of one time step.
        fallback: Nodes that emx-onnx-cgen wrote.
        initial: First values of the states that do not start at zero: C name of the constant.
    """

    ports: Ports
    statements: tuple[Statement, ...]
    memory: MemoryPlan
    weights: Weights
    headers: frozenset[str]
    functions: Mapping[str, str]
    macs_per_step: int
    fallback: tuple[str, ...]
    initial: Mapping[str, str]


def build(request: Request, fallback: Fallback) -> Built:
    """Lower a graph; any number of time steps if that works, else a fixed number.

    Raises:
        ModelError: Nodes cannot be turned into C; names them all with the reasons.
    """
    causal = request.metadata.contract is None or request.metadata.contract.stream.causal
    given = fixed_time(request)
    if given is None and causal:
        _refuse_lengths(request)
    if given is None:
        result = _attempt(request, Steps(), fallback)
        if not isinstance(result, Built) and any(refusal.timed for _, refusal in result):
            result = _attempt(request, 1 if causal else request.most_steps, fallback)
    elif given == 1 and causal:
        result = _attempt(request, 1, fallback)
    else:
        result = _attempt(replace(request, timeless=True), 1, fallback)
    if isinstance(result, Built):
        return result
    raise _refused(request, result)


def _refuse_lengths(request: Request) -> None:
    """Refuse lengths of sequences in a stream, whose calls do not know where the sequence is."""
    for node in request.model.graph.node:
        if lengths_of(node) and request.metadata.contract is not None:
            raise ModelError(
                f"{request.where}: {label_of(node)} takes sequence_lens, which a stream cannot "
                f"know; export the model without them, or as not causal"
            )


def _attempt(request: Request, steps: Dim, fallback: Fallback) -> Built | list[Refusal]:
    graph = request.model.graph
    opset = next((i.version for i in request.model.opset_import if i.domain in ("", "ai.onnx")), 0)
    visitor = Visitor(request.model, fallback)
    lowering = Lowering(graph, opset, request.layout, request.name, visitor)
    for name, array in initializers(graph).items():
        lowering.define(name, Constant(array))
    ports = open_ports(request, steps, lowering.names)
    initial = _define_ports(lowering, request, ports)
    refusals = visitor.visit(lowering, graph.node)
    if refusals:
        return refusals
    _finish(lowering, request, ports)
    texts = [*(s.code for s in lowering.statements), *lowering.functions.values()]
    read = {word for text in texts for word in re.findall(r"\w+", text)}
    lowering.weights.keep(read | set(initial.values()))  # an operator may store, and then not read
    most = request.most_steps if isinstance(steps, Steps) else steps
    return Built(
        ports=ports,
        statements=tuple(lowering.statements),
        memory=plan_memory(lowering.statements, most),
        weights=lowering.weights,
        headers=frozenset(lowering.headers),
        functions=dict(lowering.functions),
        macs_per_step=lowering.macs_per_step(),
        fallback=tuple(lowering.written),
        initial=initial,
    )


def _define_ports(lowering: Lowering, request: Request, ports: Ports) -> dict[str, str]:
    """Define the inputs and states, and offer the outputs' memory; return first values."""
    for port in ports.inputs:
        given = Tensor(port.buffer, port.c_shape, port.dtype)
        lowering.define(port.name, _from_time_first(port, given))
    for port in ports.outputs:
        if port.same_memory:
            lowering.offer(port.name, port.buffer)
    initial = {}
    for state in ports.states:
        lowering.define(state.input, Tensor(state.buffer, state.shape, state.dtype))
        users = lowering.consumers(state.input)
        alone = len(users) == 1 and state.output in users[0].output
        if alone and state.input not in lowering.results:
            lowering.in_place.add((state.input, state.output))
        if state.init != ZEROS:
            initial[state.input] = _first_value(lowering, request, state)
    return initial


def _first_value(lowering: Lowering, request: Request, state: State) -> str:
    array = lowering.constant(state.init)
    if array is None:
        raise ModelError(
            f"{request.where}: the contract takes a first value from {state.init!r}, which the "
            f"file does not hold; export the model again"
        )
    if array.dtype.name != state.dtype:
        raise ModelError(
            f"{request.where}: first value {state.init!r} is {array.dtype.name}, but state "
            f"{state.input} is {state.dtype}; export the model again"
        )
    try:
        value = np.broadcast_to(array, state.shape)
    except ValueError:
        raise ModelError(
            f"{request.where}: first value {state.init!r} has shape {list(array.shape)}, which "
            f"does not fit state {state.input} {list(state.shape)}; export the model again"
        ) from None
    return lowering.weight(state.init, value)


def _from_time_first(port: Port, given: Tensor) -> Value:
    """Bring an input from C's order, time outermost, to the graph's."""
    if port.same_memory:
        return Tensor(port.buffer, port.shape, port.dtype)
    return Lazy("{0}", (permuted(view_of(given), port.back),), port.shape, port.dtype)


def _finish(lowering: Lowering, request: Request, ports: Ports) -> None:
    """Bring outputs and next states to where the caller looks for them."""
    results: list[Port | State] = [*ports.outputs, *ports.states]
    for item in results:
        _check_result(lowering, request, item)
    for port in ports.outputs:
        target = Tensor(port.buffer, port.c_shape, port.dtype)
        waiting = lowering.value(port.name)
        if isinstance(waiting, Lazy) and not port.same_memory:
            materialize(lowering, waiting, permuted(view_of(target), port.back))
            continue
        value = lowering.tensor(port.name)
        if value.buffer is port.buffer:
            continue
        if (
            port.same_memory
            and lowering.untouched(port.name)
            and _exchangeable(value.buffer, port.buffer)
        ):
            value.buffer.become(port.buffer)
        elif port.same_memory:
            lowering.copy(value, target)
        else:
            code = permute_copy(value, target, port.order)
            lowering.emit(code, reads=[value], writes=[target])
    nexts = [(s.output, Tensor(s.buffer, s.shape, s.dtype)) for s in ports.states]
    store_states(lowering, nexts)


def _exchangeable(scratch: Buffer, output: Buffer) -> bool:
    """Tell whether a value can be computed in the caller's memory; nothing else is, so far."""
    same = (scratch.c_type, scratch.size) == (output.c_type, output.size)
    return same and scratch.storage == "scratch"


def _check_result(lowering: Lowering, request: Request, item: Port | State) -> None:
    """Refuse results of another size than the file says: they would not fit their memory."""
    name = item.output if isinstance(item, State) else item.name
    value = lowering.value(name)
    if (value.shape, value.dtype) != (item.shape, item.dtype):
        raise ModelError(
            f"{request.where}: the file says that {name!r} is {item.dtype} {render(item.shape)}, "
            f"but its nodes compute {value.dtype} {render(value.shape)}; export it again"
        )


def _refused(request: Request, refusals: Sequence[Refusal]) -> ModelError:
    reasons = "; ".join(f"{label}: {refusal}" for label, refusal in refusals)
    number = f"{len(refusals)} nodes" if len(refusals) > 1 else "a node"
    return ModelError(
        f"{request.where}: {number} cannot be turned into C: {reasons}; change the model so that "
        f"it does without, or run it on target cpu"
    )
