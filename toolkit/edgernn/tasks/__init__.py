"""The training tasks, by name; a task is imported only when asked for."""

from __future__ import annotations

import importlib

from edgernn.errors import UsageError
from edgernn.tasks.base import Task

# Name -> "module:attribute". To add a task: write the module, add a line.
TASKS = {
    "keywords": "edgernn.tasks.keywords:TASK",
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
