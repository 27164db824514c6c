"""Search for the precision of each layer: the verb behind ``edgernn quantize --auto``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgernn.errors import (
    AccuracyGateError,
    InputError,
    Interrupted,
    ModelError,
    UsageError,
)
from edgernn.files import sha256_of, write_bytes
from edgernn.integer import Ranges
from edgernn.model_props import read_metadata
from edgernn.sessions import Session
from edgernn_exporters.quantization.layers import FLOAT
from edgernn_exporters.search.candidates import Candidate, Limits, Measured
from edgernn_exporters.search.explore import Exploration, OnProgress
from edgernn_exporters.search.footprint import footprint
from edgernn_exporters.search.journal import Journal, key_of
from edgernn_exporters.search.judge import Judge
from edgernn_exporters.search.layers import Quantizer, layers_of
from edgernn_exporters.search.result import LayerInfo, SearchResult
from edgernn_exporters.search.space import Choice, Space

JOURNAL_SUFFIX = ".search.jsonl"
TRIALS = 64
PRECISIONS = ("int4", "int8", "w8a16", "int8-dynamic")
_HOSTS = {"cpu", "cuda"}  # where a model runs from its ONNX file


@dataclass(frozen=True)
class Cost:
    """Say how the latency of a model is measured.

    Attributes:
        of: Returns the latency of an ONNX file.
        unit: ``"us"`` or ``"instructions"``.
    """

    of: Callable[[Path], float]
    unit: str


def search(
    source: Path,
    path: Path,
    judge: Judge,
    *,
    limits: Limits,
    ranges: Ranges | None,
    load: Callable[[Path], Session],
    target: str = "native",
    cost: Cost | None = None,
    precisions: Sequence[str] = PRECISIONS,
    layers: Mapping[str, str] | None = None,
    keep: Sequence[str] = (),
    trials: int = TRIALS,
    seed: int = 0,
    environment: Mapping[str, Any] | None = None,
    on_progress: OnProgress = lambda done, total, words: None,
) -> SearchResult:
    """Measure choices of precisions, and write the smallest file within the limits.

    What is measured is kept in ``PATH.search.jsonl``. The same search again goes on there, and
    with other limits it measures only what is missing and what failed.

    Args:
        source: ONNX file in float32.
        path: File to write; it is not written if no choice keeps the limits. It is a copy of the
            source if float32 in all layers is the choice.
        judge: Measures quality on a task's data.
        limits: What the file has to keep.
        ranges: From calibration; None for those in the file.
        load: Opens an ONNX file.
        target: What flash and RAM are for, a key of `edgernn_runtimes.TARGETS`.
        cost: How the latency is measured; None leaves it out.
        precisions: What layers may be quantized to.
        layers: Precision that is fixed for layers, by name pattern.
        keep: Patterns of layers that stay float.
        trials: Choices of several layers to measure at most; if there are not more, all are.
        seed: Of optuna's sampler.
        environment: Goes into the result.
        on_progress: See `explore.OnProgress`.

    Raises:
        UsageError: A precision is unknown, a pattern fits no layer, or a limit is missing its
            measurement.
        ModelError: The file cannot be read, is quantized already, or has nothing to quantize.
        TargetUnavailable: optuna is not installed and the choices are too many to try all.
        Interrupted: The user stopped it; what was measured is kept.
    """
    if limits.latency is not None and cost is None:
        raise UsageError("a limit of the latency needs a target that it can be measured on")
    quantizer = Quantizer(source, ranges, precisions)
    with tempfile.TemporaryDirectory(prefix="edgernn-search-") as folder:
        scratch = Path(folder) / "candidate.onnx"
        found = layers_of(quantizer, scratch, layers or {}, keep)
        journal = Journal(
            path.with_name(path.name + JOURNAL_SUFFIX),
            key_of({
                "version": version("edgernn"), "model": sha256_of(source),
                "data": judge.fingerprint, "ranges": None if ranges is None else ranges.to_json(),
                "target": target, "latency": None if cost is None else cost.unit,
            }),
        )  # fmt: skip
        bench = _Bench(quantizer, found, judge, load, cost, target, journal, scratch)
        run = Exploration(bench.space, bench.measure, limits, trials, seed, on_progress)
        try:
            reference = bench.measure(tuple(FLOAT for _ in found), "one layer")
            if reference.measured is None:
                raise ModelError(f"{source}: the float model cannot be measured: {reference.error}")
            candidates = run.run()
        except (KeyboardInterrupt, Interrupted):  # a benchmark in it turns one into the other
            kept = f", which are kept in {journal.path}" if len(journal) else ""
            raise Interrupted(
                f"stopped with {len(journal) or 'no'} choices measured{kept}; run the same "
                f"command again to go on"
            ) from None
    metadata = read_metadata(source)
    result = SearchResult(
        model=source.name,
        model_sha256=sha256_of(source),
        metric=judge.metric.name,
        higher_is_better=judge.metric.higher_is_better,
        examples=judge.examples,
        reference=reference.measured,
        layers=found,
        candidates=tuple(candidates),
        limits=limits,
        target=target,
        latency_unit=None if cost is None else cost.unit,
        settings={
            "task": judge.task,
            "precisions": list(quantizer.precisions),
            "trials": trials,
            "seed": seed,
            "every_choice": bench.space.size == len(candidates),
            "unproven": metadata.unproven if metadata else None,
        },
        environment=environment or {},
        reused=sum(item.choice not in bench.fresh for item in candidates),
    )
    chosen = result.chosen
    if chosen is not None and chosen.is_float:
        write_bytes(path, source.read_bytes())
    elif chosen is not None:
        quantizer.write(result.space.by_layer(chosen.choice), path, load=load)
    return result


class _Bench:
    """Measure choices, which are then in ``fresh``, or find them in the journal."""

    def __init__(
        self, quantizer: Quantizer, layers: Mapping[str, LayerInfo], judge: Judge,
        load: Callable[[Path], Session], cost: Cost | None, target: str, journal: Journal,
        scratch: Path,
    ) -> None:  # fmt: skip
        self.space = Space({name: info.options for name, info in layers.items()})
        self._quantizer, self._judge, self._load = quantizer, judge, load
        self._cost, self._journal, self._scratch = cost, journal, scratch
        self._layout = "native" if target in _HOSTS else target
        self.fresh: set[Choice] = set()

    def measure(self, choice: Choice, origin: str) -> Candidate:
        by_layer = self.space.by_layer(choice)
        known = self._journal.find(by_layer, choice, origin)
        if known is not None:
            return known
        self.fresh.add(choice)
        try:
            candidate = Candidate(choice, origin, self._measured(by_layer))
        except (ModelError, AccuracyGateError, InputError) as error:
            words = str(error).replace(f"{self._scratch}: ", "").splitlines()[0]
            candidate = Candidate(choice, origin, None, words)
        self._journal.keep(by_layer, candidate)
        return candidate

    def _measured(self, by_layer: Mapping[str, str]) -> Measured:
        path = self._quantizer.source
        if set(by_layer.values()) != {FLOAT}:
            path = self._scratch
            self._quantizer.write(by_layer, path, load=None)
        with closing(self._load(path)) as session:
            judged = self._judge(session)
        size = footprint(path, self._layout)
        latency, note = None, size.note
        if self._cost is not None:
            try:
                latency = self._cost.of(path)
            except ModelError as error:
                note = note or f"not measured on the target ({str(error).splitlines()[0]})"
        return Measured(
            metric=judged.metric,
            drop=judged.drop,
            noise=judged.noise,
            weight_bytes=size.weight_bytes,
            flash_bytes=size.flash_bytes,
            ram_bytes=size.ram_bytes,
            latency=latency,
            note=note,
        )
