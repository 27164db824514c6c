"""Plan scratch memory by lifetime: buffers that are not in use together share a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgernn_exporters.codegen.dims import at
from edgernn_exporters.codegen.values import Buffer, Statement

_ALIGNMENT = 16
"""Elements; 64 bytes for floats, so that vector loads do not cross a cache line."""


@dataclass(frozen=True)
class MemoryPlan:
    """Say where each scratch buffer lies.

    Attributes:
        offsets: Buffer to element offset in the arena of its C type.
        arenas: C type to elements of its arena.
    """

    offsets: dict[Buffer, int]
    arenas: dict[str, int]


@dataclass
class _Life:
    buffer: Buffer
    first: int
    last: int
    size: int


def plan_memory(statements: Sequence[Statement], steps: int) -> MemoryPlan:
    """Place scratch buffers, largest first, each at the lowest free offset.

    Args:
        statements: In order.
        steps: Most time steps of a call.
    """
    lives: dict[Buffer, _Life] = {}
    for index, statement in enumerate(statements):
        for buffer in (*statement.writes, *statement.reads):
            if buffer.storage != "scratch":
                continue
            life = lives.setdefault(buffer, _Life(buffer, index, index, at(buffer.size, steps)))
            life.last = index
    offsets: dict[Buffer, int] = {}
    arenas: dict[str, int] = {}
    placed: list[tuple[_Life, int]] = []
    for life in sorted(lives.values(), key=lambda item: (-item.size, item.first)):
        kind = life.buffer.c_type
        busy = sorted(
            (offset, offset + other.size)
            for other, offset in placed
            if other.buffer.c_type == kind
            and not (other.last < life.first or life.last < other.first)
        )
        place = 0
        for start, end in busy:
            if place + life.size <= start:
                break
            place = max(place, _aligned(end))
        offsets[life.buffer] = place
        placed.append((life, place))
        arenas[kind] = max(arenas.get(kind, 0), place + life.size)
    return MemoryPlan(offsets, arenas)


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
