"""What the suite's results say, in sentences that follow from the numbers alone."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgernn_benchmarks.cells.journal import Journal
from edgernn_benchmarks.cells.plan import CELLS, SOLVED
from edgernn_benchmarks.cells.tables import (
    MemoryCell,
    Network,
    decay,
    memory_cells,
    networks,
    tasks_of,
)
from edgernn_benchmarks.report_format import number

_BACK = 50  # steps back at which gradients are told
_DEVICE = ("flash (int8)", "instructions a step (int8)")
_EQUAL = 1e-9  # means that differ by less differ by rounding
_SAME = 0.98  # a cost of this share is lower


@dataclass(frozen=True)
class Finding:
    """One statement.

    Attributes:
        topic: What it is about.
        text: A sentence or two.
        holds: Whether a claim that was to be tested holds; None where there was none.
    """

    topic: str
    text: str
    holds: bool | None = None


def findings(journal: Journal) -> tuple[Finding, ...]:
    """Say what the rows that are there show."""
    found = [*_gradients(journal), *_memory(journal)]
    for task in tasks_of(journal):
        found += _choice(task, networks(journal, task))
    return (*found, *_recommendation(journal))


def _gradients(journal: Journal) -> list[Finding]:
    found = []
    for moment, when in (
        ("plain", "With PyTorch's own initial weights"),
        ("initial", "With biases that keep the state at first"),
        ("trained", "After training on the adding problem"),
    ):
        parts = []
        for cell in CELLS:
            curve = decay(journal, cell, moment)
            if curve:
                back = min(_BACK, len(curve) - 1)
                parts.append(f"{cell.upper()} {number(curve[back], 2)}")
        if parts:
            found.append(
                Finding(
                    "Gradients",
                    f"{when}, the largest singular value of ∂h_T/∂h_t {back} steps back is "
                    f"{', '.join(parts)}.",
                )
            )
    return found


def _memory(journal: Journal) -> list[Finding]:
    cells = memory_cells(journal)
    found = []
    for cell in ("lstm", "gru"):
        mine = [item for item in cells if item.cell == cell]
        if mine:
            solved = [item.steps for item in mine if item.solved]
            missed = [item for item in mine if not item.solved]
            words = []
            if solved:
                words.append(
                    f"solved (error below {SOLVED}) in every run at {_lengths(solved)} steps"
                )
            if missed:
                lengths = _lengths([item.steps for item in missed])
                words.append(f"not solved in every run at {lengths} steps: {_errors(missed)}")
            found.append(Finding(f"Memory of {cell.upper()}", f"{', '.join(words)}.", not missed))
    rnn = [item for item in cells if item.cell == "rnn"]
    if rnn:
        solved = [item.steps for item in rnn if min(item.errors) < SOLVED]
        where = f"solved in some run at {_lengths(solved)} steps" if solved else "never solved"
        long = [item for item in rnn if item.steps >= 200]
        holds = not any(min(item.errors) < SOLVED for item in long) if long else None
        found.append(Finding("Memory of RNN", f"{where}: {_errors(rnn)}.", holds))
    return found


def _choice(task: str, found: Sequence[Network]) -> list[Finding]:
    lstm = next((item for item in found if not item.match), None)
    if lstm is None:
        return []
    texts = []
    for gru in found:
        if not gru.match:
            continue
        parts = [
            f"{precision} {_compared(gains, gru.metric)}"
            for precision in gru.values
            if (gains := _gains(gru, lstm, precision))
        ]
        parts += [f"{ratio:.2f}× of the {what}" for what, ratio in _costs(gru, lstm).items()]
        if parts:
            texts.append(f"{gru.label} (equal {gru.match}): {', '.join(parts)}.")
    return [Finding(f"{task}, against {lstm.label}", " ".join(texts))] if texts else []


def _recommendation(journal: Journal) -> list[Finding]:
    """Say what the tasks together say, as int8, of a GRU of the LSTM's hidden size and weights."""
    found = []
    for match in ("hidden size", "parameters"):
        better: list[str] = []
        worse: list[str] = []
        open_: list[str] = []
        costs: dict[str, list[float]] = {}
        for task in tasks_of(journal):
            side_by_side = networks(journal, task)
            lstm = next((item for item in side_by_side if not item.match), None)
            gru = next((item for item in side_by_side if item.match == match), None)
            gains = _gains(gru, lstm, "int8") if gru and lstm else []
            if gru is None or lstm is None or len(gains) < 2:
                continue
            (better if min(gains) > 0 else worse if max(gains) < 0 else open_).append(task)
            for what, ratio in _costs(gru, lstm).items():
                costs.setdefault(what, []).append(ratio)
        if not (better or worse or open_):
            continue
        quality = [
            f"{words} on {', '.join(tasks)}"
            for words, tasks in (
                ("better", better), ("worse", worse), ("not shown to differ", open_)
            )
            if tasks
        ]  # fmt: skip
        spent = [
            f"{statistics.geometric_mean(ratios):.2f}× of the {what}"
            for what, ratios in costs.items()
        ]
        found.append(
            Finding(
                f"GRU or LSTM, equal {match}",
                f"As int8 the GRU is {', '.join(quality)}; it takes {', '.join(spent)}. "
                f"{_advice(better, worse, costs)}",
            )
        )
    return found


def _advice(
    better: Sequence[str], worse: Sequence[str], costs: Mapping[str, Sequence[float]]
) -> str:
    on_device = [costs[what] for what in _DEVICE if what in costs] or list(costs.values())
    cheaper = all(statistics.geometric_mean(ratios) < _SAME for ratios in on_device)
    if worse and better:
        return "Neither is better throughout: try both on your own data."
    if worse:
        return f"Take the LSTM for what is like {', '.join(worse)}" + (
            ", the GRU where its lower cost on a device matters more." if cheaper else "."
        )
    if better:
        return "Take the GRU."
    return (
        "Take the GRU: it costs less on a device, and nothing was shown to be lost."
        if cheaper
        else "Nothing speaks for either: take what you have."
    )


def _gains(gru: Network, lstm: Network, precision: str) -> list[float]:
    """Return by how much the GRU is better, for each seed that both have."""
    pairs = zip(gru.values.get(precision, ()), lstm.values.get(precision, ()), strict=False)
    return [(a - b) * (1 if gru.higher_is_better else -1) for a, b in pairs]


def _costs(gru: Network, lstm: Network) -> dict[str, float]:
    """Return what the GRU takes, relative to the LSTM."""
    pairs = {
        _DEVICE[0]: (gru.flash_bytes, lstm.flash_bytes),
        _DEVICE[1]: (gru.instructions, lstm.instructions),
        "time on cpu (int8)": (gru.p50_us, lstm.p50_us),
    }
    found = {
        what: own["int8"] / other["int8"]
        for what, (own, other) in pairs.items()
        if own.get("int8") and other.get("int8")
    }
    if gru.epoch_seconds and lstm.epoch_seconds:
        found["time of an epoch"] = gru.epoch_seconds / lstm.epoch_seconds
    return found


def _compared(gains: Sequence[float], metric: str) -> str:
    """Say who is better, or that the repetitions do not agree."""
    mean = statistics.fmean(gains)
    if abs(mean) < _EQUAL:
        return "equal in the mean, but not in each run: no difference shown"
    scale, unit = (100, " points") if metric == "accuracy" else (1, f" of {metric}")
    size = f"{number(abs(mean) * scale, 2)}{unit}"
    if len(gains) < 2:
        return f"{'better' if mean > 0 else 'worse'} by {size} in one run, which tells nothing"
    if all(gain > 0 for gain in gains):
        return f"better by {size} in the mean, and in each of {len(gains)} runs"
    if all(gain < 0 for gain in gains):
        return f"worse by {size} in the mean, and in each of {len(gains)} runs"
    which = "better" if mean > 0 else "worse"
    return f"{which} by {size} in the mean, but not in each run: no difference shown"


def _lengths(steps: Sequence[int]) -> str:
    return ", ".join(str(value) for value in steps)


def _errors(cells: Sequence[MemoryCell]) -> str:
    return ", ".join(
        f"{number(min(item.errors), 2)} to {number(max(item.errors), 2)} at {item.steps}"
        if len(item.errors) > 1
        else f"{number(item.errors[0], 2)} at {item.steps}"
        for item in cells
    )
