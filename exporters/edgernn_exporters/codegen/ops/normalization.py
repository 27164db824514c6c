"""Normalizations and Softmax: batch normalization becomes a scale and a shift at compile time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray

from edgernn_exporters.codegen.dims import Dim, at_least, count
from edgernn_exporters.codegen.expressions import expression
from edgernn_exporters.codegen.loops import literal, loop_nest, row_major
from edgernn_exporters.codegen.lowering import Lowering, attributes_of, float_constant
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.values import Constant, Tensor

Floats = NDArray[np.float32]


def batch_normalization(lowering: Lowering, node: onnx.NodeProto) -> None:
    """BatchNormalization with constant statistics."""
    scale, shift = _scale_and_shift(lowering, node)
    name = node.input[0]
    rank = len(lowering.shape(name))
    shape = (-1,) + (1,) * (rank - 2) if rank > 1 else (-1,)
    names = []
    for label, array in (("scale", scale), ("shift", shift)):
        key = f"{node.output[0]} {label}"
        lowering.define(key, Constant(array.reshape(shape)))
        names.append(key)
    if lowering.value(name).dtype != "float32":
        raise NotLoweredError(f"it takes {lowering.value(name).dtype} values")
    expression(lowering, node, "{0} * {1} + {2}", [name, *names])


def following_scale(lowering: Lowering, output: str, channels: int) -> tuple[str, Floats, Floats]:
    """Take in a batch normalization that alone reads ``output``.

    Returns:
        The name that is computed then, and scale and shift of each channel.
    """
    plain = output, np.ones(channels, np.float32), np.zeros(channels, np.float32)
    node = lowering.sole_consumer(output, "BatchNormalization")
    if node is None or not all(lowering.known(name) for name in node.input[1:]):
        return plain
    try:
        scale, shift = _scale_and_shift(lowering, node)
    except NotLoweredError:  # the node is refused when its turn comes
        return plain
    if scale.shape != (channels,):
        return plain
    lowering.skip(node)
    return node.output[0], scale, shift


def _scale_and_shift(lowering: Lowering, node: onnx.NodeProto) -> tuple[Floats, Floats]:
    attributes = attributes_of(node)
    if attributes.get("training_mode", 0) or any(node.output[1:]):
        raise NotLoweredError("it normalizes as in training")
    if not attributes.get("spatial", 1):
        raise NotLoweredError("it normalizes each place on its own")
    arrays = [
        float_constant(lowering.require_constant(name, what)).astype(np.float64)
        for name, what in zip(node.input[1:], ("scale", "bias", "mean", "variance"), strict=True)
    ]
    gamma, beta, mean, variance = arrays
    scale = gamma / np.sqrt(variance + np.float64(attributes.get("epsilon", 1e-5)))
    return scale.astype(np.float32), (beta - mean * scale).astype(np.float32)


def layer_normalization(lowering: Lowering, node: onnx.NodeProto) -> None:
    """LayerNormalization over the last axes."""
    attributes = attributes_of(node)
    if any(node.output[1:]):
        raise NotLoweredError("its mean or deviation is used")
    x = _floats(lowering, node.input[0])
    axis = int(attributes.get("axis", -1)) % len(x.shape)
    size = count(x.shape[axis:])
    names = [name for name in node.input[1:3] if name]
    whole = [_spread(lowering, name, x, axis) for name in names]
    addresses = [operand.c for operand in whole] + ["NULL"] * (2 - len(whole))
    target = lowering.destination(node.output[0], x.shape)
    call = (
        f"edgernn_layer_norm_f32({target.c} + {{0}}, {x.c} + {{0}}, {', '.join(addresses)}, "
        f"{size}, {literal(attributes.get('epsilon', 1e-5), 'float32')});"
    )
    code = loop_nest(x.shape[:axis], [row_major(x.shape)[:axis]], call)
    _emit(lowering, node, code, [x, *whole], target)


def _spread(lowering: Lowering, name: str, x: Tensor, axis: int) -> Tensor:
    """Return scale or bias with one element for each normalized one."""
    sizes = [size for size in x.shape[axis:] if isinstance(size, int)]
    if len(sizes) < len(x.shape) - axis:
        raise NotLoweredError("it normalizes over time", timed=True)
    array = lowering.constant(name)
    if array is not None:
        return lowering.stored(name, np.ascontiguousarray(np.broadcast_to(array, sizes)))
    value = lowering.tensor(name)
    if value.size != count(sizes) or value.dtype != "float32":
        raise NotLoweredError("its scale has another shape than what it normalizes")
    return value


def instance_normalization(lowering: Lowering, node: onnx.NodeProto) -> None:
    """InstanceNormalization: every channel on its own."""
    x = _floats(lowering, node.input[0])
    channels = x.shape[1]
    if not isinstance(channels, int):
        raise NotLoweredError("its channels grow with the time steps", timed=True)
    _groups(lowering, node, x, channels, 1e-5)


def group_normalization(lowering: Lowering, node: onnx.NodeProto) -> None:
    """GroupNormalization with a scale for each channel."""
    _groups(lowering, node, _floats(lowering, node.input[0]),
            int(attributes_of(node)["num_groups"]), 1e-5)  # fmt: skip


def _groups(
    lowering: Lowering, node: onnx.NodeProto, x: Tensor, groups: int, epsilon: float
) -> None:
    channels = x.shape[1]
    if not isinstance(channels, int) or channels % groups:
        raise NotLoweredError(f"it makes {groups} groups of {channels} channels")
    each, size = channels // groups, count(x.shape[2:])
    parts = []
    for name, what in zip(node.input[1:3], ("scale", "bias"), strict=True):
        array = float_constant(lowering.require_constant(name, what))
        if array.size != channels:
            raise NotLoweredError(f"its {what} has {array.size} elements, not {channels}")
        parts.append(lowering.stored(name, array))
    target = lowering.destination(node.output[0], x.shape)
    shape: tuple[Dim, ...] = (x.shape[0], groups)
    strides = row_major((*shape, each, size))[:2]
    number = literal(attributes_of(node).get("epsilon", epsilon), "float32")
    scale, bias = (part.c for part in parts)
    call = (
        f"edgernn_group_norm_f32({target.c} + {{0}}, {x.c} + {{0}}, {scale} + {{1}}, "
        f"{bias} + {{1}}, {each}, {size}, {number});"
    )
    code = loop_nest(shape, [strides, (0, each)], call)
    _emit(lowering, node, code, [x, *parts], target)


def softmax(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Softmax, LogSoftmax and Hardmax; up to opset 12 over all axes from ``axis`` on."""
    functions = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Hardmax": "hardmax"}
    x = _floats(lowering, node.input[0])
    rank, old = len(x.shape), lowering.opset < 13
    axis = int(attributes_of(node).get("axis", 1 if old else -1))
    axis = axis + rank if axis < 0 else axis
    shape, strides = x.shape, row_major(x.shape)
    if old:
        shape = (count(x.shape[:axis]), count(x.shape[axis:]))
        strides, axis = (shape[1], 1), 1
    size, stride = shape[axis], strides[axis]
    if at_least(size, 1) is not True:
        raise NotLoweredError("it may have no elements", timed=True)
    target = lowering.destination(node.output[0], x.shape)
    rest = shape[:axis] + shape[axis + 1 :]
    code = loop_nest(
        rest,
        [strides[:axis] + strides[axis + 1 :]],
        f"edgernn_{functions[node.op_type]}_f32({target.c} + {{0}}, {x.c} + {{0}}, "
        f"{stride}, {size});",
    )
    _emit(lowering, node, code, [x], target)


def _floats(lowering: Lowering, name: str) -> Tensor:
    if lowering.value(name).dtype != "float32":
        raise NotLoweredError(f"it takes {lowering.value(name).dtype} values")
    return lowering.tensor(name)


def _emit(
    lowering: Lowering, node: onnx.NodeProto, code: str, reads: list[Tensor], target: Tensor
) -> None:
    lowering.headers.add("edgernn_normalize.h")
    lowering.emit(f"{lowering.comment(node)}\n{code}", reads=reads, writes=[target])
    lowering.define(node.output[0], target)


LOWERINGS: dict[str, Callable[[Lowering, onnx.NodeProto], None]] = {
    "BatchNormalization": batch_normalization,
    "LayerNormalization": layer_normalization,
    "InstanceNormalization": instance_normalization,
    "GroupNormalization": group_normalization,
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "Hardmax": softmax,
}
