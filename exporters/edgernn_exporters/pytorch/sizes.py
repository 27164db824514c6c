"""Keep ``len(x)`` of a traced tensor open, as ``x.shape[0]`` is."""

from __future__ import annotations

import builtins
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor


@contextmanager
def open_len() -> Iterator[None]:
    """Let ``len`` of a tensor return its first size as the tracer knows it.

    Python makes a plain integer of what ``Tensor.__len__`` returns, which fixes the size of the
    example in the graph. Here the function itself is replaced: for a tensor outside of a trace it
    returns the same integer as before, so other threads notice nothing.
    """
    original = builtins.len

    def length(value: Any, /) -> Any:
        if isinstance(value, Tensor) and value.ndim:
            return value.shape[0]
        return original(value)

    builtins.len = length
    try:
        yield
    finally:
        builtins.len = original
