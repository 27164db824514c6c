"""Find which input tells how long the rows of packed sequences are, and draw valid ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from edgernn.sessions import Array
from edgernn_exporters.pytorch.axes import BATCH, Dims
from edgernn_exporters.pytorch.interception import PackCall


@dataclass(frozen=True)
class LengthsInput:
    """Say how an input tells the lengths of the rows.

    Attributes:
        index: Of the input.
        kind: ``"lengths"`` for one integer for each row, ``"mask"`` for ones and then zeros along
            time, ``"padding"`` for values that end in ``pad``.
        time: Index of an input and its axis that is as long as the longest row may be.
        descending: True if the longest row must come first.
        pad: What stands beyond the end of a row.
    """

    index: int
    kind: Literal["lengths", "mask", "padding"]
    time: tuple[int, int]
    descending: bool
    pad: int = 0

    def among(self, places: Sequence[int]) -> LengthsInput:
        """Return the same for a choice of the inputs."""
        time = places.index(self.time[0]), self.time[1]
        return replace(self, index=places.index(self.index), time=time)

    def draw(self, rng: np.random.Generator, arrays: list[Array], dims: Dims) -> None:
        """Replace the input among drawn ones by one of valid lengths; the longest row is full.

        Args:
            rng: Source of the lengths.
            arrays: All inputs, drawn at some batch size and length.
            dims: What the axes of this input are.
        """
        old = arrays[self.index]
        rows = old.shape[dims.index(BATCH)]
        steps = arrays[self.time[0]].shape[self.time[1]]
        lengths = rng.integers(1, steps + 1, rows)
        lengths[rng.integers(rows)] = steps
        if self.descending:
            lengths = -np.sort(-lengths)
        if self.kind == "lengths":
            arrays[self.index] = lengths.astype(old.dtype)
            return
        valid = np.arange(steps) < lengths[:, None]
        if dims.index(BATCH) == 1:
            valid = valid.T
        if self.kind == "mask":
            arrays[self.index] = valid.astype(old.dtype)
            return
        others = old[old != self.pad]
        other = others[0] if others.size else int(self.pad == 0)
        filled = np.where(old == self.pad, other, old)
        arrays[self.index] = np.where(valid, filled, self.pad).astype(old.dtype)


def find_lengths(
    calls: Sequence[PackCall], tensors: Sequence[Tensor], dims: Sequence[Dims]
) -> tuple[LengthsInput, ...]:
    """Find the inputs that the lengths of packed sequences come from.

    Args:
        calls: Of one run.
        tensors: Its inputs.
        dims: What their axes are.

    Returns:
        One for each input that tells lengths; those that nothing tells are full in every row.
    """
    found: dict[int, LengthsInput] = {}
    for call in calls:
        time = _time_of(call, tensors, dims)
        if time is None:
            continue
        for index, read in _candidates(call, tensors, dims):
            if index not in found:
                kind, pad = read
                found[index] = LengthsInput(index, kind, time, call.descending, pad)
            elif call.descending:
                found[index] = LengthsInput(index, found[index].kind, time, True, found[index].pad)
            break
    return tuple(found.values())


def _time_of(
    call: PackCall, tensors: Sequence[Tensor], dims: Sequence[Dims]
) -> tuple[int, int] | None:
    """Return an input and its dynamic axis of as many steps as were packed."""
    for index, (tensor, place) in enumerate(zip(tensors, dims, strict=True)):
        for axis, (size, word) in enumerate(zip(tensor.shape, place, strict=True)):
            if word not in (None, BATCH) and size == call.steps:
                return index, axis
    return None


def _candidates(
    call: PackCall, tensors: Sequence[Tensor], dims: Sequence[Dims]
) -> list[tuple[int, tuple[Literal["lengths", "mask", "padding"], int]]]:
    """Return the inputs that could have given the lengths, the likelier first."""
    found: list[tuple[int, int, tuple[Literal["lengths", "mask", "padding"], int]]] = []
    for index, (tensor, place) in enumerate(zip(tensors, dims, strict=True)):
        if place == (BATCH,) and not tensor.is_floating_point() and tensor.dtype != torch.bool:
            if torch.equal(tensor.to(torch.int64), call.lengths):
                other = tensor.data_ptr() != call.lengths.data_ptr()  # as long by chance
                found.append((int(other), index, ("lengths", 0)))
        elif tensor.ndim == 2 and BATCH in place and None not in place:
            rows = tensor if place[0] == BATCH else tensor.T
            if bool(((rows == 0) | (rows == 1)).all()) and _tells(rows != 0, call):
                found.append((2, index, ("mask", 0)))
            elif not tensor.is_floating_point():
                pads = [v for v in set(map(int, rows[:, -1])) if _tells(rows != v, call)]
                found += [(3, index, ("padding", pad)) for pad in pads[:1]]
    return [(index, read) for _, index, read in sorted(found)]


def _tells(valid: Tensor, call: PackCall) -> bool:
    """Compare the number of valid steps of each row with the lengths of a call."""
    return torch.equal(valid.sum(1), call.lengths)
