"""Read model inputs from what a user has: an npz, or a file that the model's task understands."""

from __future__ import annotations

from pathlib import Path

from edgernn.errors import InputError, UsageError
from edgernn.npz import read_npz
from edgernn.sessions import Arrays, Session
from edgernn.tasks import get_task
from edgernn.tasks.base import ReadsText


def read_text(session: Session, text: str) -> Arrays:
    """Turn a sentence into model inputs, as the model's task does.

    Raises:
        UsageError: The model names no task, or one that takes no text.
        InputError: The text holds nothing that the model knows.
    """
    meta = session.metadata
    task = None if meta.task is None else get_task(meta.task)
    if not isinstance(task, ReadsText) or meta.preprocessing is None:
        raise UsageError(
            f"--text is for models of tasks that take a sentence; this one names "
            f"{'no task' if meta.task is None else meta.task}: give --inputs"
        )
    return task.encode(text, meta.preprocessing)


def read_inputs(session: Session, path: Path) -> Arrays:
    """Read model inputs from an npz, or from a file that the model's task understands.

    Raises:
        InputError: The file cannot be read, holds several sequences, or the model takes no such
            file.
    """
    if path.suffix.lower() != ".npz":
        meta = session.metadata
        if meta.task is None or meta.preprocessing is None:
            raise InputError(
                f"{path}: this model names no task, so it is not known how to turn the file into "
                f"its inputs; give an npz with {[str(spec) for spec in session.inputs]}"
            )
        return get_task(meta.task).read(path, meta.preprocessing)
    arrays = read_npz(path)
    names = {spec.name for spec in session.inputs}
    for key in arrays:
        name, _, number = key.rpartition(".")
        if key not in names and name in names and number.isdecimal():
            raise InputError(
                f"{path}: holds numbered sequences such as {key!r}, as for calibration; write the "
                f"one to run with numpy.savez(path, {name}=array)"
            )
    return arrays
