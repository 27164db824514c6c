"""Results of searches, written down instead of measured."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

from edgernn_benchmarks.environment import capture
from edgernn_exporters.search import Candidate, Limits, Measured, SearchResult
from edgernn_exporters.search.result import LayerInfo

BITS = {"int4": 0.5, "int8": 1.0, "float32": 4.0}
NOISE = {"int4": 3e-2, "int8": 1e-4, "float32": 0.0}


def search_result(
    limits: Limits, layers: tuple[str, ...] = ("rnn", "head"), **change: object
) -> SearchResult:
    candidates = []
    for choice in product(BITS, repeat=len(layers)):
        noise = sum(NOISE[p] * (index + 1) for index, p in enumerate(choice))
        size = int(sum(1000 * BITS[p] for p in choice))
        measured = Measured(0.95 - noise, noise, noise, size, size, 500, 10.0 + size / 1000)
        candidates.append(Candidate(choice, "every choice", measured))
    result = SearchResult(
        model="kw.onnx",
        model_sha256="0" * 64,
        metric="accuracy",
        higher_is_better=True,
        examples=60,
        reference=Measured(0.95, 0.0, 0.0, 8000, 8000, 500, 18.0),
        layers={name: LayerInfo("GRU", 4000, tuple(BITS)) for name in layers},
        candidates=tuple(candidates),
        limits=limits,
        target="cortex-m4",
        latency_unit="us",
        settings={"task": "keywords", "seed": 0, "every_choice": True},
        environment=capture(),
    )
    return replace(result, **change)  # type: ignore[arg-type]
