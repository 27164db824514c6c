"""Why a node cannot be turned into C; collected, so that one message names them all."""

from __future__ import annotations


class NotLoweredError(Exception):
    """Say why a node has no C form.

    Attributes:
        timed: True if a fixed number of time steps would help.
    """

    def __init__(self, reason: str, *, timed: bool = False) -> None:
        super().__init__(reason)
        self.timed = timed
