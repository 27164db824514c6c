"""Views of memory at any strides: slices, transposes and repeats that copy nothing.

Every function takes a view and returns another one of the same buffer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgernn_exporters.codegen.dims import Dim, Shape, add, at, count, multiply
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.values import Tensor, View

_MANY = 997
"""Time steps at which sizes are compared where any large number will do."""


def row_major(shape: Shape) -> tuple[Dim, ...]:
    """Return the strides of contiguous memory."""
    return tuple(count(shape[axis + 1 :]) for axis in range(len(shape)))


def view_of(tensor: Tensor) -> View:
    """Return all of a tensor."""
    strides = row_major(tensor.shape)
    return View(tensor.buffer, tensor.shape, strides, tensor.dtype, tensor.offset)


def repeated(view: View, shape: Shape) -> View:
    """Broadcast to ``shape``."""
    missing = len(shape) - len(view.shape)
    sizes = (1,) * missing + view.shape
    strides = (0,) * missing + view.strides
    return replace(
        view,
        shape=shape,
        strides=tuple(
            0 if size == 1 else stride for size, stride in zip(sizes, strides, strict=True)
        ),
    )


def permuted(view: View, permutation: Sequence[int]) -> View:
    """Transpose: axis ``i`` of the result is axis ``permutation[i]``."""
    return replace(
        view,
        shape=tuple(view.shape[axis] for axis in permutation),
        strides=tuple(view.strides[axis] for axis in permutation),
    )


def sliced(view: View, axis: int, start: Dim, size: Dim, step: int = 1) -> View:
    """Take ``size`` indices of an axis, from ``start`` on, ``step`` apart."""
    shape, strides = list(view.shape), list(view.strides)
    offset = add(view.offset, _times(start, strides[axis]))
    shape[axis] = size
    strides[axis] = _times(step, strides[axis])
    return replace(view, shape=tuple(shape), strides=tuple(strides), offset=offset)


def picked(view: View, axis: int, index: Dim) -> View:
    """Take one index of an axis, which goes away."""
    return removed(sliced(view, axis, index, 1), axis)


def inserted(view: View, axis: int) -> View:
    """Insert an axis of size 1."""
    shape, strides = list(view.shape), list(view.strides)
    shape.insert(axis, 1)
    strides.insert(axis, 0)
    return replace(view, shape=tuple(shape), strides=tuple(strides))


def removed(view: View, axis: int) -> View:
    """Remove an axis of size 1."""
    shape, strides = list(view.shape), list(view.strides)
    del shape[axis], strides[axis]
    return replace(view, shape=tuple(shape), strides=tuple(strides))


def reshaped(view: View, shape: Shape) -> View | None:
    """Return the view with another shape, or None if its elements would have to be moved."""
    old = [
        (size, stride) for size, stride in zip(view.shape, view.strides, strict=True) if size != 1
    ]
    strides: list[Dim] = []
    place = 0
    axis = 0
    while axis < len(shape):
        if shape[axis] == 1:
            strides.append(0)
            axis += 1
            continue
        if place == len(old):
            return None
        have, want = old[place][0], shape[axis]
        group = [want]
        while have != want:
            if at(have, _MANY) < at(want, _MANY):
                place += 1
                if place == len(old) or not _adjoining(old[place - 1][1], *old[place]):
                    return None
                have = multiply(have, old[place][0])
            else:
                axis += 1
                if axis == len(shape):
                    return None
                group.append(shape[axis])
                want = multiply(want, shape[axis])
        inner = old[place][1]
        strides.extend(_times(stride, inner) for stride in row_major(tuple(group)))
        place += 1
        axis += 1
    return replace(view, shape=shape, strides=tuple(strides)) if place == len(old) else None


def as_tensor(view: View) -> Tensor | None:
    """Return the same elements as a contiguous tensor, or None if they do not lie so."""
    wanted = row_major(view.shape)
    for size, stride, expected in zip(view.shape, view.strides, wanted, strict=True):
        if size != 1 and stride != expected:
            return None
    return Tensor(view.buffer, view.shape, view.dtype, view.offset)


def memory_order(view: View) -> list[int]:
    """Return the axes from the largest stride to the smallest; repeated ones stay in place."""
    sizes = [abs(at(stride, _MANY)) for stride in view.strides]
    if any(stride == 0 and size != 1 for size, stride in zip(view.shape, sizes, strict=True)):
        return list(range(len(view.shape)))
    moving = [axis for axis, size in enumerate(view.shape) if size != 1]
    ordered = iter(sorted(moving, key=lambda axis: -sizes[axis]))
    return [axis if size == 1 else next(ordered) for axis, size in enumerate(view.shape)]


def _adjoining(outer: Dim, size: Dim, inner: Dim) -> bool:
    try:
        return outer == multiply(size, inner)
    except NotLoweredError:
        return False


def _times(a: Dim, b: Dim) -> Dim:
    return 0 if a == 0 or b == 0 else multiply(a, b)
