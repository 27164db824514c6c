"""Sizes that may depend on the number of time steps: ``factor * t + offset``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgernn_exporters.codegen.refusal import NotLoweredError


@dataclass(frozen=True)
class Steps:
    """A size that grows with the time steps of a call, ``factor * t + offset``; factor above 0."""

    factor: int = 1
    offset: int = 0

    def __str__(self) -> str:
        """Render as a C expression over ``t``."""
        scaled = "t" if self.factor == 1 else f"{self.factor} * t"
        if self.offset == 0:
            return scaled
        sign = "+" if self.offset > 0 else "-"
        return f"({scaled} {sign} {abs(self.offset)})"


Dim = int | Steps

_ENDLESS = 2**31 - 1
"""Numbers from here on mean "to the end" in slices."""

Shape = tuple[Dim, ...]


def at(dim: Dim, steps: int) -> int:
    """Return the size for a number of time steps."""
    return dim if isinstance(dim, int) else dim.factor * steps + dim.offset


def sizes_at(shape: Iterable[Dim], steps: int) -> tuple[int, ...]:
    """Return a shape for a number of time steps."""
    return tuple(at(dim, steps) for dim in shape)


def add(a: Dim, b: Dim) -> Dim:
    """Return ``a + b``."""
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return _made(_factor(a) + _factor(b), _offset(a) + _offset(b))


def multiply(a: Dim, b: Dim) -> Dim:
    """Return ``a * b``.

    Raises:
        NotLoweredError: Both depend on the time steps.
    """
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    if not isinstance(a, int) and not isinstance(b, int):
        raise NotLoweredError("a size grows with the square of the time steps", timed=True)
    whole, dim = (a, b) if isinstance(a, int) else (b, a)
    assert isinstance(whole, int)
    return _made(_factor(dim) * whole, _offset(dim) * whole)


def subtract(a: Dim, b: Dim) -> Dim:
    """Return ``a - b``."""
    return add(a, multiply(-1, b))


def at_least(a: Dim, b: Dim) -> bool | None:
    """Tell whether ``a >= b`` for every number of time steps from 1 on; None if that varies."""
    for bound, answer in ((b, False), (a, True)):
        if isinstance(bound, int) and abs(bound) >= _ENDLESS:
            return answer if bound > 0 else not answer
    gap = subtract(a, b)
    least = at(gap, 1)
    if isinstance(gap, int):
        return gap >= 0
    if gap.factor > 0:
        return True if least >= 0 else None
    return False if least < 0 else None


def minimum(a: Dim, b: Dim) -> Dim:
    """Return the smaller of two sizes.

    Raises:
        NotLoweredError: Which one it is depends on the time steps.
    """
    if at_least(a, b):
        return b
    if at_least(b, a):
        return a
    raise NotLoweredError(f"the smaller of {a} and {b} depends on the time steps", timed=True)


def maximum(a: Dim, b: Dim) -> Dim:
    """Return the larger of two sizes; raises as `minimum` does."""
    return a if minimum(a, b) == b else b


def divide(a: Dim, b: Dim) -> Dim:
    """Return ``a / b`` where it comes out even.

    Raises:
        NotLoweredError: It does not for every number of time steps.
    """
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if a == b:
        return 1
    if isinstance(b, Steps) and isinstance(a, Steps) and b.offset == 0 == a.offset:
        if a.factor % b.factor == 0:
            return a.factor // b.factor
    elif isinstance(b, int) and b and _factor(a) % b == 0 and _offset(a) % b == 0:
        return _made(_factor(a) // b, _offset(a) // b)
    raise NotLoweredError(f"the size {a} / {b} is not a multiple of the time steps", timed=True)


def count(shape: Sequence[Dim]) -> Dim:
    """Return the number of elements of a shape."""
    product: Dim = 1
    for dim in shape:
        product = multiply(product, dim)
    return product


def broadcast(*shapes: Shape) -> Shape:
    """Return the shape that numpy's broadcasting gives.

    Raises:
        NotLoweredError: The shapes do not fit for every number of time steps.
    """
    rank = max(len(shape) for shape in shapes)
    result: list[Dim] = []
    for axis in range(rank):
        sizes = {shape[axis - rank] for shape in shapes if axis >= rank - len(shape)} - {1}
        if len(sizes) > 1:
            texts = " and ".join(render(shape) for shape in shapes)
            timed = any(isinstance(size, Steps) for size in sizes)
            raise NotLoweredError(f"the shapes {texts} do not fit each other", timed=timed)
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def signed(dim: Dim) -> str:
    """Render a number that may be negative as a C expression of type int64_t."""
    if isinstance(dim, int):
        return f"INT64_C({dim})"
    return (
        f"{dim.factor} * (int64_t)t + {dim.offset}" if dim.offset else f"{dim.factor} * (int64_t)t"
    )


def render(shape: Iterable[Dim]) -> str:
    """Render a shape for messages and comments, such as ``[t, 1, 40]``."""
    return f"[{', '.join(str(dim) for dim in shape)}]"


def _made(factor: int, offset: int) -> Dim:
    return offset if factor == 0 else Steps(factor, offset)


def _factor(dim: Dim) -> int:
    return 0 if isinstance(dim, int) else dim.factor


def _offset(dim: Dim) -> int:
    return dim if isinstance(dim, int) else dim.offset
