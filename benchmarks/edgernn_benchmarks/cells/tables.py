"""The suite's rows, gathered over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from edgernn_benchmarks.cells.journal import Journal
from edgernn_benchmarks.cells.plan import CELLS, SOLVED


@dataclass(frozen=True)
class MemoryCell:
    """One cell on one length of the adding problem.

    Attributes:
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        steps: Length of the rows.
        errors: Mean squared error on the test rows, of each seed.
        epoch_seconds: Median time of an epoch.
    """

    cell: str
    steps: int
    errors: tuple[float, ...]
    epoch_seconds: float

    @property
    def solved(self) -> bool:
        """Whether every seed solved it."""
        return max(self.errors) < SOLVED


@dataclass(frozen=True)
class Network:
    """One network of part ``choice``; mappings are by precision.

    Attributes:
        label: Such as ``"GRU-76"``.
        match: What is equal to the LSTM's; empty for the LSTM.
        recurrent_parameters: Weights of the recurrent layers.
        metric: Name of the task's metric.
        higher_is_better: Its direction.
        values: The metric, of each seed in order.
        bytes: Of the ONNX file.
        flash_bytes: On the emulated target, code and constants.
        instructions: Of a time step, likewise.
        p50_us: Median time of a call on ``cpu``.
        errors: Why something was not measured, by target and precision.
        epoch_seconds: Median time of an epoch of training.
    """

    label: str
    match: str
    recurrent_parameters: int
    metric: str
    higher_is_better: bool
    values: Mapping[str, tuple[float, ...]]
    bytes: Mapping[str, int]
    flash_bytes: Mapping[str, float]
    instructions: Mapping[str, float]
    p50_us: Mapping[str, float]
    errors: Mapping[str, str]
    epoch_seconds: float


def decay(journal: Journal, cell: str, moment: str, state: str = "h") -> list[float]:
    """Return the norm of ∂h_T/∂h_t by T − t, from 0 on: the geometric mean of examples and seeds.

    Empty if nothing was measured. Zeros, as of ∂h_T/∂c_T, count as the least number.
    """
    rows = [
        example
        for row in journal.under(f"gradients/{cell}/{moment}/")
        for example in row["norms"].get(state, ())
    ]
    if not rows:
        return []
    norms = np.maximum(np.asarray(rows, np.float64), np.finfo(np.float64).tiny)
    return [float(value) for value in np.exp(np.log(norms).mean(axis=0))[::-1]]


def memory_cells(journal: Journal) -> list[MemoryCell]:
    """Return the results of the adding problem, by cell and length."""
    found: dict[tuple[str, int], list[tuple[float, list[float]]]] = {}
    for row in journal.under("memory/"):
        mine = found.setdefault((row["cell"], row["steps"]), [])
        mine.append((row["mse"], row["epoch_seconds"]))
    return [
        MemoryCell(
            cell, steps, tuple(mse for mse, _ in runs),
            statistics.median(chain.from_iterable(times for _, times in runs)),
        )
        for (cell, steps), runs in sorted(
            found.items(), key=lambda item: (CELLS.index(item[0][0]), item[0][1])
        )
    ]  # fmt: skip


def tasks_of(journal: Journal) -> list[str]:
    """Return the tasks of part ``choice`` that have rows."""
    return list(dict.fromkeys(row["task"] for row in journal.under("choice/")))


def networks(journal: Journal, task: str) -> list[Network]:
    """Return the networks of a task, with all that was measured of them."""
    rows = list(journal.under(f"choice/{task}/"))
    trainings = [row for row in rows if "recurrent_parameters" in row]
    qualities = [row for row in rows if "value" in row]
    timed = [item for row in rows for item in row.get("rows", ())]
    found = []
    for label in dict.fromkeys(row["label"] for row in trainings):
        mine = [row for row in trainings if row["label"] == label]
        judged = [row for row in qualities if row["label"] == label]
        here = [item for item in timed if item["label"] == label]
        found.append(
            Network(
                label=label,
                match=mine[0]["match"],
                recurrent_parameters=mine[0]["recurrent_parameters"],
                metric=judged[0]["metric"] if judged else "",
                higher_is_better=judged[0]["higher_is_better"] if judged else True,
                values=_values(judged),
                bytes={row["precision"]: row["bytes"] for row in reversed(judged)},
                flash_bytes=_column(here, "flash_bytes"),
                instructions=_column(here, "instructions_per_step"),
                p50_us=_column(here, "p50_us"),
                errors={
                    f"{item['target']}, {item['precision']}": item["error"]
                    for item in here
                    if item["error"] is not None
                },
                epoch_seconds=statistics.median(
                    chain.from_iterable(row["epoch_seconds"] for row in mine)
                ),
            )
        )
    return found


def _values(rows: Sequence[Mapping[str, object]]) -> dict[str, tuple[float, ...]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        pair = (int(str(row["seed"])), float(str(row["value"])))
        found.setdefault(str(row["precision"]), []).append(pair)
    return {name: tuple(value for _, value in sorted(pairs)) for name, pairs in found.items()}


def _column(rows: Sequence[Mapping[str, object]], name: str) -> dict[str, float]:
    """Return a number by precision, of the target that has it."""
    return {str(row["precision"]): float(str(row[name])) for row in rows if row[name] is not None}
