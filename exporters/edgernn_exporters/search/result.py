"""The result of a search, as plain values and back.

The JSON form is one object with ``schema``, ``version`` and the fields of `SearchResult`;
``front``, ``chosen`` and ``sensitivities`` are derived from the candidates, and stored for readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgernn.errors import AccuracyGateError, InputError, PerformanceGateError
from edgernn_exporters.search.candidates import (
    Candidate,
    Limits,
    Measured,
    choose,
    measured_from_json,
    nearest,
    pareto_front,
)
from edgernn_exporters.search.sensitivity import Sensitivity, sensitivities
from edgernn_exporters.search.space import Space
from edgernn_exporters.search.words import describe, in_words, misses

SCHEMA = "edgernn-search"
VERSION = 1


@dataclass(frozen=True)
class LayerInfo:
    """Describe one layer of the float model.

    Attributes:
        operator: ONNX operator.
        float_bytes: Its constants in float32.
        options: Precisions that it may have.
        reasons: Why it cannot have others, by precision.
    """

    operator: str
    float_bytes: int
    options: tuple[str, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchResult:
    """Hold everything that was measured.

    Attributes:
        model: File name of the float model.
        model_sha256: Of that file.
        metric: Name of the task's metric.
        higher_is_better: Its direction.
        examples: Number of examples it is measured on.
        reference: The float model, measured likewise.
        layers: By name, in the order of `Candidate.choice`.
        candidates: In the order in which they were measured.
        limits: What the chosen one has to keep.
        target: What flash and RAM are for, and where the latency is measured.
        latency_unit: ``"us"`` or ``"instructions"``; None if latency was not measured.
        settings: How it was searched: task, trials, seed, whether every choice was measured …
        environment: What it ran on.
        reused: How many of the candidates an earlier search had measured.
    """

    model: str
    model_sha256: str
    metric: str
    higher_is_better: bool
    examples: int
    reference: Measured
    layers: Mapping[str, LayerInfo]
    candidates: tuple[Candidate, ...]
    limits: Limits
    target: str
    latency_unit: str | None
    settings: Mapping[str, Any]
    environment: Mapping[str, Any] = field(default_factory=dict)
    reused: int = field(default=0, compare=False)

    @property
    def space(self) -> Space:
        """What could be chosen."""
        return Space({name: info.options for name, info in self.layers.items()})

    @property
    def front(self) -> list[Candidate]:
        """The quantized candidates on the Pareto front, the smallest first."""
        quantized = [item for item in self.candidates if not item.is_float]
        return pareto_front(quantized, self.limits)

    @property
    def chosen(self) -> Candidate | None:
        """The smallest candidate within the limits; None if there is none."""
        return choose(self.candidates, self.limits)

    @property
    def sensitivities(self) -> list[Sensitivity]:
        """What each layer does alone."""
        return sensitivities(self.space, {item.choice: item for item in self.candidates})

    def require_chosen(self) -> Candidate:
        """Return the chosen candidate.

        Raises:
            AccuracyGateError: Candidates keep the limits of size and speed, but none of them that
                of the drop; or nothing could be measured.
            PerformanceGateError: No candidate keeps the limits of size and speed.
        """
        found = self.chosen
        if found is not None:
            return found
        near = nearest(self.candidates, self.limits)
        if not near:
            errors = dict.fromkeys(item.error for item in self.candidates if item.error)
            raise AccuracyGateError(
                f"{self.model}: no choice of precisions could be measured: {'; '.join(errors)}"
            )
        lines = [f"{self.model}: no choice of precisions keeps {in_words(self.limits, self)}"]
        for item in near:
            assert item.measured is not None
            lines.append(
                f"  nearest: {describe(item, self)}: {misses(item.measured, self.limits, self)}"
            )
        fits = [
            item for item in self.candidates if item.measured is not None
            and self.limits.exceeded(item.measured) == ["drop"]
        ]  # fmt: skip
        if fits:
            lines.append("  allow a larger --max-drop, or train with quantization in the loop")
            raise AccuracyGateError("\n".join(lines))
        lines.append("  loosen the limit that is exceeded, or train a smaller network")
        raise PerformanceGateError("\n".join(lines))

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        chosen = self.chosen
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "metric": self.metric,
            "higher_is_better": self.higher_is_better,
            "examples": self.examples,
            "reference": asdict(self.reference),
            "limits": asdict(self.limits),
            "target": self.target,
            "latency_unit": self.latency_unit,
            "settings": dict(self.settings),
            "environment": dict(self.environment),
            "reused": self.reused,
            "layers": {name: asdict(info) for name, info in self.layers.items()},
            "candidates": [self._entry(item) for item in self.candidates],
            "sensitivities": [asdict(item) for item in self.sensitivities],
            "front": [self.candidates.index(item) for item in self.front],
            "chosen": None if chosen is None else self.candidates.index(chosen),
        }

    def _entry(self, item: Candidate) -> dict[str, Any]:
        measured = None if item.measured is None else asdict(item.measured)
        choice = self.space.by_layer(item.choice)
        return {"choice": choice, "origin": item.origin, "measured": measured, "error": item.error}

    @staticmethod
    def from_json(value: Any, where: str = "result") -> SearchResult:
        """Read what `to_json` returned.

        Raises:
            InputError: It is not a search's result, of another version, or malformed.
        """
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            raise InputError(
                f"{where} is not the result of a search; write one with edgernn quantize --auto "
                f"--json"
            )
        if value.get("version") != VERSION:
            raise InputError(
                f"{where} has version {value.get('version')!r} of the format, and this edgernn "
                f"reads {VERSION}; install the edgernn that wrote it"
            )
        try:
            return _read(value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{where} is malformed ({type(error).__name__}: {error}); write it again with "
                f"edgernn quantize --auto --json"
            ) from None


def _read(value: dict[str, Any]) -> SearchResult:
    layers = {
        str(name): LayerInfo(**{**info, "options": tuple(info["options"])})
        for name, info in value["layers"].items()
    }
    candidates = []
    for entry in value["candidates"]:
        measured = entry["measured"]
        choice = tuple(str(entry["choice"][name]) for name in layers)
        known = None if measured is None else measured_from_json(measured)
        candidates.append(Candidate(choice, str(entry["origin"]), known, str(entry["error"])))
    unit = value["latency_unit"]
    return SearchResult(
        model=str(value["model"]),
        model_sha256=str(value["model_sha256"]),
        metric=str(value["metric"]),
        higher_is_better=bool(value["higher_is_better"]),
        examples=int(value["examples"]),
        reference=measured_from_json(value["reference"]),
        layers=layers,
        candidates=tuple(candidates),
        limits=Limits(**value["limits"]),
        target=str(value["target"]),
        latency_unit=None if unit is None else str(unit),
        settings=dict(value["settings"]),
        environment=dict(value["environment"]),
        reused=int(value["reused"]),
    )
