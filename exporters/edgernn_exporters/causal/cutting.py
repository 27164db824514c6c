"""Operators that add or remove frames: Pad, Slice, Concat, Gather."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from edgernn_exporters.causal.framewise import Rule, framewise, other
from edgernn_exporters.causal.sizes import Size
from edgernn_exporters.causal.values import (
    Array,
    Timed,
    Unstreamable,
    described,
    frames,
    refusal,
)
from edgernn_exporters.causal.walk import Walk
from edgernn_exporters.onnx_nodes import attributes, name_of

_AHEAD = {"reflect": "mirrors frames that come later", "wrap": "takes frames from the end"}


def padded(
    walk: Walk,
    name: str,
    value: Timed,
    node: onnx.NodeProto,
    before: int,
    after: int,
    *,
    fill: Any = 0,
) -> Timed:
    """Add frames before and behind a sequence, or cut them off where a number is below 0.

    Args:
        walk: The walk.
        name: The sequence's name in the model.
        value: The sequence.
        node: What adds them.
        before: Frames before the first.
        after: Frames behind the last; they change no frame that a stream computes.
        fill: What all of them hold, or an array of ``before`` frames.
    """
    value = replace(value, extra=value.extra + after)
    if before == 0:
        return value
    moved = replace(value, cause=described(node), label=name_of(node))
    if before < 0:
        return cropped(moved, -before)
    if isinstance(fill, np.ndarray):
        new = fill
    else:
        new = walk.empty_frames(name, value.axis, before, fill)
    if value.late > 0:
        moved, new = _blanked(walk, name, moved, new, node)
    late = value.late - before
    if value.prefix is not None:
        new = np.concatenate([new, value.prefix], value.axis)
    prefix = new if late < 0 else None
    return replace(moved, late=late, extra=value.extra + before, prefix=prefix)


def cropped(value: Timed, count: int) -> Timed:
    """Return a sequence without its first ``count`` frames."""
    late, prefix = value.late + count, None
    if late < 0 and value.prefix is not None:
        prefix = frames(value.prefix, value.axis, count, None)
    return replace(value, late=late, extra=value.extra - count, prefix=prefix)


def _blanked(
    walk: Walk, name: str, value: Timed, new: Array, node: onnx.NodeProto
) -> tuple[Timed, Array]:
    """Put what is padded in place of frames of which a part is from before the first input.

    Returns:
        The sequence, and the frames that even then are before the first input.
    """
    one = frames(new, value.axis, 0, 1)
    if not np.array_equal(new, np.broadcast_to(one, new.shape)):
        raise refusal(
            f"{described(node)} puts different frames before a sequence whose first {value.late} "
            f"frames are cut off",
            "pad with one value",
        )
    shape = walk.shape(name)
    rows = [axis for axis, size in enumerate(shape) if size.is_batch][:1]
    sizes = tuple(
        size if axis in (*rows, value.axis) else Size(1) for axis, size in enumerate(shape)
    )
    writer, label = walk.writer, f"{name_of(node)}.begun"
    parts = [
        writer.node("Shape", [value.name], f"{label}.size", start=axis, end=axis + 1)
        if axis in (*rows, value.axis) else writer.integers(1)
        for axis in range(len(shape))
    ]  # fmt: skip
    target = writer.node("Concat", parts, f"{label}.shape", axis=0)
    unit = writer.constant(f"{label}.one", np.ones(1, np.float32))
    ones = Timed(writer.node("Expand", [unit, target], f"{label}.ones"), value.axis)
    begun = writer.delayed(ones, value.late, sizes, TensorProto.FLOAT, label)
    flag = writer.node("Cast", [begun.name], f"{label}.flag", to=TensorProto.BOOL)
    fill = writer.constant(f"{label}.fill", one)
    chosen = writer.node("Where", [flag, value.name, fill], f"{label}.data")
    known = max(0, new.shape[value.axis] - value.late)
    return replace(value, name=chosen), frames(new, value.axis, 0, known)


def _pad(walk: Walk, node: onnx.NodeProto) -> None:
    name = node.input[0]
    value = walk.timed(name)
    amounts = None if value is None else _amounts(walk, node, len(walk.shape(name)))
    if value is None or amounts is None or walk.sizes.shape(node.output[0]) is None:
        other(walk, node)
        return
    rank, axis = len(walk.shape(name)), value.axis
    before, after = amounts[axis], amounts[axis + rank]
    mode = bytes(attributes(node).get("mode", b"constant")).decode()
    if before > 0 and mode in _AHEAD:
        raise refusal(f"{described(node)} {_AHEAD[mode]} (mode {mode})", "pad with zeros")
    if before > 0 and mode == "edge":
        raise refusal(
            f"{described(node)} repeats the first frame, which is not known when a stream begins",
            "pad with zeros",
        )
    amounts[axis] = amounts[axis + rank] = 0
    if any(amounts):
        inputs = [name, walk.writer.integers(*amounts), *list(node.input[2:3])]
        rest = onnx.helper.make_node("Pad", inputs, [node.output[0]], name=node.name, mode=mode)
        value = _kept(walk, node, rest, value)
    if before == 0 == after and value.name == name:
        walk.define(node.output[0], value)
        return
    fill: Any = 0
    if before > 0 and len(node.input) > 2 and node.input[2]:
        array = walk.known(node.input[2])
        if array is None:
            raise refusal(f"{described(node)} pads with a value that is known only at run time")
        fill = array.reshape(-1)[0]
    walk.define(node.output[0], padded(walk, node.output[0], value, node, before, after, fill=fill))


def _kept(walk: Walk, node: onnx.NodeProto, rest: onnx.NodeProto, value: Timed) -> Timed:
    """Add what a node does beside the time axis; ``rest`` has the model's names."""
    prefix = None
    if value.prefix is not None:
        prefix = walk.evaluated(rest, {node.input[0]: value.prefix}, node)[node.output[0]]
    walk.keep(rest, {node.input[0]: value.name})
    return replace(value, name=node.output[0], prefix=prefix)


def _amounts(walk: Walk, node: onnx.NodeProto, rank: int) -> list[int] | None:
    pads = attributes(node).get("pads")
    if pads is not None:
        return list(pads)
    given = walk.integers(node.input[1])
    if given is None:
        return None
    axes: list[int] | None = list(range(rank))
    if len(node.input) > 3 and node.input[3]:
        axes = walk.integers(node.input[3])
    if axes is None:
        return None
    amounts = [0] * (2 * rank)
    for place, axis in enumerate(axes):
        amounts[axis % rank], amounts[axis % rank + rank] = given[place], given[place + len(axes)]
    return amounts


def _slice(walk: Walk, node: onnx.NodeProto) -> None:
    name, output = node.input[0], node.output[0]
    value, shape = walk.timed(name), walk.sizes.shape(output)
    if value is None or shape is None:
        other(walk, node)
        return
    rank = len(shape)
    lists = [walk.integers(item) for item in node.input[1:]]
    lists += [None] * (4 - len(lists))
    starts, ends, axes, steps = lists
    if len(node.input) < 4 or not node.input[3]:
        axes = list(range(len(starts or ())))
    if axes is None:
        other(walk, node)
        return
    axes = [axis % rank for axis in axes]
    if value.axis not in axes:
        framewise(walk, node, {output: value.axis})
        return
    place = axes.index(value.axis)
    step = 1 if steps is None else steps[place]
    if step < 0:
        raise refusal(f"{described(node)} turns time around")
    if step > 1:
        raise refusal(
            f"{described(node)} takes every {step}. frame, so that there is not one output for "
            f"each input"
        )
    first = None if starts is None else starts[place]
    size = shape[value.axis]
    if not size.grows:
        _few(walk, node, first, size.base)
        return
    if first is None or first < 0 or not size.is_time:
        other(walk, node)
        return
    after = size.base - value.extra + first
    if len(axes) > 1:
        rest = _beside(walk, node, starts, ends, axes, steps, place)
        if rest is None:
            other(walk, node)
            return
        value = _kept(walk, node, rest, value)
    walk.define(output, padded(walk, output, value, node, -first, after))


def _beside(
    walk: Walk,
    node: onnx.NodeProto,
    starts: list[int] | None,
    ends: list[int] | None,
    axes: list[int],
    steps: list[int] | None,
    place: int,
) -> onnx.NodeProto | None:
    """Return a Slice like another, but not along time."""
    if starts is None or ends is None:
        return None
    lists = [starts, ends, axes, steps or [1] * len(axes)]
    names = [
        walk.writer.integers(*[item for i, item in enumerate(values) if i != place])
        for values in lists
    ]
    for name, values in zip(names, lists, strict=True):
        walk.know(name, np.array([v for i, v in enumerate(values) if i != place], np.int64))
    return onnx.helper.make_node("Slice", [node.input[0], *names], [node.output[0]], name=node.name)


def _few(walk: Walk, node: onnx.NodeProto, first: int | None, count: int) -> None:
    """Keep a node that takes a fixed number of frames: the last one, or for its shape only."""
    name = node.input[0]
    if first is None or (first == -1 and count == 1):
        other(walk, node)
        return
    value = walk.timed(name)
    assert value is not None
    walk.keep(node, {name: value.name})
    what = f"the last {count} frames" if first < 0 else "frames counted from the first"
    if first < 0 and count == 1:
        what = f"frame {first}, counted from the last"
    walk.define(
        node.output[0],
        Unstreamable(f"{described(node)} takes {what} of the sequence, which a step does not have"),
    )


def _gather(walk: Walk, node: onnx.NodeProto) -> None:
    data, index = node.input
    value, places = walk.timed(data), walk.timed(index)
    given = walk.sizes.shape(data)
    if given is None or (value is None) == (places is None):
        other(walk, node)
        return
    axis = int(attributes(node).get("axis", 0)) % len(given)
    if places is not None:
        framewise(walk, node, {node.output[0]: axis + places.axis})
        return
    assert value is not None
    shape = walk.sizes.shape(index)
    if value.axis != axis:
        if shape is None:
            other(walk, node)
            return
        behind = value.axis > axis
        framewise(walk, node, {node.output[0]: value.axis + (len(shape) - 1 if behind else 0)})
        return
    numbers = walk.integers(index)
    if numbers is None:
        other(walk, node)
    else:
        _few(walk, node, numbers[0], len(numbers))


def _concat(walk: Walk, node: onnx.NodeProto) -> None:
    output = node.output[0]
    timed = [(i, value) for i, name in enumerate(node.input) if (value := walk.timed(name))]
    shape = walk.sizes.shape(output)
    if not timed or shape is None:
        walk.require_usable(node, node.input)
        other(walk, node)
        return
    index, value = timed[0]
    axis = int(attributes(node)["axis"]) % len(shape)
    if axis != value.axis:
        walk.require_usable(node, node.input)
        framewise(walk, node, {output: value.axis})
        return
    if len(timed) > 1:
        raise refusal(f"{described(node)} puts one sequence behind another")
    walk.require_usable(node, node.input[:index])
    left = [walk.known(name) for name in node.input[:index]]
    sizes = [walk.sizes.shape(name) for name in node.input[index + 1 :]]
    if any(array is None for array in left) or any(size is None for size in sizes):
        other(walk, node)  # the file has a cache of its own
        return
    after = sum(size[axis].base for size in sizes if size is not None)
    kept = [array for array in left if array is not None and array.shape[axis]]
    if not kept:
        walk.define(output, padded(walk, output, value, node, 0, after))
        return
    fill = np.concatenate(kept, axis)
    whole = walk.empty_frames(output, axis, fill.shape[axis], 0)
    fill = np.array(np.broadcast_to(fill, np.broadcast_shapes(fill.shape, whole.shape)))
    result = padded(walk, output, value, node, fill.shape[axis], after, fill=fill)
    walk.define(output, result)


RULES: dict[str, Rule] = {
    "Pad": _pad,
    "Slice": _slice,
    "Concat": _concat,
    "Gather": _gather,
}
