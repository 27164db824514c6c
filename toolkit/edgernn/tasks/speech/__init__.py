"""Strings of spoken digits: an acoustic model that writes them down as it hears them."""

from edgernn.tasks.speech.task import TASK

__all__ = ["TASK"]
