"""Read the sequences that a model is calibrated on: an npz, recordings, or a task's data."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgernn.contract import Axes
from edgernn.errors import InputError, UsageError
from edgernn.metadata import Metadata
from edgernn.npz import read_npz
from edgernn.pairs import PairLink
from edgernn.sessions import Array, Arrays
from edgernn.tasks import get_task, task_data
from edgernn.tasks.base import PADDING, Batch, DataSource

SAMPLES = 200
"""Sequences that are taken where the data has more."""
TASK = "task:"
_BATCH = 4
_SEED = 0


def read_sequences(
    data: str | os.PathLike[str],
    metadata: Metadata,
    *,
    samples: int = SAMPLES,
    source: DataSource | None = None,
) -> list[Arrays]:
    """Read calibration sequences for a model.

    Args:
        data: One of

            - an npz with arrays as the model takes them, by the names of its inputs; states are not
              among them. Sequences of one length lie along the batch axis. For sequences of
              different lengths, the names of the arrays end in the number of their sequence:
              ``x.0``, ``x.1``, …
              Of a decoder, an npz holds the inputs of its encoder and the tokens
              ``[rows, steps]``.
            - a file that the model's task reads, such as a wav, or a folder of them.
            - ``task:NAME``, the training data of a task; never its test data.
        metadata: Of the model.
        samples: How many sequences to take; where there are more, they are drawn evenly over the
            data, the same at each call.
        source: For ``task:NAME``, where the data comes from; None for what the task ships.

    Raises:
        UsageError: There is no such task, or ``samples`` is below 1.
        InputError: The data cannot be read, holds no sequence, or never changes.

    Example:
        >>> read_sequences("task:keywords", metadata)[0]["x"].shape
        (4, 24, 40)
    """
    if samples < 1:
        raise UsageError(f"--samples must be at least 1, got {samples}")
    text = os.fspath(data)
    if text.startswith(TASK):
        return list(_of_task(text.removeprefix(TASK), metadata, source, samples))
    path = Path(text)
    read = _of_npz if path.suffix.lower() == ".npz" else _of_files
    sequences = read(path, metadata, samples)
    places = metadata.contract.stream.inputs if metadata.contract else {}
    names = sequences[0] if sequences else {}
    if names and all(_is_constant(name, sequences, places.get(name)) for name in names):
        raise InputError(
            f"{path}: no channel of the data ever changes, so it says nothing of the range of a "
            f"layer; give sequences from the training data"
        )
    return sequences


def _is_constant(name: str, sequences: Sequence[Arrays], axes: Axes | None) -> bool:
    """Tell whether each channel of an input has one value in all sequences and steps."""
    rows = [_rows(inputs[name], axes) for inputs in sequences if name in inputs]
    first = rows[0][:1]
    several = first.size > 0 and sum(map(len, rows)) > 1
    return several and all(
        item.shape[1:] == first.shape[1:] and (item == first).all() for item in rows
    )


def _rows(value: Array, axes: Axes | None) -> Array:
    """Bring batch and time to the front as one axis; all axes where they are not known."""
    known = range(value.ndim) if axes is None else (axes.batch, axes.time)
    front = [axis for axis in known if axis is not None and axis < value.ndim]
    count = math.prod(value.shape[axis] for axis in front)
    rest = value.size // count if count else 0
    return np.moveaxis(value, front, range(len(front))).reshape(count, rest)


def _of_task(
    name: str, metadata: Metadata, source: DataSource | None, samples: int
) -> Iterator[Arrays]:
    split = task_data(metadata, "the model", name, source)[1]["train"]
    rows = sum(len(batch.x) for batch in split.batches(_BATCH))  # a series counts its steps
    chosen, place = _spread(rows, samples), 0
    for batch in split.batches(_BATCH):
        size = len(batch.x)
        taken = chosen[(chosen >= place) & (chosen < place + size)] - place
        place += size
        if metadata.pair is not None:
            link = PairLink.from_json(metadata.pair, "the model")
            yield from (_teacher_forced(batch, row, link) for row in taken)
        elif len(taken):
            yield {key: value[taken] for key, value in batch.inputs.items()}


def _teacher_forced(batch: Batch, row: int, link: PairLink) -> Arrays:
    """Return the encoder's inputs of one row, and the tokens that its decoder should see."""
    if batch.targets.ndim != 2 or link.start is None:
        raise UsageError(
            "the model is a decoder, but the task's targets are no sequences for one; give an npz "
            "with the encoder's inputs and the tokens"
        )
    target = batch.targets[row]
    tokens = np.append(link.start, target[target != PADDING][:-1])  # the last one is not fed
    return {
        **{key: value[row : row + 1] for key, value in batch.inputs.items()},
        link.token: tokens[None].astype(np.int64),
    }


def _of_files(path: Path, metadata: Metadata, samples: int) -> list[Arrays]:
    if metadata.task is None or metadata.preprocessing is None:
        raise InputError(
            f"{path}: the model names no task, so it is not known how to turn files into its "
            f"inputs; give an npz with arrays by the names of the inputs"
        )
    files = sorted(path.glob("*.wav")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: there is no .wav file in this folder")
    task = get_task(metadata.task)
    chosen = _spread(len(files), samples)
    return [task.read(files[number], metadata.preprocessing) for number in chosen]


def _of_npz(path: Path, metadata: Metadata, samples: int) -> list[Arrays]:
    places = metadata.contract.stream.inputs if metadata.contract else {}
    arrays = read_npz(path)
    numbered = _numbered(path, arrays)
    if numbered:
        return [numbered[number] for number in _spread(len(numbered), samples)]
    batches = {name: place.batch for name, place in places.items() if place.batch is not None}
    if metadata.pair is not None:  # what the places of the encoder's rows are is not known here
        batches = dict.fromkeys(arrays, 0)
    rows = [arrays[name].shape[axis] for name, axis in batches.items()
            if name in arrays and axis < arrays[name].ndim]  # fmt: skip
    if not rows:
        return [arrays]
    if len(set(rows)) > 1:
        raise InputError(f"{path}: the inputs disagree on the number of sequences: {rows}")
    chosen = _spread(rows[0], samples)
    return [
        {name: np.take(value, chosen[start : start + _BATCH], axis=batches[name])
         if name in batches and batches[name] < value.ndim else value
         for name, value in arrays.items()}
        for start in range(0, len(chosen), _BATCH)
    ]  # fmt: skip


def _numbered(path: Path, arrays: Arrays) -> list[Arrays]:
    """Group ``x.0``, ``h.0``, ``x.1``, … by number; none if no name ends in a number."""
    groups: dict[int, Arrays] = {}
    for key, value in arrays.items():
        name, _, number = key.rpartition(".")
        if name and number.isdecimal():
            groups.setdefault(int(number), {})[name] = value
    if groups and sum(map(len, groups.values())) < len(arrays):
        raise InputError(
            f"{path}: holds {list(arrays)[:6]}; name either all arrays with the number of their "
            f"sequence, such as x.0 and x.1, or none"
        )
    numbers = sorted(groups)
    for before, after in pairwise(numbers):
        if after != before + 1:
            raise InputError(
                f"{path}: holds sequences {before} and {after} and none between; number them "
                f"without a gap, such as x.0 and x.1, so that none is lost"
            )
    return [groups[index] for index in numbers]


def _spread(count: int, samples: int) -> NDArray[np.int64]:
    """Draw ``samples`` numbers below ``count``, one from each of as many equal stretches."""
    if count <= samples:
        return np.arange(count)
    edges = np.arange(samples + 1) * count // samples
    rng = np.random.default_rng(_SEED)
    return edges[:-1] + rng.integers(0, np.diff(edges))
