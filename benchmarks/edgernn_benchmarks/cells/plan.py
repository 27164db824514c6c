"""What the suite measures: parts, networks, lengths, seeds and targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgernn.errors import UsageError
from edgernn.tasks.base import DataSource, Recipe, Task
from edgernn.training.config import ModelConfig, TrainOptions
from edgernn.training.runs import RunInfo
from edgernn_benchmarks.cells.sizes import equal_parameters

Norms = Mapping[str, NDArray[Any]]

PARTS = ("gradients", "memory", "choice")
CELLS = ("rnn", "lstm", "gru")
PRECISIONS = ("float32", "int8")
SOLVED, BASELINE = 0.01, 1 / 6  # mean squared errors: solved, and of who always says 1
# Data sets whose groups are so different that a test without holding one out tells nothing; each
# seed holds out the next one.
HOLDOUTS = {"keywords": ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")}
SCENARIOS = {"keywords": "step", "forecast": "step", "sentiment": "sequence:20"}
"""Tasks of part ``choice``, and how their models are called while they are timed."""


@dataclass(frozen=True)
class Verbs:
    """The steps that need PyTorch, which this package does not import: given by who calls it.

    Attributes:
        train: Trains, or continues the run in the folder.
        export: Writes the best weights of a run folder as ONNX.
        quantize: Writes a float32 file as int8, calibrated on the named task's training data.
        initial_gradients: See `edgernn.training.gradients.initial_gradients`.
        trained_gradients: The same of the best weights of a run folder.
    """

    train: Callable[[Task, ModelConfig, TrainOptions], RunInfo]
    export: Callable[[Path, Path], object]
    quantize: Callable[[Path, Path, str, DataSource], object]
    initial_gradients: Callable[[ModelConfig, Recipe, int, NDArray[Any]], Norms]
    trained_gradients: Callable[[Path, NDArray[Any]], Norms]


@dataclass(frozen=True)
class Plan:
    """Say what to measure.

    Attributes:
        parts: Of `PARTS`.
        seeds: How many times everything that is random is repeated.
        lengths: Rows of the adding problem.
        hidden_size: Of the networks for the adding problem.
        gradient_steps: Length at which gradients are measured; the network was trained on it.
        gradient_rows: Examples that they are measured on.
        tasks: Tasks of part ``choice``, of `SCENARIOS`.
        width: Hidden size of part ``choice``; None for what each task recommends.
        sources: Real data by task; a task that is not named has its shipped or generated data.
        targets: Where models are timed or counted.
        duration_s: Seconds of timed calls of each model.
        epochs: Instead of those of the recipes; None for the recipes'.

    Raises:
        UsageError: A value is not allowed.
    """

    parts: tuple[str, ...] = PARTS
    seeds: int = 3
    lengths: tuple[int, ...] = (50, 100, 200, 400)
    hidden_size: int = 32
    gradient_steps: int = 100
    gradient_rows: int = 4
    tasks: tuple[str, ...] = tuple(SCENARIOS)
    width: int | None = None
    sources: Mapping[str, DataSource] = field(default_factory=dict)
    targets: tuple[str, ...] = ("cpu", "cortex-m4")
    duration_s: float = 2.0
    epochs: int | None = None

    def __post_init__(self) -> None:
        for what, given, known in (
            ("part", self.parts, PARTS),
            ("task", self.tasks, tuple(SCENARIOS)),
            ("task with data", tuple(self.sources), tuple(SCENARIOS)),
        ):
            for name in given:
                if name not in known:
                    raise UsageError(
                        f"the suite has no {what} {name!r}; choose of {', '.join(known)}"
                    )
        if self.seeds < 1:
            raise UsageError(f"seeds is {self.seeds}; it must be at least 1")

    def settings(self) -> dict[str, Any]:
        """Return, as JSON, what results must have in common to be in one file."""
        return {
            "hidden_size": self.hidden_size,
            "gradient_steps": self.gradient_steps,
            "gradient_rows": self.gradient_rows,
            "width": self.width,
            "duration_s": self.duration_s,
            "epochs": self.epochs,
            "real_data": sorted(self.sources),
            "targets": list(self.targets),
        }

    def source(self, task: str, seed: int) -> DataSource:
        """Return the data of one repetition; real data of speakers hold one of them out."""
        source = self.sources.get(task)
        if source is None:
            return DataSource()
        groups = HOLDOUTS.get(task)
        if groups is None or source.holdout is not None:
            return source
        return DataSource(source.folder, source.download, groups[seed % len(groups)])


def quick_plan(parts: tuple[str, ...] = PARTS) -> Plan:
    """Return a plan of a few seconds a part, whose numbers mean nothing."""
    return Plan(
        parts=parts, seeds=1, lengths=(20,), hidden_size=4, gradient_steps=20, gradient_rows=2,
        tasks=("forecast",), width=4, duration_s=0.02, epochs=1,
    )  # fmt: skip


@dataclass(frozen=True)
class Member:
    """One of the networks that part ``choice`` sets side by side.

    Attributes:
        label: Such as ``"GRU-76"``.
        match: What it has in common with the LSTM: ``"hidden size"``, ``"parameters"``, or empty
            for the LSTM itself.
        config: The network.
    """

    label: str
    match: str
    config: ModelConfig


def members(task: Task, width: int | None) -> tuple[Member, ...]:
    """Return the LSTM, the GRU of its hidden size, and the GRU of as many weights.

    Example:
        >>> from edgernn.tasks import get_task
        >>> [member.label for member in members(get_task("keywords"), None)]
        ['LSTM-64', 'GRU-64', 'GRU-76']
    """
    net = task.network
    lstm = ModelConfig(
        "lstm", task.input_size, width or net.hidden_size, task.output_size, net.layers,
        net.bidirectional, net.kind, net.embedding_size,
    )  # fmt: skip
    found = {
        "": lstm,
        "hidden size": ModelConfig.from_json({**lstm.to_json(), "cell": "gru"}, task.name),
        "parameters": equal_parameters(lstm, "gru"),
    }
    return tuple(
        Member(f"{config.cell.upper()}-{config.hidden_size}", match, config)
        for match, config in found.items()
    )
