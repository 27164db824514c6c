"""A search's result in words: measurements, limits, and why each layer got its precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgernn_exporters.quantization.layers import FLOAT
from edgernn_exporters.search.candidates import Candidate, Limits, Measured

if TYPE_CHECKING:
    from edgernn_exporters.search.result import SearchResult
    from edgernn_exporters.search.sensitivity import Sensitivity


@dataclass(frozen=True)
class Explained:
    """Say what one layer got, and why.

    Attributes:
        layer: The layer's name.
        operator: ONNX operator.
        precision: What it got.
        float_bytes: Its constants in float32.
        bytes: Its constants as they are now; None where that was not measured.
        alone: What this precision does with every other layer in float; None for float.
        why: One sentence.
    """

    layer: str
    operator: str
    precision: str
    float_bytes: int
    bytes: int | None
    alone: Sensitivity | None
    why: str


def explain(result: SearchResult, chosen: Candidate) -> list[Explained]:
    """Explain a candidate layer by layer, from what else was measured."""
    alone = {(item.layer, item.precision): item for item in result.sensitivities}
    saved_bytes = {key: item.saved_bytes or 0 for key, item in alone.items()}
    rows = []
    for layer, precision in result.space.by_layer(chosen.choice).items():
        info = result.layers[layer]
        single = alone.get((layer, precision))
        saved = 0 if precision == FLOAT else single.saved_weight_bytes if single else None
        rows.append(
            Explained(
                layer,
                info.operator,
                precision,
                info.float_bytes,
                None if saved is None else max(info.float_bytes - saved, 0),
                single,
                _why(result, chosen, layer, saved_bytes),
            )
        )
    return rows


def _why(
    result: SearchResult,
    chosen: Candidate,
    layer: str,
    saved: Mapping[tuple[str, str], int],
) -> str:
    """Say what became of the precisions with fewer bytes, all other layers as chosen."""
    if len(result.layers[layer].options) == 1:
        return "fixed"
    measured = {item.choice: item for item in result.candidates}
    mine = saved.get((layer, result.space.by_layer(chosen.choice)[layer]), 0)
    found = []
    for changed, choice in result.space.changes(chosen.choice):
        precision = result.space.by_layer(choice)[layer]
        other = measured.get(choice)
        if changed != layer:
            continue
        if other is None:
            if saved.get((layer, precision), 0) > mine:
                found.append(f"{precision}: not measured")
        elif other.measured is None:
            found.append(f"{precision}: failed")
        elif chosen.measured and other.measured.flash_bytes < chosen.measured.flash_bytes:
            found.append(f"{precision}: {misses(other.measured, result.limits, result)}")
    return "; ".join(found) or "smallest"


def describe(candidate: Candidate, result: SearchResult) -> str:
    """Name a choice, such as ``rnn int8, linear float32``; a precision once if all have it."""
    by_layer = result.space.by_layer(candidate.choice)
    if len(set(by_layer.values())) == 1:
        return f"all {candidate.choice[0]}"
    counts = {p: [n for n, q in by_layer.items() if q == p] for p in by_layer.values()}
    most = max(counts, key=lambda precision: len(counts[precision]))
    if len(counts[most]) > 2:
        others = [f"{name} {p}" for name, p in by_layer.items() if p != most]
        return f"{', '.join(others)}, else {most}"
    return ", ".join(f"{name} {precision}" for name, precision in by_layer.items())


def misses(measured: Measured, limits: Limits, result: SearchResult) -> str:
    """Say by how much limits are exceeded; what is not exceeded is not named."""
    exceeded = limits.exceeded(measured)
    if not exceeded:
        return "within all limits"
    parts = []
    for name in exceeded:
        value, limit = getattr(measured, name), getattr(limits, name)
        words = _WORDS[name]
        has = "unknown" if value is None else _value(name, value, result)
        parts.append(f"{words} {has} (allowed {_value(name, limit, result)})")
    note = f": {measured.note}" if measured.ram_bytes is None and "ram_bytes" in exceeded else ""
    return ", ".join(parts) + note


def in_words(limits: Limits, result: SearchResult) -> str:
    """Name all limits, such as ``drop 0.5 %, flash 16.0 kB``."""
    given = [
        f"{words} {_value(name, getattr(limits, name), result)}"
        for name, words in _WORDS.items()
        if getattr(limits, name) is not None
    ]
    return ", ".join(given)


def drop_in_words(drop: float) -> str:
    """Render a drop in percent, such as ``0.56 %``; a gain has a minus."""
    return f"{round(drop * 100, 2) + 0.0:g} %"


def bytes_in_words(count: int) -> str:
    """Render a size in units of 1000 bytes."""
    if count < 1000:
        return f"{count} B"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1e6:.2f} MB"


def latency_in_words(value: float, unit: str | None) -> str:
    """Render microseconds or instructions."""
    return f"{value:.1f} µs" if unit == "us" else f"{value:,.0f} instructions"


def notes(result: SearchResult) -> list[str]:
    """Say what a reader must know about the numbers."""
    lines = []
    if unproven := result.settings.get("unproven"):
        lines.append(f"{result.model} is unproven: {unproven}")
    if result.chosen is not None and result.chosen.is_float:
        lines.append(
            f"float32 is the answer: no quantized choice keeps {in_words(result.limits, result)} "
            f"with less flash; the file is the float32 file itself"
        )
    if result.higher_is_better and result.limits.drop * result.examples < 1:
        lines.append(
            f"{result.metric} is measured on {result.examples} examples: one of them is "
            f"{drop_in_words(1 / result.examples)}, more than the drop allowed; a larger "
            f"validation split would tell more (--data)"
        )
    uncompiled = [item for item in result.candidates if item.measured and item.measured.note]
    reasons = dict.fromkeys(item.measured.note for item in uncompiled if item.measured)
    for reason in reasons:
        count = sum(1 for item in uncompiled if item.measured and item.measured.note == reason)
        lines.append(f"{count} of {len(result.candidates)} choices {reason}")
    failed = dict.fromkeys(item.error for item in result.candidates if item.error)
    for error in failed:
        count = sum(1 for item in result.candidates if item.error == error)
        lines.append(f"{count} of {len(result.candidates)} choices failed: {error}")
    lines += _unquantized(result)
    return lines


def _unquantized(result: SearchResult) -> Sequence[str]:
    return [
        f"{name} stays float: {'; '.join(dict.fromkeys(info.reasons.values()))}"
        for name, info in result.layers.items()
        if info.options == (FLOAT,) and info.reasons
    ]


@dataclass(frozen=True)
class Column:
    """One column of a table of candidates.

    Attributes:
        head: Title.
        name: Field of `Measured`, or a property.
        show: Renders a candidate's value.
        applies: Whether the result has it.
    """

    head: str
    name: str
    show: Callable[[Measured, SearchResult], str]
    applies: Callable[[SearchResult], bool] = lambda result: True


COLUMNS = (
    Column("metric", "metric", lambda m, result: f"{m.metric:.4f}"),
    Column("drop", "drop", lambda m, result: drop_in_words(m.drop)),
    Column("SQNR", "sqnr_db", lambda m, result: f"{m.sqnr_db:.1f} dB" if m.noise else "exact"),
    Column("flash", "flash_bytes", lambda m, result: bytes_in_words(m.flash_bytes)),
    Column(
        "RAM", "ram_bytes",
        lambda m, result: "–" if m.ram_bytes is None else bytes_in_words(m.ram_bytes),
    ),
    Column(
        "step, µs", "latency",
        lambda m, result: "–" if m.latency is None else f"{m.latency:.1f}",
        lambda result: result.latency_unit == "us",
    ),
    Column(
        "instructions", "latency",
        lambda m, result: "–" if m.latency is None else f"{m.latency:,.0f}",
        lambda result: result.latency_unit == "instructions",
    ),
)  # fmt: skip

_WORDS = {"drop": "drop", "flash_bytes": "flash", "ram_bytes": "RAM", "latency": "step"}


def _value(name: str, value: float, result: SearchResult) -> str:
    if name == "drop":
        return drop_in_words(value)
    if name == "latency":
        return latency_in_words(value, result.latency_unit)
    return bytes_in_words(int(value))
