"""Operators that make each frame from the same frame of their inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx

from edgernn_exporters.causal.values import Timed, described, refusal
from edgernn_exporters.causal.walk import Walk
from edgernn_exporters.causal.writer import reads, rename
from edgernn_exporters.onnx_nodes import attributes, name_of

Rule = Callable[[Walk, onnx.NodeProto], None]

_ELEMENTWISE = (
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "BatchNormalization",
    "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Cast", "CastLike",
    "Ceil", "Celu", "Clip", "Cos", "Cosh", "DequantizeLinear", "Div", "Dropout", "Elu", "Equal",
    "Erf", "Exp", "Floor", "Gelu", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish",
    "Identity", "IsInf", "IsNaN", "LRN", "LeakyRelu", "Less", "LessOrEqual", "Log", "Max",
    "Mean", "Min", "Mish", "Mod", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "QuantizeLinear",
    "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh",
    "Softplus", "Softsign", "Sqrt", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu",
    "Where", "Xor",
)  # fmt: skip
_ALONG = {"Softmax": -1, "LogSoftmax": -1, "Hardmax": -1, "LpNormalization": -1, "TopK": -1}
_OVER_SPACE = ("InstanceNormalization", "GroupNormalization", "GlobalAveragePool",
               "GlobalMaxPool", "GlobalLpPool")  # fmt: skip
_FROM_AXIS = ("LayerNormalization", "RMSNormalization")
REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax",
              "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare")  # fmt: skip
_ARGUMENTS = ("ArgMax", "ArgMin")


def other(walk: Walk, node: onnx.NodeProto) -> None:
    """Any operator without a rule: give it aligned frames and leave the proof to the gate."""
    names = sorted(reads(node))
    walk.require_usable(node, names)
    inputs = walk.aligned_inputs(node, names)
    rename(walk.keep(node, {}), inputs)
    walk.results(node)


def framewise(walk: Walk, node: onnx.NodeProto, axes: Mapping[str, int]) -> None:
    """Keep a node that makes frame i of its outputs from frame i of its inputs.

    Args:
        walk: The walk.
        node: The model's node.
        axes: Time axis of each output; where it is not known to be there, the node is treated like
            any other.
    """
    if not all(walk.runs_along(name, axis) for name, axis in axes.items()):
        other(walk, node)
        return
    operands = merged(walk, node, node.input)
    walk.keep(node, {name: value.name for name, value in operands.items()})
    lead = next(iter(operands.values()))
    found = {}
    if lead.late < 0:
        given = {n: v.prefix for n, v in operands.items() if v.prefix is not None}
        found = walk.evaluated(node, given, node)
    for name, axis in axes.items():
        walk.define(
            name,
            Timed(name, axis, lead.late, lead.extra, found.get(name), lead.cause, lead.label),
        )


def merged(walk: Walk, node: onnx.NodeProto, names: Sequence[str]) -> dict[str, Timed]:
    """Bring sequences in step with the latest of them.

    Returns:
        The sequences among ``names``, the latest first.
    """
    timed = {name: value for name in dict.fromkeys(names) if (value := walk.timed(name))}
    if len({value.extra for value in timed.values()}) > 1:
        raise refusal(
            f"{described(node)} combines sequences of different lengths",
            "cut them to one frame for each input first",
        )
    for name in names:
        shape = None if walk.value(name) or not name else walk.sizes.shape(name)
        if shape is not None and any(size.is_time and size.base for size in shape):
            raise refusal(
                f"{described(node)} uses {name!r}, whose length is not the number of inputs",
                "make it from a tensor of one frame for each input",
            )
    late = max(value.late for value in timed.values())
    ordered = sorted(timed.items(), key=lambda item: -item[1].late)
    return {
        name: walk.delayed(name, value, late - value.late, name_of(node)) for name, value in ordered
    }


def _elementwise(walk: Walk, node: onnx.NodeProto) -> None:
    places = set()
    for name in node.input:
        if (value := walk.timed(name)) is not None:
            places.add(len(walk.shape(name)) - value.axis)
    if len(places) > 1:
        raise refusal(f"{described(node)} combines every time step with every other")
    if not places:
        other(walk, node)
        return
    (place,) = places
    ranks = {name: len(walk.sizes.shape(name) or ()) for name in node.output if name}
    framewise(walk, node, {name: rank - place for name, rank in ranks.items()})


def require_not_over_time(walk: Walk, node: onnx.NodeProto, axes: Sequence[int]) -> None:
    """Refuse a node that computes one value over axes that grow with time."""
    shape = walk.sizes.shape(node.input[0])
    if shape is None:
        return
    if any(shape[axis % len(shape)].grows for axis in axes):
        raise refusal(
            f"{described(node)} needs all time steps at once: it works along time",
            "move it out of the module, or replace it by one that looks back only (a recurrent "
            "layer, a running sum, a window over the past)",
        )


def _keeping_axis(walk: Walk, node: onnx.NodeProto) -> None:
    """Keep a node whose outputs have the time axis where its first input has it."""
    value = walk.timed(node.input[0])
    if value is None:
        other(walk, node)
        return
    framewise(walk, node, {name: value.axis for name in node.output if name})


def _along(walk: Walk, node: onnx.NodeProto) -> None:
    axis = int(attributes(node).get("axis", _ALONG[node.op_type]))
    require_not_over_time(walk, node, [axis])
    _keeping_axis(walk, node)


def _over_space(walk: Walk, node: onnx.NodeProto) -> None:
    shape = walk.sizes.shape(node.input[0])
    require_not_over_time(walk, node, range(2, len(shape or ())))
    _keeping_axis(walk, node)


def _from_axis(walk: Walk, node: onnx.NodeProto) -> None:
    shape = walk.sizes.shape(node.input[0])
    if shape is not None:
        first = int(attributes(node).get("axis", -1)) % len(shape)
        require_not_over_time(walk, node, range(first, len(shape)))
    _keeping_axis(walk, node)


def _reduce(walk: Walk, node: onnx.NodeProto) -> None:
    shape = walk.sizes.shape(node.input[0])
    given = attributes(node)
    if shape is None:
        other(walk, node)
        return
    axes: list[int] | None
    if node.op_type in _ARGUMENTS:
        axes = [int(given.get("axis", 0))]
    elif len(node.input) > 1 and node.input[1]:
        axes = walk.integers(node.input[1])
    else:
        axes = [int(axis) for axis in given.get("axes", ())]
    if axes is None:
        other(walk, node)
        return
    if not axes and not given.get("noop_with_empty_axes", 0):
        axes = list(range(len(shape)))
    require_not_over_time(walk, node, axes)
    value = walk.timed(node.input[0])
    if value is None:
        other(walk, node)
        return
    gone = 0 if given.get("keepdims", 1) else sum(a % len(shape) < value.axis for a in axes)
    framewise(walk, node, {node.output[0]: value.axis - gone})


def _transpose(walk: Walk, node: onnx.NodeProto) -> None:
    value = walk.timed(node.input[0])
    if value is None:
        other(walk, node)
        return
    rank = len(walk.shape(node.input[0]))
    order = list(attributes(node).get("perm", range(rank - 1, -1, -1)))
    framewise(walk, node, {node.output[0]: order.index(value.axis)})


def _unsqueeze(walk: Walk, node: onnx.NodeProto) -> None:
    value, axes = walk.timed(node.input[0]), _axes(walk, node)
    if value is None or axes is None:
        other(walk, node)
        return
    rank = len(walk.shape(node.input[0])) + len(axes)
    new = {axis % rank for axis in axes}
    old = [axis for axis in range(rank) if axis not in new]
    framewise(walk, node, {node.output[0]: old[value.axis]})


def _squeeze(walk: Walk, node: onnx.NodeProto) -> None:
    value, axes = walk.timed(node.input[0]), _axes(walk, node)
    if value is None or axes is None:
        other(walk, node)
        return
    rank = len(walk.shape(node.input[0]))
    gone = sum(axis % rank < value.axis for axis in axes)
    framewise(walk, node, {node.output[0]: value.axis - gone})


def _axes(walk: Walk, node: onnx.NodeProto) -> list[int] | None:
    if len(node.input) > 1 and node.input[1]:
        return walk.integers(node.input[1])
    given = attributes(node).get("axes")
    return None if given is None else [int(axis) for axis in given]


def _reshape(walk: Walk, node: onnx.NodeProto) -> None:
    """Reshape and Expand, where the time axis stays one."""
    value, shape = walk.timed(node.input[0]), walk.sizes.shape(node.output[0])
    growing = [] if shape is None else [i for i, size in enumerate(shape) if size.grows]
    if value is None or shape is None or len(growing) != 1:
        other(walk, node)
        return
    axis = growing[0]
    if node.op_type == "Expand":
        stays = len(shape) - axis == len(walk.shape(node.input[0])) - value.axis
    else:
        before, now = slice(0, value.axis), slice(0, axis)
        stays = (
            walk.sizes.elements(node.input[0], before) == walk.sizes.elements(node.output[0], now)
        )  # fmt: skip
    size = shape[axis]
    if not (stays and size.is_time and size.base == value.extra):
        other(walk, node)  # it cuts frames in pieces, or mixes them with something else
        return
    if value.extra == 0:
        walk.keep(node, {node.input[0]: value.name})
    else:
        target = _target_shape(walk, node, value)
        if target is None:
            other(walk, node)
            return
        walk.keep(node, {node.input[0]: value.name, node.input[1]: target}, drop=["allowzero"])
    prefix = None
    if value.prefix is not None:
        sizes = [
            -value.late if place == axis else 1 if item.is_batch else item.base
            for place, item in enumerate(shape)
        ]
        reshaped = np.broadcast_to if node.op_type == "Expand" else np.reshape
        prefix = np.array(reshaped(value.prefix, sizes))
    walk.define(
        node.output[0],
        Timed(node.output[0], axis, value.late, value.extra, prefix, value.cause, value.label),
    )


def _target_shape(walk: Walk, node: onnx.NodeProto, value: Timed) -> str | None:
    """Return the output shape of a sequence that has as many frames as inputs, or None."""
    source, shape = walk.shape(node.input[0]), walk.shape(node.output[0])
    parts = []
    for size in shape:
        place: int | None = None
        if size.grows:
            place = value.axis
        elif size.is_batch:
            rows = [axis for axis, item in enumerate(source) if item.is_batch]
            if not rows:
                return None
            place = rows[0]
        elif size.batch:
            return None
        if place is None:
            parts.append(walk.writer.integers(size.base))
        else:
            name = f"{name_of(node)}.size"
            parts.append(walk.writer.node("Shape", [value.name], name, start=place, end=place + 1))
    return walk.writer.node("Concat", parts, f"{name_of(node)}.shape", axis=0)


def _split(walk: Walk, node: onnx.NodeProto) -> None:
    value = walk.timed(node.input[0])
    if value is not None:
        rank = len(walk.shape(node.input[0]))
        if int(attributes(node).get("axis", 0)) % rank == value.axis:
            raise refusal(f"{described(node)} cuts a sequence into pieces")
    _keeping_axis(walk, node)


def _shape(walk: Walk, node: onnx.NodeProto) -> None:
    """Shape: no data are read, so no frame has to be in place."""
    value = walk.timed(node.input[0])
    walk.keep(node, {} if value is None else {node.input[0]: value.name})


RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys(_ALONG, _along),
    **dict.fromkeys(_OVER_SPACE, _over_space),
    **dict.fromkeys(_FROM_AXIS, _from_axis),
    **dict.fromkeys((*REDUCTIONS, *_ARGUMENTS), _reduce),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Expand": _reshape,
    "Split": _split,
    "Shape": _shape,
}
