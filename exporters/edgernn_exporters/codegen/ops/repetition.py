"""A loop in C over the nodes of a subgraph: what ONNX's Scan and Loop are turned into.

The statements of the body stand between one that opens the loop and one that closes it:

    memcpy(h, first, ...);                      a state that is carried, in memory of its own
    for (size_t s0 = 0; s0 < t; ++s0) {
        const float *const x_s = x + s0 * 40;   this step's part of what is scanned
        float *const y_s = y + s0 * 64;         this step's part of a result
        ...                                     the body, over the same scratch memory in each step
        memcpy(h, h_next, ...);
    }

So the memory plan sees one list of statements. What the loop reads from outside, or carries, is in
use until it closes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import onnx
from onnx import numpy_helper

from edgernn_exporters.codegen.dims import Dim, Shape, add, at, count, multiply, render
from edgernn_exporters.codegen.expressions import define_view, settled
from edgernn_exporters.codegen.loops import indented, index, materialize
from edgernn_exporters.codegen.lowering import Lowering
from edgernn_exporters.codegen.ops.linear import row_product
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.single_node import captured
from edgernn_exporters.codegen.states import store_states
from edgernn_exporters.codegen.strided import permuted, removed, sliced, view_of
from edgernn_exporters.codegen.subgraphs import Body
from edgernn_exporters.codegen.values import (
    Buffer,
    Constant,
    Lazy,
    Statement,
    Tensor,
    Value,
    View,
)
from edgernn_exporters.onnx_nodes import is_standard


@dataclass(frozen=True)
class Carried:
    """A state: names of its first value and its last one outside, and inside of old and next."""

    start: str
    final: str
    old: str
    next: str


@dataclass(frozen=True)
class Scanned:
    """What each step reads a part of: whole value, axis, order, and the part's name inside."""

    view: View
    axis: int
    reverse: bool
    name: str


@dataclass(frozen=True)
class Stacked:
    """What each step computes a part of: the part's name inside, the whole's name, its axis."""

    name: str
    whole: str
    axis: int
    reverse: bool


@dataclass(frozen=True)
class Repetition:
    """A loop over a body.

    Attributes:
        node: The operator.
        body: Its subgraph.
        steps: Number of iterations.
        carried: States.
        scanned: Inputs that are taken apart.
        stacked: Outputs that are put together.
        given: Other inputs of the body, from the C name of the loop's counter.
    """

    node: onnx.NodeProto
    body: Body
    steps: Dim
    carried: Sequence[Carried]
    scanned: Sequence[Scanned]
    stacked: Sequence[Stacked]
    given: Callable[[str], dict[str, Value]] = lambda counter: {}


def emit_repetition(
    lowering: Lowering,
    loop: Repetition,
    *,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Emit the loop and define the node's outputs.

    Args:
        lowering: Where to.
        loop: What to emit.
        check: Called behind the body; raises `NotLoweredError` if the loop is not what it seems.
    """
    if at(loop.steps, 1) < 1:
        raise NotLoweredError("it may take no step", timed=not isinstance(loop.steps, int))
    _settle_captured(lowering, loop.node)
    states = [_open_state(lowering, loop.node, item) for item in loop.carried]
    made = _Loop(lowering, loop.steps)
    with lowering.subgraph(loop.body.nodes, loop.body.outputs):
        for name, tensor in loop.body.initializers.items():
            lowering.define(name, Constant(numpy_helper.to_array(tensor)))
        for name, value in loop.given(made.counter).items():
            lowering.define(name, value)
        for item, state in zip(loop.carried, states, strict=True):
            lowering.define(item.old, state)
        for part in loop.scanned:
            define_view(lowering, part.name, made.part(part.name, part))
        for node in loop.body.nodes:
            if lowering.visitor.fold(lowering, node):
                lowering.skip(node)
        _hoist_products(lowering, loop, made)
        counted, begin = len(lowering.macs), len(lowering.statements)
        wholes = [_Whole(lowering, made, part) for part in loop.stacked if part.whole]
        for whole in wholes:
            whole.offer()
        lowering.visitor.inside(lowering, loop.body.nodes)
        check()
        _require_same(lowering, loop.carried, states)
        results = [whole.finish(loop.body.outputs) for whole in wholes]
        store_states(
            lowering,
            [(item.next, state) for item, state in zip(loop.carried, states, strict=True)],
        )
    for item, state in zip(loop.carried, states, strict=True):
        if item.final:
            lowering.define(item.final, state)
    for name, result in results:
        lowering.define(name, result)
    lowering.macs[counted:] = [_times(loop.steps, number) for number in lowering.macs[counted:]]
    made.close(begin, lowering.comment(loop.node), states)


def _settle_captured(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Compute what the body reads from around it once, not in every step."""
    for name in captured(node):
        value = lowering.value(name)
        if isinstance(value, Lazy) and not value.plain:
            settled(lowering, name)


def _open_state(lowering: Lowering, node: onnx.NodeProto, item: Carried) -> Tensor:
    """Return the memory of a state, holding its first value; the caller's state if it can be."""
    first = lowering.value(item.start)
    alone = list(node.input).count(item.start) == 1 and item.start not in captured(node)
    if alone and lowering.updates_in_place(item.start, item.final):
        return lowering.tensor(item.start)
    if item.final:
        state = lowering.destination(item.final, first.shape, first.dtype)
    else:
        state = lowering.scratch(item.old, first.shape, first.dtype)
    if isinstance(first, Lazy):
        materialize(lowering, first, state)
    elif isinstance(first, Constant) and not any(first.array.tobytes()):
        lowering.emit(f"memset({state.c}, 0, {state.size} * sizeof(*{state.c}));", writes=[state])
    else:
        lowering.copy(lowering.tensor(item.start), state)
    return state


def _require_same(lowering: Lowering, carried: Sequence[Carried], states: Sequence[Tensor]) -> None:
    """Refuse a state that changes its shape from step to step."""
    for item, state in zip(carried, states, strict=True):
        value = lowering.value(item.next)
        if (value.shape, value.dtype) != (state.shape, state.dtype):
            raise NotLoweredError(
                f"its state {item.next!r} is {value.dtype} {render(value.shape)} behind a step, "
                f"but {state.dtype} {render(state.shape)} before it",
                timed=True,
            )


def _times(steps: Dim, number: Dim) -> Dim:
    """Multiply operations of one step; where both grow with time, those of a body of one step."""
    return multiply(steps, number if isinstance(steps, int) else at(number, 1))


def _hoist_products(lowering: Lowering, loop: Repetition, made: _Loop) -> None:
    """Multiply what is scanned by constant weights for all steps at once, before the loop opens.

    This reads the weights once a call, not once a step.
    """
    if loop.steps == 1:
        return
    parts = {part.name: part for part in loop.scanned}
    for node in loop.body.nodes:
        product = is_standard(node, "MatMul", "Gemm")
        part = parts.get(node.input[0]) if product else None
        if part is None or lowering.is_skipped(node):
            continue
        moved = [axis for axis in range(len(part.view.shape)) if axis != part.axis]
        rows = permuted(part.view, [part.axis, *moved])
        name = row_product(lowering, node, rows)
        if name is not None:
            whole = view_of(lowering.tensor(name))
            pre = Scanned(whole, 0, part.reverse, name)
            define_view(lowering, name, made.part(name, pre))
            lowering.skip(node)


class _Loop:
    """The C loop around the statements of a body; ``steps`` is how often it runs."""

    def __init__(self, lowering: Lowering, steps: Dim) -> None:
        self._lowering, self.steps = lowering, steps
        self._depth = lowering.depth
        self._declared: dict[Buffer, str] = {}
        self._behind: dict[Buffer, Buffer] = {}

    @property
    def counter(self) -> str:
        """C name of the number of steps so far."""
        return f"s{self._depth}"

    def part(self, name: str, whole: Scanned, *, const: bool = True) -> View:
        """Return one step's part of a value, behind a pointer that the loop declares."""
        view, axis = whole.view, whole.axis
        if whole.reverse:
            view = sliced(view, axis, add(self.steps, -1), self.steps, -1)
        strides = (*[0] * self._depth, view.strides[axis])
        place = index(strides, view.offset, "s")
        inner = removed(replace(view, offset=0), axis)
        kind = view.buffer.c_type
        buffer = Buffer(self._lowering.names.unique(f"{name}_s"), kind, count(inner.shape), "slice")
        address = view.buffer.name if place == "0" else f"{view.buffer.name} + {place}"
        qualified = f"const {kind}" if const else kind
        self._declared[buffer] = f"{qualified} *const {buffer.name} = {address};"
        self._behind[buffer] = view.buffer
        return replace(inner, buffer=buffer)

    def close(self, begin: int, title: str, states: Sequence[Tensor]) -> None:
        """Put the loop around all statements from ``begin`` on."""
        statements = self._lowering.statements
        inside = statements[begin:]
        used = {b: None for s in inside for b in (*s.reads, *s.writes)}
        declared = [line for buffer, line in self._declared.items() if buffer in used]
        before = {b for s in statements[:begin] for b in (*s.reads, *s.writes)}
        outside = [b for b in used if b in before]
        outside += [state.buffer for state in states]
        outside += [whole for buffer, whole in self._behind.items() if buffer in used]
        live = tuple(dict.fromkeys(outside))
        head = "\n".join([
            title,
            f"for (size_t {self.counter} = 0; {self.counter} < {self.steps}; ++{self.counter}) {{",
            *(f"    {line}" for line in declared),
        ])  # fmt: skip
        statements[begin:] = [
            Statement(head, live, live),
            *(replace(item, code=indented(item.code)) for item in inside),
            Statement("}", live, live),
        ]


class _Whole:
    """The memory of a result that each step computes a part of; made when its size is known."""

    def __init__(self, lowering: Lowering, loop: _Loop, part: Stacked) -> None:
        self._lowering, self._loop, self._part = lowering, loop, part
        self._made: tuple[Tensor, View] | None = None

    def offer(self) -> None:
        """Let the part be computed in its place, if it is one piece of memory there."""
        if self._part.axis == 0:
            self._lowering.offer_made(self._part.name, self._give)

    def finish(self, names: Sequence[str]) -> tuple[str, Tensor]:
        """Emit what is missing, and return the whole under its name.

        Args:
            names: Of all outputs of the body; those with the same value are not computed again.
        """
        lowering, name = self._lowering, self._part.name
        value = lowering.value(name)
        same = [other for other in names if lowering.value(other) is value]
        if self._made is None and self._part.axis == 0:
            value = lowering.tensor(name)  # in its place, if nothing has been computed there yet
            for other in same:
                lowering.define(other, value)
        whole, target = self._open(value.shape, value.dtype)
        if isinstance(value, Tensor) and value.buffer is target.buffer:
            return self._part.whole, whole
        if not isinstance(value, Lazy):
            given = lowering.tensor(name)
            value = Lazy("{0}", (given,), given.shape, given.dtype)
        materialize(lowering, value, target)
        return self._part.whole, whole

    def _give(self, shape: Shape, dtype: str) -> Buffer:
        return self._open(shape, dtype)[1].buffer

    def _open(self, shape: Shape, dtype: str) -> tuple[Tensor, View]:
        if self._made is None:
            part, steps = self._part, self._loop.steps
            axis = part.axis % (len(shape) + 1)
            sizes = (*shape[:axis], steps, *shape[axis:])
            whole = self._lowering.destination(part.whole, sizes, dtype)
            place = Scanned(view_of(whole), axis, part.reverse, part.name)
            self._made = whole, self._loop.part(part.name, place, const=False)
        return self._made
