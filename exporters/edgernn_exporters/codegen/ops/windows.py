"""Windows that slide over data: the geometry of convolutions and pooling.

Data lie channels last, ``[N, H, W, C]``, where ``H`` is 1 in one dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import onnx

from edgernn_exporters.codegen.dims import Dim, Shape, add, at_least, divide, multiply
from edgernn_exporters.codegen.expressions import define_view, full_view, label, readable
from edgernn_exporters.codegen.loops import literal, materialize
from edgernn_exporters.codegen.lowering import Lowering, attributes_of
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.strided import as_tensor, permuted, sliced, view_of
from edgernn_exporters.codegen.values import Lazy, Tensor


@dataclass(frozen=True)
class Axis:
    """A convolution along one axis.

    Attributes:
        size: Input elements.
        kernel: Kernel elements.
        stride: Elements between two windows (of the output, in a transposed convolution).
        dilation: Elements between two kernel elements.
        before: Padding.
        after: Padding.
        out: Output elements.
    """

    size: Dim
    kernel: int
    stride: int = 1
    dilation: int = 1
    before: int = 0
    after: int = 0
    out: Dim = 1

    @property
    def extent(self) -> int:
        """Elements that a window spans."""
        return (self.kernel - 1) * self.dilation + 1


def open_axes(lowering: Lowering, node: onnx.NodeProto, kernel: Sequence[int]) -> list[Axis]:
    """Read the attributes of a convolution or a pooling, one `Axis` for each direction."""
    axes = read_axes(lowering, node, kernel)
    ceil = bool(attributes_of(node).get("ceil_mode", 0))
    auto = attributes_of(node).get("auto_pad", "NOTSET")
    return [_sized(axis, auto, ceil=ceil) for axis in axes]


def read_axes(lowering: Lowering, node: onnx.NodeProto, kernel: Sequence[int]) -> list[Axis]:
    """Read the attributes as they stand, without working out what ``auto_pad`` means."""
    name = node.input[0]
    if lowering.value(name).dtype != "float32":
        raise NotLoweredError(f"it takes {lowering.value(name).dtype} values")
    sizes = lowering.shape(name)[2:]
    attributes = attributes_of(node)
    rank = len(sizes)
    if rank not in (1, 2) or len(kernel) != rank:
        raise NotLoweredError(f"it has {rank} dimensions; 1 and 2 are known")
    ones, pads = [1] * rank, attributes.get("pads") or [0] * 2 * rank
    strides, dilations = attributes.get("strides") or ones, attributes.get("dilations") or ones
    return [
        Axis(size, int(kernel[i]), strides[i], dilations[i], pads[i], pads[i + rank])
        for i, size in enumerate(sizes)
    ]


def _sized(axis: Axis, auto: str, *, ceil: bool) -> Axis:
    """Work out the padding that ``auto_pad`` means, and the output size."""
    if auto.startswith("SAME"):
        out = divide_up(axis.size, axis.stride)
        reach = add(multiply(add(out, -1), axis.stride), axis.extent)
        total = add(reach, multiply(-1, axis.size))
        if not isinstance(total, int):
            raise NotLoweredError("its padding depends on the time steps", timed=True)
        total = max(0, total)
        less, more = total // 2, total - total // 2
        before, after = (less, more) if auto == "SAME_UPPER" else (more, less)
        return replace(axis, before=before, after=after, out=out)
    if auto == "VALID":
        axis = replace(axis, before=0, after=0)
    room = add(axis.size, axis.before + axis.after - axis.extent)
    if at_least(room, 0) is not True:
        raise NotLoweredError(f"its kernel is longer than its input of {axis.size}", timed=True)
    if not ceil:
        return replace(axis, out=add(divide_down(room, axis.stride), 1))
    out = add(divide_up(room, axis.stride), 1)
    begins = multiply(add(out, -1), axis.stride)
    if at_least(begins, add(axis.size, axis.before)) is True:
        out = add(out, -1)  # the last window would begin in the padding behind
    return replace(axis, out=out)


def divide_down(a: Dim, b: int) -> Dim:
    """Return ``a / b`` rounded down."""
    return a // b if isinstance(a, int) else divide(a, b)


def divide_up(a: Dim, b: int) -> Dim:
    """Return ``a / b`` rounded up."""
    return -(-a // b) if isinstance(a, int) else divide(a, b)


def channels_last(
    lowering: Lowering, node: onnx.NodeProto, axes: Sequence[Axis], fill: float = 0.0
) -> Tensor:
    """Return the node's input as ``[N, H, W, C]``, with the padding of ``axes`` around it."""
    name = node.input[0]
    rank = len(axes) + 2
    order = [0, *range(2, rank), 1]
    value = readable(lowering, name, node)
    if not isinstance(value, Lazy):
        value = Lazy("{0}", (value,), value.shape, value.dtype)
    value = replace(value, labels=(*value.labels, f"input of {label(node)}"))
    padded = any(axis.before or axis.after for axis in axes)
    if value.code == "{0}" and not padded:
        there = as_tensor(permuted(full_view(lowering, value.operands[0], value.shape), order))
        if there is not None:
            return _four(there)
    sizes = [add(axis.size, axis.before + axis.after) for axis in axes]
    memory = lowering.scratch(f"{name}_padded" if padded else name,
                              (value.shape[0], *sizes, value.shape[1]))  # fmt: skip
    if padded:
        code, title = literal(fill, "float32"), (f"padding of {label(node)}",)
        materialize(lowering, Lazy(code, (), memory.shape, "float32", title), memory)
    inside = view_of(memory)
    for place, axis in enumerate(axes, start=1):
        inside = sliced(inside, place, axis.before, axis.size)
    back = [order.index(place) for place in range(rank)]
    materialize(lowering, value, permuted(inside, back))
    return _four(memory)


def channels_first(lowering: Lowering, name: str, y: Tensor, spatial: int) -> None:
    """Define a result ``[N, H, W, C]`` in the graph's order, as a view."""
    shape: Shape = y.shape if spatial == 2 else (y.shape[0], *y.shape[2:])
    view = view_of(replace(y, shape=shape))
    define_view(lowering, name, permuted(view, [0, spatial + 1, *range(1, spatial + 1)]))


def _four(tensor: Tensor) -> Tensor:
    if len(tensor.shape) == 4:
        return tensor
    return replace(tensor, shape=(tensor.shape[0], 1, *tensor.shape[1:]))


def variables(sizes: Sequence[Dim]) -> tuple[list[str], list[Dim]]:
    """Name a loop variable for each size, ``0`` where there is nothing to loop over."""
    names: list[str] = []
    kept: list[Dim] = []
    for size in sizes:
        names.append("0" if size == 1 else f"i{len(kept)}")
        if size != 1:
            kept.append(size)
    return names, kept


def sum_of(
    names: Sequence[str], strides: Sequence[Dim], unit: int = 1, last: str = "0", step: int = 0
) -> str:
    """Render the C sum of ``names * strides * unit + last * step``."""
    pairs = [(name, multiply(stride, unit)) for name, stride in zip(names, strides, strict=True)]
    terms = [
        name if stride == 1 else f"{name} * ({stride})" if not isinstance(stride, int)
        else f"{name} * {stride}"
        for name, stride in [*pairs, (last, step)] if name != "0"
    ]  # fmt: skip
    return " + ".join(terms) or "0"
