"""Log the epochs of a training for TensorBoard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgernn.errors import OutputError
from edgernn.extras import needs
from edgernn.training.progress import OnProgress, Progress
from edgernn.training.runs import RUN_FILE, read_run

_FLUSH_S = 5  # after this the file has what was logged; the writer's own thread sees to it


@contextmanager
def log_to_tensorboard(folder: str | Path) -> Iterator[OnProgress]:
    """Yield a function to give to `edgernn.training.train` as ``on_progress``.

    Each epoch adds ``loss/train``, ``validation/METRIC``, ``learning_rate`` and ``seconds``. All
    epochs of ``run.json`` are in the log, those before a run was continued too: each time the log
    is opened they are written anew, in place of what is there. A finished run is logged as well.

    Args:
        folder: The run folder, where the log is written as well; ``tensorboard --logdir`` takes it,
            or a folder above it.

    Raises:
        OutputError: The folder cannot be written.
        TargetUnavailable: The package is missing.

    Example:
        >>> with log_to_tensorboard("runs/kw") as on_progress:  # doctest: +SKIP
        ...     train(task, config, options, on_progress=on_progress)
    """
    with needs("tensorboard"):
        from tensorboardX import SummaryWriter
    writers: list[SummaryWriter] = []
    logged = 0

    def catch_up() -> None:
        nonlocal logged
        run = read_run(folder)
        if not writers and run.history:  # nothing empty is left where no epoch ends
            try:
                writers.append(SummaryWriter(str(folder), purge_step=1, flush_secs=_FLUSH_S))
            except OSError as error:
                raise OutputError(
                    f"cannot write {folder}: {error.strerror or error}; choose another folder"
                ) from None
        for record in run.history[logged:]:
            values = {
                "loss/train": record.train_loss,
                f"validation/{run.metric.name}": record.validation,
                "learning_rate": record.learning_rate,
                "seconds": record.seconds,
            }
            for name, value in values.items():
                writers[0].add_scalar(name, value, record.epoch)
        logged = run.epoch

    def log(progress: Progress) -> None:
        if progress.record is not None and progress.record.epoch > logged:
            catch_up()

    try:
        yield log
        # A finished run reports nothing. Only the main process, which alone gets reports, writes.
        if os.environ.get("RANK", "0") == "0" and (Path(folder) / RUN_FILE).exists():
            catch_up()
    finally:
        for writer in writers:
            writer.close()
