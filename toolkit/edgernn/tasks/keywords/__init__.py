"""Spoken digits: a small keyword spotter, its data, augmentation and recipe."""

from edgernn.tasks.keywords.task import TASK

__all__ = ["TASK"]
