"""The result of a benchmark: rows with their raw samples, the environment, and how it was made.

The JSON form is one object with ``schema``, ``version``, ``created_utc``, ``partial``,
``settings``, ``environment``, ``rows`` and ``comparisons``. Rows hold `Row`'s fields under the
same names, ``null`` where a value could not be had; statistics are stored beside the samples
they derive from, and ``comparisons`` is derived from the samples too.
"""

from __future__ import annotations

import json
import math
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from edgernn.errors import InputError, UsageError
from edgernn.files import write_text
from edgernn_benchmarks.scenarios import parse
from edgernn_benchmarks.statistics import Ratio, compare_turns

SCHEMA = "edgernn-benchmark"
VERSION = 1


@dataclass(frozen=True)
class Row:
    """One model on one target in one scenario.

    Attributes:
        model: File name, with as many parent folders as tell it apart.
        target: Name of the target.
        precision: From the model's metadata.
        scenario: Text such as ``"sequence:100x8"``.
        steps: Time steps a call.
        batch: Streams a call.
        available: Whether it was measured; if not, ``error`` says why and the numbers are None.
        error: Why it was not measured, with the remedy.
        notes: What a reader must know about this row.
        reference: Whether this is the model and target that errors are taken against.
        wrong_outputs: Whether it is another engine and its outputs are wrong; a note says by how
            much. Its times are kept, and compared with nothing.
        model_bytes: Size of the model file and its external data.
        model_sha256: Of the model file.
        accuracy: The task's metric on this target.
        metrics: All metrics of the task.
        max_abs_error: Against the reference, over `numeric.STEPS` time steps.
        error_by_step: Largest absolute error at each of those time steps, or None.
        p50_us: See `statistics.Summary`; likewise up to ``deadline_misses``.
        p90_us: See p50_us.
        p99_us: See p50_us.
        p999_us: See p50_us.
        mean_us: See p50_us.
        mad_us: See p50_us.
        throughput_steps_per_s: See p50_us.
        real_time_factor: See p50_us.
        deadline_misses: See p50_us.
        drift: Median of the last third of the samples over that of the first; None for under 30.
        cold_start_ms: Import, load and first output in a fresh process (see `fresh`).
        import_ms: Part of cold_start_ms.
        load_ms: Part of cold_start_ms.
        first_output_ms: Part of cold_start_ms.
        peak_memory_bytes: Peak of a fresh process minus that before importing the engine.
        engine_memory_bytes: Part of the peak that importing the engine takes.
        instructions_per_step: On an emulated target, which is counted instead of timed.
        flash_bytes: Code and constants, likewise.
        static_ram_bytes: Variables, likewise.
        stack_bytes: Deepest stack, likewise.
        samples_ns: Time of each call, in order, nanoseconds.
        turns: Number of samples of each turn.
    """

    model: str
    target: str
    precision: str
    scenario: str
    steps: int
    batch: int
    available: bool
    error: str | None = None
    notes: tuple[str, ...] = ()
    reference: bool = False
    wrong_outputs: bool = False
    model_bytes: int | None = None
    model_sha256: str | None = None
    accuracy: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    max_abs_error: float | None = None
    error_by_step: tuple[float, ...] | None = None
    p50_us: float | None = None
    p90_us: float | None = None
    p99_us: float | None = None
    p999_us: float | None = None
    mean_us: float | None = None
    mad_us: float | None = None
    throughput_steps_per_s: float | None = None
    real_time_factor: float | None = None
    deadline_misses: float | None = None
    drift: float | None = None
    cold_start_ms: float | None = None
    import_ms: float | None = None
    load_ms: float | None = None
    first_output_ms: float | None = None
    peak_memory_bytes: int | None = None
    engine_memory_bytes: int | None = None
    instructions_per_step: float | None = None
    flash_bytes: int | None = None
    static_ram_bytes: int | None = None
    stack_bytes: int | None = None
    samples_ns: tuple[int, ...] = ()
    turns: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """Model and target."""
        return f"{self.model} on {self.target}"


@dataclass(frozen=True)
class Comparison:
    """The latency of one row against that of the scenario's baseline.

    Attributes:
        scenario: Of both rows.
        baseline: `Row.label` of the row compared with.
        candidate: `Row.label` of the row judged.
        ratio: See `statistics.Ratio`.
    """

    scenario: str
    baseline: str
    candidate: str
    ratio: Ratio


@dataclass(frozen=True)
class Report:
    """A benchmark's result.

    Attributes:
        rows: In the order of scenarios, models, targets.
        environment: See `environment.capture`, with ``before`` and ``after`` conditions.
        settings: How it was measured: durations, warm-up, threads, seed, inputs, metric …
        created_utc: ISO 8601.
        partial: Whether the user stopped it before the end.
    """

    rows: tuple[Row, ...]
    environment: Mapping[str, Any]
    settings: Mapping[str, Any]
    created_utc: str
    partial: bool = False

    @property
    def measured(self) -> tuple[Row, ...]:
        """The rows that have samples or counts."""
        return tuple(row for row in self.rows if row.available)

    @property
    def timed(self) -> tuple[Row, ...]:
        """The rows whose times can be compared: measured, not emulated, with right outputs."""
        return tuple(row for row in self.measured if row.samples_ns and not row.wrong_outputs)

    @property
    def scenarios(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(dict.fromkeys(row.scenario for row in self.rows))

    def comparisons(self) -> tuple[Comparison, ...]:
        """Compare each timed row with its scenario's baseline.

        The baseline is the reference, or the first timed row where that was not measured.
        """
        found = []
        for scenario in self.scenarios:
            rows = [row for row in self.timed if row.scenario == scenario]
            baseline = next((row for row in rows if row.reference), rows[0] if rows else None)
            for row in rows:
                if baseline is not None and row is not baseline:
                    ratio = compare_turns(
                        baseline.samples_ns, baseline.turns, row.samples_ns, row.turns
                    )
                    found.append(Comparison(scenario, baseline.label, row.label, ratio))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "created_utc": self.created_utc,
            "partial": self.partial,
            "settings": dict(self.settings),
            "environment": dict(self.environment),
            "rows": [_plain(row) for row in self.rows],
            "comparisons": [
                {"scenario": c.scenario, "baseline": c.baseline, "candidate": c.candidate,
                 **asdict(c.ratio)}
                for c in self.comparisons()
            ],
        }  # fmt: skip

    @staticmethod
    def from_json(value: Any, where: str = "report") -> Report:
        """Read what `to_json` wrote; keys that this version does not know are ignored.

        Raises:
            InputError: It is not a benchmark report, of a newer version, or malformed.
        """
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            raise InputError(f"{where} is not a benchmark report; write one with edgernn bench")
        if value.get("version") != VERSION:
            raise InputError(
                f"{where} has version {value.get('version')!r} of the report format, and this "
                f"edgernn reads {VERSION}; install the edgernn that wrote it"
            )
        try:
            return Report(
                rows=tuple(_row(entry) for entry in _checked(value["rows"], list)),
                environment=_with_objects(value["environment"], "before", "after", "packages"),
                settings=_with_objects(value["settings"], "frame_rates_hz"),
                created_utc=_checked(value["created_utc"], str),
                partial=_checked(value["partial"], bool),
            )
        except (KeyError, TypeError, UsageError) as error:
            raise InputError(
                f"{where} is malformed ({type(error).__name__}: {error}); "
                f"write it again with edgernn bench"
            ) from None

    def save_json(self, path: str | os.PathLike[str]) -> None:
        """Write the report with all samples as one JSON file.

        Raises:
            OutputError: The file cannot be written.
        """
        write_text(path, json.dumps(self.to_json(), allow_nan=False) + "\n")

    @staticmethod
    def load_json(path: str | os.PathLike[str]) -> Report:
        """Read a file that `save_json` wrote.

        Raises:
            InputError: The file is missing, not JSON, or not a report.
        """
        try:
            value = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InputError(f"cannot read {path}: {reason}; name a report's JSON file") from None
        except ValueError:
            raise InputError(f"{path} is not JSON; name a file from edgernn bench") from None
        return Report.from_json(value, str(path))

    def to_markdown(self) -> str:
        """Render a table and a summary for a pull request."""
        from edgernn_benchmarks.report_markdown import to_markdown

        return to_markdown(self)

    def to_html(self) -> str:
        """Render one self-contained page."""
        from edgernn_benchmarks.report_html import to_html

        return to_html(self)

    def save_html(self, path: str | os.PathLike[str]) -> None:
        """Write the page.

        Raises:
            OutputError: The file cannot be written.
        """
        write_text(path, self.to_html())


def _plain(row: Row) -> dict[str, Any]:
    value = {entry.name: getattr(row, entry.name) for entry in fields(row)}
    return {
        name: list(item) if isinstance(item, tuple) else dict(item) if name == "metrics" else item
        for name, item in value.items()
    }


def _row(entry: Any) -> Row:
    kinds = typing.get_type_hints(Row)
    known = {item.name for item in fields(Row)}
    values: dict[str, Any] = {}
    for name, value in _checked(entry, dict).items():
        if name in known:
            values[name] = _converted(value, kinds[name], name)
    row = Row(**values)
    parse(row.scenario)
    timed = bool(row.samples_ns) and row.p50_us is not None
    if row.available and (row.error or not (timed or row.instructions_per_step is not None)):
        raise TypeError(f"row {row.label!r} is marked as measured but has no samples")
    if sum(row.turns) != len(row.samples_ns) or any(turn < 1 for turn in row.turns):
        raise TypeError(f"the turns of row {row.label!r} do not add up to its samples")
    return row


def _converted(value: Any, kind: Any, name: str) -> Any:
    """Check a JSON value against a field's annotation, and make lists into tuples."""
    if isinstance(kind, types.UnionType):
        if value is None:
            return None
        kind = next(option for option in typing.get_args(kind) if option is not type(None))
    origin = typing.get_origin(kind)
    if origin is tuple:
        item = typing.get_args(kind)[0]
        return tuple(_converted(entry, item, name) for entry in _checked(value, list))
    if origin is not None:  # the one mapping, metrics
        numbers = _checked(value, dict)
        return {str(key): _converted(entry, float, name) for key, entry in numbers.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    wrong = not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)
    if wrong or (kind is float and not math.isfinite(value)):
        raise TypeError(f"{name} must be {kind.__name__}, not {value!r:.60}")
    return value


def _with_objects(value: Any, *keys: str) -> dict[str, Any]:
    """Check that a JSON object's values under these keys are objects too, where they are given."""
    found: dict[str, Any] = _checked(value, dict)
    for key in keys:
        _checked(found.get(key) or {}, dict)
    return found


def _checked(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, got {value!r:.60}")
    return value
