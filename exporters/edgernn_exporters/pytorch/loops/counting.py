"""Tell whether forward has a Python loop over time, without tracing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _Counting(TorchFunctionMode):
    """Count calls of PyTorch's functions from Python."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


def loops_over_time(run: Callable[[int], Any], length: int) -> bool:
    """Say whether a longer sequence makes a module call more functions.

    Args:
        run: Runs the module on a sequence of some length.
        length: One that it takes.
    """
    counts: list[int] = []
    for steps in (length, length + 3):
        with torch.no_grad(), _Counting() as counting:
            try:
                run(steps)
            except Exception:  # whatever the user's own forward raises at a length
                return False
        counts.append(counting.calls)
    return counts[0] != counts[1]
