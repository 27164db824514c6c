"""Bound the memory of this process while it works for a foreign file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def bounded(more: int) -> Iterator[None]:
    """Allow this process so many bytes of memory beyond what it has, where the system can.

    What asks for more fails with `MemoryError`, or as the library that asks for it says.
    """
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text().split()[0])
        before = resource.getrlimit(resource.RLIMIT_AS)
        size = pages * os.sysconf("SC_PAGE_SIZE") + more
        if before[0] != resource.RLIM_INFINITY:
            size = min(size, before[0])
        resource.setrlimit(resource.RLIMIT_AS, (size, before[1]))
    except (ImportError, OSError, ValueError):  # not on this system
        yield
        return
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
