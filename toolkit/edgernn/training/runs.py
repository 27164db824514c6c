"""What a run folder says about itself: ``run.json``, read and compared without PyTorch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from edgernn.errors import CheckpointError
from edgernn.tasks.base import DataSource, Metric, Recipe
from edgernn.training.config import ModelConfig

RUN_FILE = "run.json"
FORMAT = 2


@dataclass(frozen=True)
class EpochRecord:
    """Hold what one epoch gave.

    Attributes:
        epoch: Number of the epoch, from 1.
        train_loss: Mean over the epoch's examples, with dropout and augmentation.
        validation: The task's metric on the validation split.
        learning_rate: At the epoch's last step.
        seconds: Wall time of training and validation.
    """

    epoch: int
    train_loss: float
    validation: float
    learning_rate: float
    seconds: float

    def to_metrics(self, metric: Metric) -> dict[str, Any]:
        """Return the record as a line of ``metrics.jsonl``, with the metric's name."""
        return {
            f"validation_{metric.name}" if name == "validation" else name: value
            for name, value in asdict(self).items()
        }


@dataclass(frozen=True)
class SavedFile:
    """Point to a tensor file of a run.

    Attributes:
        epoch: Epoch whose end the file holds.
        sha256: Of the file's content.
    """

    epoch: int
    sha256: str


@dataclass(frozen=True)
class QatInfo:
    """Describe what a quantization-aware training quantizes, and where it started.

    Attributes:
        precision: ``"int8"``, ``"w8a16"`` or ``"int4"``.
        folder: Of the run that it started from.
        parent: SHA-256 of the weights that it started from.
        ranges: Of its layers' inputs, as `edgernn.integer.Ranges.to_json` returns them; None
            before the first epoch has ended.
    """

    precision: str
    folder: str
    parent: str
    ranges: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class RunInfo:
    """Describe a training run, finished or not.

    Attributes:
        folder: Where it lies.
        task: Name of the task.
        model: Architecture.
        recipe: Hyperparameters, with the epochs and the patience asked for.
        seed: Start of all random numbers.
        precision: ``"fp32"``, ``"bf16"`` or ``"fp16"``.
        processes: How many train together; another number gives other bits.
        steps: Optimizer steps of one epoch.
        data: Source and fingerprint of the data.
        preprocessing: What turns a user's file into the model's input.
        labels: Names of the output classes.
        metric: What the validation measures.
        history: One record per finished epoch.
        stopped: Why the run is over, ``"epochs"`` or ``"patience"``; empty while it is not.
        weights: The best weights so far, or None before the first epoch has ended.
        last: Weights and optimizer state after the last epoch, or None likewise.
        scaler: State of the fp16 gradient scaler, or None.
        versions: Versions of the libraries that wrote the run.
        qat: What is quantized while training, or None.
    """

    folder: Path
    task: str
    model: ModelConfig
    recipe: Recipe
    seed: int
    precision: str
    processes: int
    steps: int
    data: Mapping[str, Any]
    preprocessing: Mapping[str, Any]
    labels: tuple[str, ...]
    metric: Metric
    history: tuple[EpochRecord, ...] = ()
    stopped: str = ""
    weights: SavedFile | None = None
    last: SavedFile | None = None
    scaler: Mapping[str, Any] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    qat: QatInfo | None = None

    @property
    def source(self) -> DataSource:
        """Where its data came from."""
        folder = self.data["folder"]
        return DataSource(
            folder=None if folder is None else Path(folder), holdout=self.data["holdout"]
        )

    @property
    def epoch(self) -> int:
        """The number of finished epochs."""
        return len(self.history)

    @property
    def best(self) -> EpochRecord | None:
        """The epoch whose weights are kept, or None before the first has ended."""
        return self.history[self.weights.epoch - 1] if self.weights is not None else None

    @property
    def parent(self) -> str | None:
        """The SHA-256 of the best weights, for the lineage of models made from them."""
        return self.weights.sha256 if self.weights is not None else None

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``run.json``."""
        values = asdict(self)
        del values["folder"]
        if self.qat is None:
            del values["qat"]  # most runs have none
        best = self.best
        return {
            "format": FORMAT,
            **values,
            "epoch": self.epoch,
            "best": None if best is None else best.to_metrics(self.metric),
        }


def read_run(folder: str | Path) -> RunInfo:
    """Read ``run.json`` of a run folder.

    Raises:
        CheckpointError: There is none, or it is not what edgernn writes.

    Example:
        >>> read_run("runs/kw").model.hidden_size  # doctest: +SKIP
        64
    """
    path = Path(folder) / RUN_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder} holds no run ({RUN_FILE} is missing); name a folder that "
            f"`edgernn train … -o FOLDER` wrote"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); restore it or train again into another folder"
        ) from None
    written_as = values.get("format") if isinstance(values, dict) else None
    if written_as != FORMAT:
        raise CheckpointError(
            f"{path} has format {written_as!r}, this edgernn reads format {FORMAT}; "
            f"use the edgernn version that wrote it"
        )
    model = ModelConfig.from_json(values.get("model"), str(path))
    try:
        return _from_json(Path(folder), model, values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({type(error).__name__}: {error}); restore it or train again "
            f"into another folder"
        ) from None


def differences(old: RunInfo, new: RunInfo) -> list[str]:
    """Name what keeps ``new`` from continuing ``old``, as ``"seed is 0 there, 1 here"``."""
    before, after = _identity(old), _identity(new)
    return [
        f"{name} is {before.get(name)!r} there, {after.get(name)!r} here"
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]


def _identity(run: RunInfo) -> dict[str, Any]:
    parts = {"task": run.task, **run.model.to_json(), **asdict(run.recipe), "seed": run.seed}
    parts |= {"precision": run.precision, "processes": run.processes}
    parts |= {"steps per epoch": run.steps}
    qat = run.qat
    parts |= {"qat": qat and qat.precision, "weights at the start": qat and qat.parent}
    parts |= {"preprocessing": dict(run.preprocessing)}
    parts |= {f"data {name}": run.data.get(name) for name in ("holdout", "sizes", "sha256")}
    # Through JSON, so that a tuple equals the list it was read back as.
    identity: dict[str, Any] = json.loads(json.dumps(parts))
    return identity


def _from_json(folder: Path, model: ModelConfig, values: dict[str, Any]) -> RunInfo:
    run = RunInfo(
        folder=folder,
        task=values["task"],
        model=model,
        recipe=Recipe(**values["recipe"]),
        seed=values["seed"],
        precision=values["precision"],
        processes=values["processes"],
        steps=values["steps"],
        data=values["data"],
        preprocessing=values["preprocessing"],
        labels=tuple(values["labels"]),
        metric=Metric(**values["metric"]),
        history=tuple(EpochRecord(**record) for record in values["history"]),
        stopped=values["stopped"],
        scaler=values["scaler"],
        versions=values["versions"],
        qat=QatInfo(**values["qat"]) if values.get("qat") else None,
    )
    numbers = [record.epoch for record in run.history]
    if numbers != list(range(1, len(numbers) + 1)):
        raise ValueError("the history does not count its epochs from 1")
    if values["weights"] is None or values["last"] is None:
        if numbers:
            raise ValueError("the history has epochs, but no weights belong to them")
        return run
    run = replace(run, weights=SavedFile(**values["weights"]), last=SavedFile(**values["last"]))
    if not 1 <= run.weights.epoch <= run.last.epoch == len(numbers):  # type: ignore[union-attr] # both were set in the line above
        raise ValueError("the history and the weights are of different epochs")
    return run
