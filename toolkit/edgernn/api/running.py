"""The verbs that look at models and run them: inspect, compare, drift, evaluate, benchmark."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from edgernn.api.opening import PathLike, encoder_of, load, open_pair, opened
from edgernn.comparison import Comparison, compare_outputs
from edgernn.decoding import as_symbols, greedy
from edgernn.drift import Drift, measure_drift
from edgernn.errors import UsageError
from edgernn.pairs import Pair, lone_decoder
from edgernn.sessions import Array, Arrays, Session
from edgernn.tasks.base import LONGEST, DataSource

if TYPE_CHECKING:
    from edgernn_benchmarks import Report
    from edgernn_exporters.inspection import Inspection


def inspect(path: PathLike) -> Inspection:
    """Read what an ONNX file is (see `edgernn_exporters.inspection.inspect`).

    Example:
        >>> edgernn.inspect("kw.onnx").states
    """
    from edgernn_exporters.inspection import inspect as run_inspect

    return run_inspect(path)


def compare(
    reference: PathLike | Session,
    candidate: PathLike | Session,
    inputs: Mapping[str, Array],
    *,
    target: str = "cpu",
    candidate_target: str | None = None,
) -> Comparison:
    """Run two models on the same inputs and measure the distance of their outputs.

    Args:
        reference: ONNX file or loaded session.
        candidate: Likewise.
        inputs: Arrays by name.
        target: Where files are loaded.
        candidate_target: Another target for the candidate.

    Example:
        >>> edgernn.compare("kw.onnx", "kw.int8.onnx", {"x": features}).max_abs_error
    """
    first, second = opened(reference, target), opened(candidate, candidate_target or target)
    contract = first.metadata.contract
    axes = contract.stream.outputs if contract else None
    return compare_outputs(first.run(inputs), second.run(inputs), axes)


def drift(
    reference: PathLike | Session,
    candidate: PathLike | Session,
    inputs: Mapping[str, Array],
    *,
    steps: int | None = None,
    target: str = "cpu",
    candidate_target: str | None = None,
    **options: Any,
) -> Drift:
    """Run two models side by side over a long stream, and tell whether their distance grows.

    Args:
        reference: ONNX file or loaded session.
        candidate: Likewise.
        inputs: Arrays by name, repeated as often as it takes.
        steps: Time steps to run; None for as many as are given.
        target: Where files are loaded.
        candidate_target: Another target for the candidate.
        **options: ``progress`` (see `edgernn.drift.measure_drift`).

    Example:
        >>> edgernn.api.drift("kw.onnx", "kw.int8.onnx", {"x": features}, steps=1_000_000).verdict
    """
    first, second = opened(reference, target), opened(candidate, candidate_target or target)
    return measure_drift(first, second, inputs, steps=steps, **options)


def evaluate(
    path: PathLike | Session | Pair,
    task: str | None = None,
    target: str = "cpu",
    *,
    source: DataSource | None = None,
    split: str = "test",
    **options: Any,
) -> dict[str, float]:
    """Measure a task's metric with a model on a target.

    Args:
        path: ONNX file, loaded session or opened pair; a decoder's file opens the pair with the
            encoder beside it (see `encoder_of`).
        task: Name of the task; None for the one named in the file.
        target: Where the file is loaded.
        source: Data; None for what the task ships.
        split: ``"test"``, ``"validation"`` or ``"train"``.
        **options: For the target, such as ``threads=1``.

    Raises:
        UsageError: The task or split is unknown, the file names no task, or is a decoder without
            its encoder.
        ModelError: The model was made with other preprocessing than the task has now.

    Example:
        >>> edgernn.evaluate("kw.int8.onnx", "keywords")
        {'accuracy': 0.984}
    """
    from edgernn.tasks import task_data

    model: Session | Pair
    if not isinstance(path, str | os.PathLike):
        model, where = path, "the model"
    elif (encoder := encoder_of(path)) is None:
        model, where = load(path, target, **options), str(path)
    else:
        model, where = open_pair(encoder, path, target, **options), str(path)
    session = model.encoder if isinstance(model, Pair) else model
    if session.metadata.pair is not None:
        raise lone_decoder(where)
    found, splits = task_data(session.metadata, where, task, source)
    if split not in splits:
        raise UsageError(f"no split {split!r}; the splits are {', '.join(splits)}")
    run = partial(_written, model) if isinstance(model, Pair) else session.run
    return found.score(run, splits[split])


def _written(pair: Pair, inputs: Mapping[str, Array]) -> Arrays:
    """Return what a pair writes for each row, as symbols ``y [B, L]``."""
    found = greedy(pair, inputs, max_steps=LONGEST)
    return {"y": as_symbols([row.tokens for row in found])}


def benchmark(
    paths: Sequence[PathLike],
    targets: Sequence[str] = ("cpu",),
    scenarios: Sequence[str] = ("step",),
    **options: Any,
) -> Report:
    """Measure models on targets (see `edgernn_benchmarks.benchmark`).

    Example:
        >>> edgernn.benchmark(["kw.onnx"], ["cpu"], ["step"]).save_html("report.html")
    """
    from edgernn_benchmarks import benchmark as run_benchmark

    return run_benchmark(paths, targets, scenarios, **options)
