"""The start of a training: may the folder be written, and is it a new run or an older one?"""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from edgernn.errors import CheckpointError, InputError, UsageError
from edgernn.files import write_text
from edgernn.tasks.base import Batch, Recipe, Split, Task
from edgernn.training.checkpoint import (
    LAST,
    METRICS,
    WEIGHTS,
    load_last,
    load_run,
    settle,
    write_run,
)
from edgernn.training.config import ModelConfig, TrainOptions
from edgernn.training.runs import RUN_FILE, QatInfo, RunInfo, differences, read_run
from edgernn.training.tensors import Tensors

_LIBRARIES = ("edgernn", "torch", "accelerate", "safetensors", "numpy")


def check_folder(options: TrainOptions) -> None:
    """Find out before the data are read whether the run can be written; leave nothing behind.

    A folder that is not there is made for the attempt and removed again, so that a mistake in the
    data source, which only reading the data brings to light, leaves no half-begun run.

    Raises:
        UsageError: The folder has a run, and this one is not to continue it.
        OutputError: The folder cannot be written.
    """
    folder = options.folder
    taken = [
        name
        for name in (RUN_FILE, f"{WEIGHTS}.safetensors", f"{LAST}.safetensors")
        if (folder / name).exists()
    ]
    if taken and not options.resume:
        raise UsageError(
            f"{folder} already holds a run ({', '.join(taken)}); choose another folder with -o, "
            f"or continue that run with --resume"
        )
    if taken:
        read_run(folder)
    if not (folder / METRICS).exists():
        _try_to_write(folder)


def plan_run(
    task: Task,
    config: ModelConfig,
    options: TrainOptions,
    splits: Mapping[str, Split],
    precision: str,
    processes: int,
    recipe: Recipe,
    qat: QatInfo | None,
) -> RunInfo:
    """Describe the run as asked for, with no epoch done.

    The batches of an epoch are counted by making those of the first: only the task knows how
    often an epoch takes each example.

    Raises:
        InputError: A split is empty.
    """
    recipe = replace(
        recipe,
        epochs=options.epochs or recipe.epochs,
        patience=options.patience or recipe.patience,
    )
    steps, fingerprint = _count_and_hash(splits, options.seed, recipe.batch_size)
    source = options.source
    versions = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return RunInfo(
        folder=options.folder,
        task=task.name,
        model=config,
        recipe=recipe,
        seed=options.seed,
        precision=precision,
        processes=processes,
        steps=steps,
        data={
            "folder": None if source.folder is None else str(source.folder),
            "holdout": source.holdout,
            "sizes": {name: len(split) for name, split in sorted(splits.items())},
            "sha256": fingerprint,
        },
        preprocessing=task.preprocessing(splits),
        labels=tuple(task.labels()),
        metric=task.metric,
        versions={"python": platform.python_version(), **versions},
        qat=qat,
    )


def open_run(plan: RunInfo, resume: bool) -> tuple[RunInfo, Tensors | None]:
    """Begin the run, or find where it stopped.

    Returns:
        The run, and what continuing it needs; None at its start.

    Raises:
        CheckpointError: The run in the folder is another one, or broken.
    """
    if not (resume and (plan.folder / RUN_FILE).exists()):
        write_run(plan)
        settle(plan)
        return plan, None
    run = read_run(plan.folder)
    differing = differences(run, plan)
    if differing:
        raise CheckpointError(
            f"{plan.folder} holds another run: {'; '.join(differing)}; resume it with the same "
            f"options, or choose another folder with -o"
        )
    if run.last is None:
        settle(run)
        return run, None
    load_run(run.folder)  # the best weights must be whole as well
    last = load_last(run.folder)
    settle(run)
    return run, last


def _try_to_write(folder: Path) -> None:
    """Write the empty metrics file and remove it, with the folders that this made."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        write_text(folder / METRICS, "")
    finally:
        with suppress(OSError):
            (folder / METRICS).unlink()
        for path in made:
            with suppress(OSError):  # it was never made, or another program has used it since
                path.rmdir()


def _count_and_hash(splits: Mapping[str, Split], seed: int, batch_size: int) -> tuple[int, str]:
    """Return the batches of one epoch, and a fingerprint of what is trained and validated on."""
    digest = hashlib.sha256()
    steps = _hash(digest, splits["train"].epoch(1, seed=seed, batch_size=batch_size))
    if steps == 0:
        raise InputError("the train split is empty; name a folder with more data")
    if _hash(digest, splits["validation"].batches(batch_size)) == 0:
        raise InputError("the validation split is empty; name a folder with more data")
    return steps, digest.hexdigest()


def _hash(digest: hashlib._Hash, batches: Iterable[Batch]) -> int:
    """Add the batches to the digest; return how many there were."""
    count = 0
    for batch in batches:
        count += 1
        for values in (batch.x, batch.lengths, batch.targets):
            digest.update(values.tobytes())
    return count
