"""The training tasks, by name; a task is imported only when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from edgernn.errors import ModelError, UsageError
from edgernn.metadata import Metadata
from edgernn.tasks.base import DataSource, Split, Task

# Name -> "module:attribute". To add a task: write the module, add a line.
TASKS = {
    "keywords": "edgernn.tasks.keywords:TASK",
    "speech": "edgernn.tasks.speech:TASK",
    "forecast": "edgernn.tasks.forecast:TASK",
    "forecast-calendar": "edgernn.tasks.forecast:CALENDAR",
    "sentiment": "edgernn.tasks.sentiment:TASK",
    "language": "edgernn.tasks.language:TASK",
    "translate": "edgernn.tasks.translate:TASK",
    "health": "edgernn.tasks.health:TASK",
    "motion": "edgernn.tasks.motion:MOTION",
    "vowels": "edgernn.tasks.motion:VOWELS",
    "adding": "edgernn.tasks.memory:ADDING",
    "copying": "edgernn.tasks.memory:COPYING",
}


def get_task(name: str) -> Task:
    """Import a task.

    Example:
        >>> get_task("keywords").output_size
        10

    Raises:
        UsageError: There is no such task.
    """
    if name not in TASKS:
        known = ", ".join(sorted(TASKS))
        raise UsageError(f'there is no task "{name}"; the known tasks are: {known}')
    module, attribute = TASKS[name].split(":")
    task: Task = getattr(importlib.import_module(module), attribute)
    return task


def task_data(
    metadata: Metadata, where: str, task: str | None, source: DataSource | None
) -> tuple[Task, Mapping[str, Split]]:
    """Return the task that is asked for or that a model names, and its data.

    Args:
        metadata: Of the model.
        where: Its file name for messages.
        task: Name of the task; None for the one that the model names.
        source: Where the data comes from; None for what the task ships.

    Raises:
        UsageError: The task is unknown, or the model names none.
        ModelError: The model was made with other preprocessing than the task has now.
    """
    name = task or metadata.task
    if name is None:
        raise UsageError(f"{where} names no task; say which one with --task")
    found, made = get_task(name), metadata.preprocessing
    try:
        return found, found.splits(source or DataSource(), made)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from None
