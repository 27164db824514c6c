"""Check that what a model returned is what its task understands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from edgernn.errors import InputError


def output_of(
    outputs: Mapping[str, NDArray[Any]],
    task: str,
    shape: Sequence[int | str],
    what: str,
    *,
    integers: bool = False,
) -> NDArray[Any]:
    """Return the output ``y`` of a model.

    Args:
        outputs: What the model returned.
        task: Its task, for messages.
        shape: Sizes that it must have; a word is an axis of any size but 0.
        what: What it holds, for messages.
        integers: Whether it holds integers.

    Raises:
        InputError: There is no such output.
    """
    y = outputs.get("y")
    if (
        y is not None
        and y.ndim == len(shape)
        and all(
            have == want or (isinstance(want, str) and have > 0)
            for have, want in zip(y.shape, shape, strict=True)
        )
        and (y.dtype.kind == "i" or not integers)
    ):
        return y
    given = "no y" if y is None else f"{y.dtype} {list(y.shape)}"
    raise InputError(
        f"{task} needs the output y [{', '.join(map(str, shape))}], {what}; got {given}; use a "
        f"model that was trained for {task}"
    )


def require_examples(count: int) -> None:
    """Refuse to measure on nothing.

    Raises:
        InputError: ``count`` is 0.
    """
    if count == 0:
        raise InputError("there is nothing to measure on: the split is empty")
