"""Put what was measured of one model, target and scenario together into a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgernn.sessions import Measurement
from edgernn_benchmarks.fresh import ColdStart
from edgernn_benchmarks.models import ModelFile
from edgernn_benchmarks.numeric import NumericError
from edgernn_benchmarks.report import Row
from edgernn_benchmarks.scenarios import Scenario
from edgernn_benchmarks.statistics import drift, summarize

UNSTABLE = 0.1
"""A row whose median moved by more than this share from its first to its last third is noted."""


@dataclass(frozen=True)
class RowParts:
    """Hold what is known of one row; parts that were not reached are empty."""

    model: ModelFile
    target: str
    scenario: Scenario
    error: str | None
    samples_ns: tuple[int, ...]
    turns: tuple[int, ...]
    reference: bool
    numeric: NumericError | None
    wrong: bool
    counts: Measurement | None
    metrics: Mapping[str, float]
    start: ColdStart | None
    notes: tuple[str, ...]


def make_row(parts: RowParts, settings: Mapping[str, Any]) -> Row:
    """Compute the row's statistics; an emulated target has counts instead.

    Args:
        parts: What was measured.
        settings: The report's, for the metric's name and the frame rates.
    """
    model, scenario = parts.model, parts.scenario
    row: dict[str, Any] = {
        "model": model.label,
        "target": parts.target,
        "precision": model.metadata.precision,
        "scenario": str(scenario),
        "steps": scenario.steps,
        "batch": scenario.batch,
        "reference": parts.reference,
        "wrong_outputs": parts.wrong,
        "model_bytes": model.size_bytes,
        "model_sha256": model.sha256,
        "metrics": dict(parts.metrics),
        "accuracy": _main_metric(parts.metrics, settings["metric"]),
    }
    if parts.numeric is not None:
        row["max_abs_error"] = parts.numeric.max_abs_error
        row["error_by_step"] = parts.numeric.by_step or None
    error = parts.error
    if error is None and parts.counts is not None:
        return Row(**row, **_counts(parts.counts), available=True, notes=parts.notes)
    if error is None and not parts.samples_ns:
        error = "not measured: the benchmark was stopped first; run it again"
    if error is not None:
        return Row(**row, available=False, error=error, notes=parts.notes)
    notes = list(parts.notes)
    moved = drift(parts.samples_ns)
    if moved is not None and abs(moved - 1) > UNSTABLE:
        notes.append(f"drifted: the last third took {moved:.2f}× the time of the first")
    summary = summarize(
        parts.samples_ns,
        steps=scenario.steps,
        batch=scenario.batch,
        frame_rate_hz=settings["frame_rates_hz"][model.label],
    )
    if parts.start is not None:
        row["cold_start_ms"] = parts.start.total_ms
        for name in ("import_ms", "load_ms", "first_output_ms", "peak_memory_bytes",
                     "engine_memory_bytes"):  # fmt: skip
            row[name] = getattr(parts.start, name)
    return Row(
        **row,
        **asdict(summary),
        available=True,
        drift=moved,
        notes=tuple(notes),
        samples_ns=parts.samples_ns,
        turns=parts.turns,
    )


def _counts(found: Measurement) -> dict[str, Any]:
    return {
        "instructions_per_step": float(found.instructions_per_step),
        "flash_bytes": found.flash_bytes,
        "static_ram_bytes": found.static_ram_bytes,
        "stack_bytes": found.peak_stack_bytes,
    }


def _main_metric(metrics: Mapping[str, float], name: str | None) -> float | None:
    if not metrics:
        return None
    if name is not None:
        return metrics.get(name)
    return metrics.get("accuracy", next(iter(metrics.values())))
