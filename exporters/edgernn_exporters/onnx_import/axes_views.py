"""What operators that move, join and cut do to the axes of their inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx

from edgernn_exporters.onnx_import.axes import NONE, TIME, Axis, Flow, Rule
from edgernn_exporters.onnx_nodes import attributes

_END = 1 << 30


def _transpose(flow: Flow, node: onnx.NodeProto) -> None:
    axes = flow.of(node.input[0]) or ()
    order = attributes(node).get("perm", range(len(axes))[::-1])
    flow.set(node.output[0], [axes[at] for at in order])


def _squeeze(flow: Flow, node: onnx.NodeProto) -> None:
    axes, shape = flow.of(node.input[0]) or (), flow.shapes.get(node.input[0])
    chosen = flow.integers(node.input[1]) if len(node.input) > 1 else None
    if chosen is None and (shape is None or len(node.input) > 1):
        return
    places = (
        [at for at, size in enumerate(shape or ()) if size == 1]
        if chosen is None
        else [at % len(axes) for at in chosen]
    )
    for at in places:
        flow.pin(axes[at], node, "it removes this axis")
    flow.set(node.output[0], [axis for at, axis in enumerate(axes) if at not in places])


def _unsqueeze(flow: Flow, node: onnx.NodeProto) -> None:
    axes, chosen = list(flow.of(node.input[0]) or ()), flow.integers(node.input[1])
    if chosen is None:
        return
    rank = len(axes) + len(chosen)
    places = {at % rank for at in chosen}
    flow.set(node.output[0], [NONE if at in places else axes.pop(0) for at in range(rank)])


def _reshape(flow: Flow, node: onnx.NodeProto) -> None:
    axes = flow.of(node.input[0])
    before, after = flow.shapes.get(node.input[0]), flow.shapes.get(node.output[0])
    if axes is None or before is None or after is None or 0 in before:
        return
    flow.set(node.output[0], _regrouped(flow, node, axes, before, after))


def _regrouped(
    flow: Flow, node: onnx.NodeProto, axes: Sequence[Axis], before: Sequence[int],
    after: Sequence[int],
) -> list[Axis]:  # fmt: skip
    """Hand the atoms of axes to those that they are reshaped to, in order.

    Atoms larger than 1 go by their sizes. Those of size 1 between the same larger ones go one to
    each new axis of size 1 there, all to the only one, or to a larger atom beside them; anything
    else pins them.
    """
    solid, gaps = _parts(flow, node, axes, before)
    total: list[Axis] = []
    ones: dict[int, list[int]] = {}
    spans: dict[int, tuple[int, int]] = {}
    taken, rest = 0, 1  # `rest` is what is left of the fixed part before `taken`
    for at, size in enumerate(after):
        total.append(NONE)
        if size == 1:
            ones.setdefault(taken if rest == 1 else -1, []).append(at)
            continue
        first, product, fixed = taken, 1, rest > 1
        while product < size and (rest > 1 or taken < len(solid)):
            if rest == 1:
                atom, part = solid[taken]
                taken += 1
                fixed = fixed or not atom
                rest, product = (1, product * part) if atom else (part, product)
                continue
            step = math.gcd(rest, size // product) if size % product == 0 else 1
            if step == 1:
                break
            rest, product = rest // step, product * step
        atoms = tuple(atom for atom, _ in solid[first:taken] if atom)
        if product != size:
            return _given_up(flow, node, axes, len(after))
        if fixed and atoms:  # the axes beside them keep their places
            flow.mix(Axis(atoms), node, "it puts places of this axis into others")
            flow.pin(Axis(atoms), node, "it puts places of this axis into others")
        elif atoms:
            total[at], spans[at] = Axis(atoms), (first, taken)
    for gap, names in gaps.items():
        places = ones.get(gap, [])
        beside = [at for at, span in spans.items() if gap in span]
        if len(places) == len(names):
            for at, atom in zip(places, names, strict=True):
                total[at] = Axis((atom,))
        elif len(places) == 1:
            total[places[0]] = Axis(tuple(names))
        elif not places and len(beside) == 1:
            at = beside[0]
            leads = spans[at][0] == gap
            total[at] = Axis((*names, *total[at].atoms) if leads else (*total[at].atoms, *names))
        else:
            flow.pin(Axis(tuple(names)), node, "where this axis of size 1 goes is not clear")
    return total


def _parts(
    flow: Flow, node: onnx.NodeProto, axes: Sequence[Axis], sizes: Sequence[int]
) -> tuple[list[tuple[str, int]], dict[int, list[str]]]:
    """Return atoms and fixed sizes above 1 in order, and the atoms of size 1 before each."""
    solid: list[tuple[str, int]] = []
    gaps: dict[int, list[str]] = {}
    for axis, size in zip(axes, sizes, strict=True):
        atoms = [(atom, flow.size(atom)) for atom in axis.atoms]
        if axis.offset or math.prod(part for _, part in atoms) != size:
            if atoms:
                flow.pin(axis, node, "it changes the shape behind a window")
                flow.mix(axis, node, "it changes the shape behind a window")
            atoms = [("", size)]
        for atom, part in atoms:
            if part == 1 and atom:
                gaps.setdefault(len(solid), []).append(atom)
            elif part > 1:
                solid.append((atom, part))
    return solid, gaps


def _given_up(flow: Flow, node: onnx.NodeProto, axes: Sequence[Axis], rank: int) -> list[Axis]:
    for axis in axes:
        moved = [atom for atom in axis.atoms if flow.size(atom) > 1]
        flow.mix(Axis(tuple(moved)), node, "it puts places of this axis into others")
        flow.pin(axis, node, "it puts places of this axis into others")
    return [NONE] * rank


def _flatten(flow: Flow, node: onnx.NodeProto) -> None:
    _reshape(flow, node)
    for axis in flow.of(node.input[0]) or ():
        if not any(set(axis.atoms) <= set(other.atoms) for other in flow.of(node.output[0]) or ()):
            flow.pin(axis, node, "it removes this axis")


def _concat(flow: Flow, node: onnx.NodeProto) -> None:
    parts = [flow.of(name) for name in node.input]
    known = [axes for axes in parts if axes is not None]
    if len(known) < len(parts):
        return
    along = attributes(node)["axis"] % len(known[0])
    total = list(known[0])
    for axes in known[1:]:
        total = [
            a if at == along else flow.join(a, b, node)
            for at, (a, b) in enumerate(zip(total, axes, strict=True))
        ]
    total[along] = _joined(flow, node, [axes[along] for axes in known], along)
    flow.set(node.output[0], total)


def _joined(flow: Flow, node: onnx.NodeProto, axes: list[Axis], along: int) -> Axis:
    if len(axes) == 1:
        return axes[0]
    moving = [axis for axis in axes if axis.atoms and not flow.is_state(axis)]
    sizes = [flow.shapes.get(name, (0,) * (along + 1))[along] for name in node.input]
    for axis in axes:
        if flow.is_state(axis):
            flow.pin(axis, node, "it holds past steps")
    if len(moving) != 1 or axes[-1] is not moving[0] or moving[0].offset:
        for axis in moving:
            flow.mix(axis, node, "it puts other values beside the steps of this axis")
            flow.pin(axis, node, "it puts other values beside the steps of this axis")
        return NONE
    if not all(flow.is_state(axis) for axis in axes[:-1]):
        flow.mix(moving[0], node, "it puts constants before the first step, in each call anew")
    if any(flow.is_cache(axis) for axis in axes[:-1]):
        flow.is_role(moving[0], TIME, node)
    return Axis(moving[0].atoms, sum(sizes[:-1]))


def _slice(flow: Flow, node: onnx.NodeProto) -> None:
    axes, shape = flow.of(node.input[0]) or (), flow.shapes.get(node.input[0])
    given = [flow.integers(name) if name else None for name in node.input[1:]]
    starts, ends = given[0], given[1]
    if starts is None or ends is None or shape is None:
        return
    chosen = given[2] if len(node.input) > 3 and node.input[3] else list(range(len(starts)))
    steps = given[3] if len(node.input) > 4 and node.input[4] else [1] * len(starts)
    if chosen is None or steps is None:
        return
    total = list(axes)
    for start, end, along, step in zip(starts, ends, chosen, steps, strict=True):
        at = along % len(axes)
        total[at] = _cut(flow, node, axes[at], shape[at], (start, end, step))
    flow.set(node.output[0], total)


def _cut(
    flow: Flow, node: onnx.NodeProto, axis: Axis, size: int, part: tuple[int, int, int]
) -> Axis:
    start, end, step = part
    if not axis.atoms or (start in (0, -_END) and end >= _END and step == 1):
        return axis
    if step == 1 and end >= _END and 0 < start <= axis.offset:
        return Axis(axis.atoms, axis.offset - start)
    if step == 1 and start == 0 and -axis.offset <= end < 0:
        return Axis(axis.atoms, axis.offset + end)
    if step == 1 and end >= _END and start < 0 and -start <= axis.offset + 1:
        return NONE  # the last steps, which are there however short a call is
    if (start, step) == (0, 1) and end == size:
        flow.pin(axis, node, f"it takes the first {end} steps")
        return axis
    flow.mix(axis, node, "it takes some of the steps only")
    flow.pin(axis, node, "it takes some of the steps only")
    return NONE


def _gather(flow: Flow, node: onnx.NodeProto) -> None:
    axes, index = flow.of(node.input[0]) or (), flow.of(node.input[1])
    if index is None:
        return
    at = attributes(node).get("axis", 0) % len(axes)
    number = flow.integers(node.input[1])
    if axes[at].atoms and number != [-1]:
        flow.mix(axes[at], node, "it takes some of the steps only")
        flow.pin(axes[at], node, "it takes some of the steps only")
    flow.set(node.output[0], [*axes[:at], *index, *axes[at + 1 :]])


def _split(flow: Flow, node: onnx.NodeProto) -> None:
    axes = flow.of(node.input[0]) or ()
    at = attributes(node).get("axis", 0) % len(axes)
    if axes[at].atoms and len(node.output) > 1:
        flow.mix(axes[at], node, "it takes the steps apart")
    flow.pin(axes[at], node, "it takes the steps apart")
    rest = [
        NONE if len(node.output) > 1 and place == at else axis for place, axis in enumerate(axes)
    ]
    for name in node.output:
        flow.set(name, rest)


def _pad(flow: Flow, node: onnx.NodeProto) -> None:
    axes, pads = flow.of(node.input[0]) or (), flow.integers(node.input[1])
    chosen: list[int] | None = list(range(len(axes)))
    if len(node.input) > 3 and node.input[3]:
        chosen = flow.integers(node.input[3])
    if pads is None or chosen is None:
        return
    total = list(axes)
    for place, at in enumerate(chosen):
        axis, before, after = axes[at], pads[place], pads[place + len(chosen)]
        if before or after:
            flow.mix(axis, node, "it puts constants before or behind the steps, in each call anew")
            total[at] = Axis(axis.atoms, axis.offset + before + after) if axis.atoms else NONE
    flow.set(node.output[0], total)


def _expand(flow: Flow, node: onnx.NodeProto) -> None:
    axes, shape = flow.of(node.input[0]) or (), flow.shapes.get(node.output[0])
    before = flow.shapes.get(node.input[0])
    if shape is None or before is None:
        return
    flow.by_size(node.output[0])
    found = list(flow.of(node.output[0]) or ())
    missing = len(shape) - len(axes)
    for at, axis in enumerate(axes, missing):
        if shape[at] == before[at - missing]:
            found[at] = axis
        else:
            flow.pin(axis, node, "it repeats this axis")
    flow.set(node.output[0], found)


def _sizes(flow: Flow, node: onnx.NodeProto) -> None:
    shape = flow.shapes.get(node.output[0])
    flow.set(node.output[0], [NONE] * len(shape or (0,)))


def _filled(flow: Flow, node: onnx.NodeProto) -> None:
    flow.by_size(node.output[0])


VIEWS: dict[str, Rule] = {
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Concat": _concat,
    "Slice": _slice,
    "Gather": _gather,
    "Split": _split,
    "Pad": _pad,
    "Expand": _expand,
    "Shape": _sizes,
    "Size": _sizes,
    "ConstantOfShape": _filled,
}
