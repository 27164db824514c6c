"""What is known of a value while the time axis is followed through a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgernn.errors import ModelError
from edgernn_exporters.onnx_nodes import name_of

Array = NDArray[Any]


@dataclass(frozen=True)
class Timed:
    """A sequence of frames, and the tensor that streams it.

    In the graph that streams, a call with t new frames of input computes t frames of every
    sequence: the newest that these allow. So padding and cropping change no data there, only the
    numbers below.

    Attributes:
        name: Tensor of the new graph.
        axis: Time axis.
        late: Frame j needs the inputs up to j + late. Above 0 it looks ahead, below 0 its first
            frames need no input at all.
        extra: Frames beyond the number of inputs.
        prefix: Those first frames that need no input, ``-late`` of them, with a batch of 1; None
            if ``late`` is not below 0.
        cause: The node that last moved the sequence in time, for messages.
        label: Name for a cache behind that node.
    """

    name: str
    axis: int
    late: int = 0
    extra: int = 0
    prefix: Array | None = None
    cause: str = ""
    label: str = ""


@dataclass(frozen=True)
class Mixed:
    """Depends on a sequence, but has no single time axis, as where batch and time are one."""


@dataclass(frozen=True)
class Unstreamable:
    """Depends on where a sequence begins or ends, so that only its shape may be used.

    Attributes:
        reason: What it is, as in "node 'a' (Slice) takes the first frame".
    """

    reason: str


Value = Timed | Mixed | Unstreamable


class StepFormError(ModelError):
    """A model has no step form.

    Attributes:
        reason: Names the node and says what it does.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def refusal(reason: str, advice: str = "") -> StepFormError:
    """Return the error for a model that has no step form.

    Args:
        reason: Names the node and says what it does.
        advice: What would help, beside exporting for whole sequences.
    """
    first = f"{advice}, or " if advice else ""
    return StepFormError(
        f"{reason}, so the model cannot run step by step; {first}export it for whole sequences "
        f"only with causal=False (--not-causal)",
        reason,
    )


def described(node: onnx.NodeProto) -> str:
    """Return how messages name a node, such as ``node 'front.conv' (Conv)``."""
    return f"node {name_of(node)!r} ({node.op_type})"


def frames(array: Array, axis: int, begin: int | None, end: int | None) -> Array:
    """Return some frames of an array."""
    index = [slice(None)] * array.ndim
    index[axis] = slice(begin, end)
    return array[tuple(index)]


def history(value: Timed, count: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return the ``count`` frames before the first call, zeros where nothing reads them.

    Args:
        value: A sequence.
        count: Frames, 1 or more.
        shape: Of these frames, with a batch of 1.
        dtype: Element type.
    """
    first = np.zeros(shape, dtype)
    if value.prefix is not None:
        known = min(count, -value.late)
        tail = frames(value.prefix, value.axis, -known, None)
        frames(first, value.axis, count - known, None)[...] = tail
    return first
