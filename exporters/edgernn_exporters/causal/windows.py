"""Operators that read several frames for one: convolutions, pooling, running sums."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from edgernn_exporters.causal.cutting import padded
from edgernn_exporters.causal.framewise import Rule, framewise, other
from edgernn_exporters.causal.sizes import Size
from edgernn_exporters.causal.values import Timed, described, refusal
from edgernn_exporters.causal.walk import Walk
from edgernn_exporters.onnx_nodes import attributes, name_of


def _window(walk: Walk, node: onnx.NodeProto) -> None:
    """Conv and pooling: what a window reads of earlier calls comes from a cache."""
    name = node.input[0]
    value = walk.timed(name)
    kernel = _kernel(walk, node)
    known = walk.sizes.shape(node.output[0]) is not None
    if value is None or kernel is None or value.axis == 1 or not known:
        other(walk, node)
        return
    if value.axis == 0:  # time where the operator has its batch
        framewise(walk, node, {output: 0 for output in node.output if output})
        return
    place, rank = value.axis - 2, len(kernel)
    given = attributes(node)
    strides = list(given.get("strides") or [1] * rank)
    dilations = list(given.get("dilations") or [1] * rank)
    if strides[place] != 1:
        raise refusal(
            f"{described(node)} moves {strides[place]} time steps at once (stride), so that there "
            f"is not one output for each input",
            "use stride 1 in time, or put as many frames into the features before the model",
        )
    if any(node.output[1:]):
        raise refusal(f"{described(node)} returns the places of its largest elements")
    pads = _pads(node, given, walk.shape(name), kernel, strides, dilations)
    before, after = pads[place], pads[place + rank]
    reach = (kernel[place] - 1) * dilations[place]
    _require_whole_mean(node, given, before, after)
    value = padded(walk, name, value, node, before, after, fill=_fill(node))
    source = value.name
    if reach:
        label = name_of(node)
        source = walk.writer.joined(value, reach, walk.shape(name), walk.sizes.dtypes[name], label)
    pads[place] = pads[place + rank] = 0
    changed: dict[str, Any] = {"pads": pads}
    copy = walk.keep(node, {name: source}, attributes=changed, drop=["auto_pad"])
    late, prefix = value.late + reach, None
    if late < 0:
        assert value.prefix is not None
        alone = onnx.NodeProto()
        alone.CopyFrom(copy)
        alone.input[:] = node.input
        prefix = walk.evaluated(alone, {name: value.prefix}, node)[node.output[0]]
    cause = _cause(node, late, before, reach) if late > 0 else value.cause
    result = Timed(node.output[0], value.axis, late, value.extra - reach, prefix,
                   cause or described(node), name_of(node))  # fmt: skip
    walk.define(node.output[0], result)


def _cause(node: onnx.NodeProto, late: int, before: int, reach: int) -> str:
    spans = f"its window spans {reach + 1} time steps"
    return f"{described(node)} ({spans}, {before} of them padded by itself)" if before else (
        f"{described(node)} ({spans})"
    )  # fmt: skip


def _kernel(walk: Walk, node: onnx.NodeProto) -> list[int] | None:
    """Return the sizes of the kernel."""
    given = attributes(node).get("kernel_shape")
    if given:
        return list(given)
    shape = walk.sizes.shape(node.input[1]) if node.op_type == "Conv" else None
    return None if shape is None else [size.base for size in shape[2:]]


def _pads(
    node: onnx.NodeProto,
    given: dict[str, Any],
    shape: tuple[Size, ...],
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
) -> list[int]:
    """Return the padding before all axes and behind all axes."""
    rank = len(kernel)
    auto = bytes(given.get("auto_pad", b"NOTSET")).decode()
    if auto == "VALID":
        return [0] * (2 * rank)
    if not auto.startswith("SAME"):
        return list(given.get("pads") or [0] * (2 * rank))
    before, after = [], []
    for i, size in enumerate(shape[2:]):
        extent = (kernel[i] - 1) * dilations[i] + 1
        if strides[i] == 1:
            total = extent - 1
        elif size.grows or size.batch:
            raise refusal(f"{described(node)} pads an axis of unknown size by itself")
        else:
            out = -(-size.base // strides[i])
            total = max(0, (out - 1) * strides[i] + extent - size.base)
        less, more = total // 2, total - total // 2
        before.append(less if auto == "SAME_UPPER" else more)
        after.append(more if auto == "SAME_UPPER" else less)
    return before + after


def _fill(node: onnx.NodeProto) -> float:
    """Return what an operator's own padding counts as."""
    return float(np.finfo(np.float32).min) if node.op_type == "MaxPool" else 0.0


def _require_whole_mean(
    node: onnx.NodeProto, given: dict[str, Any], before: int, after: int
) -> None:
    partial = node.op_type == "AveragePool" and not given.get("count_include_pad", 0)
    if partial and (before or after):
        raise refusal(
            f"{described(node)} takes the mean of fewer frames where a sequence begins",
            "pad with zeros before it, or give it count_include_pad=True",
        )


def _transposed(walk: Walk, node: onnx.NodeProto) -> None:
    """ConvTranspose: one frame for each, or a frame would get parts from later ones."""
    value = walk.timed(node.input[0])
    shape = walk.sizes.shape(node.input[1])
    if value is None or shape is None or value.axis < 2:
        other(walk, node)
        return
    given, place = attributes(node), value.axis - 2
    stride = list(given.get("strides") or [1] * len(shape))[place]
    if shape[value.axis].base != 1 or stride != 1:
        raise refusal(
            f"{described(node)} spreads each frame over several time steps",
            "use a kernel and a stride of 1 in time",
        )
    if any((list(given.get("pads") or [0] * 2 * len(shape)))[place :: len(shape) - 2]):
        raise refusal(f"{described(node)} cuts off the first or the last frames")
    framewise(walk, node, {node.output[0]: value.axis})


def _cumulative(walk: Walk, node: onnx.NodeProto) -> None:
    """CumSum over time: the sum so far is a state."""
    name, output = node.input[0], node.output[0]
    value, axes = walk.timed(name), walk.integers(node.input[1])
    if value is None or axes is None:
        other(walk, node)
        return
    if axes[0] % len(walk.shape(name)) != value.axis:
        framewise(walk, node, {output: value.axis})
        return
    given = attributes(node)
    if given.get("reverse", 0):
        raise refusal(f"{described(node)} sums from the end of the sequence")
    if value.late > 0:
        raise refusal(
            f"{described(node)} sums a sequence whose first {value.late} frames are cut off",
            "pad or shift it so that there is one frame for each input",
        )
    label, writer = name_of(node), walk.writer
    first = walk.empty_frames(name, value.axis, 1, 0)
    prefix = None
    if value.prefix is not None:
        first = first + value.prefix.sum(value.axis, keepdims=True, dtype=first.dtype)
        prefix = walk.evaluated(node, {name: value.prefix}, node)[output]
    dtype = walk.sizes.dtypes[name]
    sum_so_far = writer.state(f"{label}.cache", first, walk.shape(name), value.axis, dtype)
    exclusive = bool(given.get("exclusive", 0))
    here = writer.node("CumSum", [value.name, node.input[1]], f"{label}.call",
                       exclusive=int(exclusive))  # fmt: skip
    writer.nodes.append(onnx.helper.make_node("Add", [here, sum_so_far], [output], name=label))
    total = output
    if exclusive:
        total = writer.node("Add", [output, value.name], f"{label}.total")
    writer.next_state(sum_so_far, total, (-1, 2**63 - 1), value.axis)
    walk.define(output, replace(value, name=output, prefix=prefix))


RULES: dict[str, Rule] = {
    "Conv": _window,
    "AveragePool": _window,
    "MaxPool": _window,
    "LpPool": _window,
    "ConvTranspose": _transposed,
    "CumSum": _cumulative,
}
