"""The verbs as functions. With the command line, the only code that uses every package."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgernn.comparison import Comparison, compare_outputs
from edgernn.drift import Drift, measure_drift
from edgernn.errors import UsageError
from edgernn.extras import needs
from edgernn.sessions import Array, Session
from edgernn.tasks.base import DataSource

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgernn.c_project import CProject
    from edgernn.integer import Ranges
    from edgernn.training.config import ModelConfig, TrainOptions
    from edgernn.training.runs import RunInfo
    from edgernn_benchmarks import Report
    from edgernn_exporters.inspection import Inspection
    from edgernn_exporters.pytorch.export import Exported
    from edgernn_exporters.quantization import Quantized
    from edgernn_exporters.search import SearchResult

PathLike = str | os.PathLike[str]


def train(task: str, config: ModelConfig, options: TrainOptions, **reporting: Any) -> RunInfo:
    """Train a network for a task (see `edgernn.training.train`).

    Example:
        >>> config = ModelConfig("gru", input_size=40, hidden_size=64, output_size=10)
        >>> edgernn.train("keywords", config, TrainOptions(Path("runs/kw")))
    """
    from edgernn.tasks import get_task

    with needs("train"):
        from edgernn.training import train as run_training
    return run_training(get_task(task), config, options, **reporting)


def export(
    module: nn.Module, args: Sequence[Tensor], path: PathLike, *, gate: bool = True, **options: Any
) -> Exported:
    """Export a PyTorch module to ONNX (see `edgernn_exporters.pytorch.export.export`).

    Args:
        module: Module with LSTM, GRU or RNN layers.
        args: Example inputs.
        path: File to write.
        gate: Prove the file against PyTorch before it gets its name.
        **options: ``causal``, ``output_names``, ``opset``, ``tolerance``, ``metadata``.

    Example:
        >>> edgernn.export(model, (torch.zeros(1, 100, 40),), "model.onnx")
    """
    with needs("export"):
        from edgernn_exporters.pytorch.export import export as run_export
    return run_export(module, args, path, load=_one_thread() if gate else None, **options)


def export_run(folder: PathLike, path: PathLike, *, gate: bool = True, **options: Any) -> Exported:
    """Export the best weights of a training run, with its task and preprocessing.

    Example:
        >>> edgernn.api.export_run("runs/kw", "kw.onnx")
    """
    with needs("export"):
        import torch

        from edgernn.training import load_run
    from edgernn.metadata import Metadata

    module, run = load_run(Path(folder))
    metadata = Metadata(task=run.task, preprocessing=run.preprocessing, parent=run.parent)
    example = torch.zeros(1, 50, run.model.input_size)
    return export(module, (example,), path, gate=gate, metadata=metadata, **options)


def quantize(
    source: PathLike,
    path: PathLike,
    *,
    precision: str = "int8-dynamic",
    calibration: PathLike | None = None,
    samples: int | None = None,
    method: str | None = None,
    data: DataSource | None = None,
    layers: Mapping[str, str] | None = None,
    keep: Sequence[str] = (),
    prove: bool = True,
) -> Quantized:
    """Quantize an ONNX file (see `edgernn_exporters.quantization.quantize`).

    Args:
        source: ONNX file in float32.
        path: File to write.
        precision: ``"fp16"``, ``"int8-dynamic"``, ``"int8"``, ``"w8a16"`` or ``"int4"``.
        calibration: What ``int8``, ``w8a16`` and ``int4`` find their ranges on: an npz, recordings
            or ``"task:NAME"``; not needed for a file that was trained with quantization in the
            loop.
        samples: How many sequences of it to run; None for the default.
        method: How ranges are chosen (see `edgernn_exporters.calibration.calibrate`); None for the
            default.
        data: Where the data of ``"task:NAME"`` comes from; None for what the task ships.
        layers: Other precisions by pattern of layer names.
        keep: Patterns of layers that stay float.
        prove: Run the new file before it gets its name.

    Example:
        >>> edgernn.quantize("kw.onnx", "kw.int8.onnx", precision="int8",
        ...                  calibration="task:keywords", layers={"head": "w8a16"}).bytes
    """
    from edgernn_exporters.quantization import quantize as run_quantize

    open_one = _one_thread()
    ranges = None
    if calibration is not None:
        ranges = _calibrated(source, calibration, samples, method, data)
    elif samples is not None or method is not None:
        raise UsageError("samples and method say how to calibrate; give calibration data with them")
    return run_quantize(
        source,
        path,
        precision=precision,
        layers=layers,
        keep=keep,
        ranges=ranges,
        load=open_one if prove else None,
    )


def search(
    source: PathLike,
    path: PathLike,
    task: str | None = None,
    *,
    max_drop: float = 0.005,
    max_flash: int | None = None,
    max_ram: int | None = None,
    max_latency_us: float | None = None,
    max_instructions: int | None = None,
    target: str = "native",
    data: DataSource | None = None,
    calibration: PathLike | None = None,
    samples: int | None = None,
    method: str | None = None,
    **options: Any,
) -> SearchResult:
    """Find the precision of each layer, and write the smallest file within the limits.

    Quality is measured on the task's validation split. What was measured is kept in
    ``PATH.search.jsonl``, so that a search that was stopped goes on.

    Args:
        source: ONNX file in float32.
        path: File to write, if a choice keeps all limits.
        task: Whose data decides; None for the task named in the file.
        max_drop: Loss of the metric: the difference where higher is better, else the relative
            increase.
        max_flash: Bytes of constants in generated C.
        max_ram: Bytes of state and scratch memory in generated C.
        max_latency_us: Time of one step on ``target``.
        max_instructions: Instructions of one step on an emulated ``target``.
        target: What flash and RAM are for, and where a limited step is measured.
        data: Data; None for what the task ships.
        calibration: See `quantize`; None for the ranges in the file, else the training data.
        samples: See `quantize`.
        method: See `quantize`.
        **options: ``precisions``, ``layers``, ``keep``, ``trials``, ``seed``, ``on_progress`` (see
            `edgernn_exporters.search`).

    Returns:
        All that was measured. If nothing keeps the limits, ``chosen`` is None and
        ``require_chosen()`` raises.

    Raises:
        UsageError: The file names no task, or an option does not fit the target.
        TargetUnavailable: The target or optuna is not on this machine.
        Interrupted: The user stopped it; what was measured is kept.

    Example:
        >>> edgernn.api.search("kw.onnx", "kw.auto.onnx", max_drop=0.01).require_chosen().choice
        ('int8', 'int4')
    """
    from edgernn.tasks import task_data
    from edgernn_benchmarks.environment import capture
    from edgernn_benchmarks.step_cost import step_cost
    from edgernn_exporters.search import Judge, Limits
    from edgernn_exporters.search import search as run_search

    metadata, open_one = inspect(source).metadata, _one_thread()
    found, splits = task_data(metadata, str(source), task, data)
    cost = step_cost(target, max_latency_us, max_instructions)
    ranges = None
    if calibration is not None or metadata.ranges is None:
        where = calibration or f"task:{found.name}"
        ranges = _calibrated(source, where, samples, method, data)
    with closing(open_one(Path(source))) as session:
        judge = Judge(found, splits["validation"], session)
    latency = max_instructions if max_latency_us is None else max_latency_us
    return run_search(
        Path(source), Path(path), judge, limits=Limits(max_drop, max_flash, max_ram, latency),
        ranges=ranges, load=open_one, cost=cost, target=target, environment=capture([target]),
        **options,
    )  # fmt: skip


def load(path: PathLike, target: str = "cpu", **options: Any) -> Session:
    """Load a model on a target (see `edgernn_runtimes.load`).

    Example:
        >>> stream = edgernn.load("kw.onnx", "cpu", threads=1).stream()
    """
    from edgernn_runtimes import TARGETS
    from edgernn_runtimes import load as run_load

    if target in TARGETS and TARGETS[target].needs_compile:
        from edgernn_exporters.codegen import compile as generate

        options["compile"] = generate
    return run_load(path, target, **options)


def compile(
    source: PathLike, folder: PathLike, *, target: str = "native", **options: Any
) -> CProject:
    """Turn an ONNX file into a C project (see `edgernn_exporters.codegen.compile`).

    Its self-test holds outputs of ONNX Runtime, where that is installed.

    Args:
        source: ONNX file.
        folder: Folder to write.
        target: What the weights are laid out for.
        **options: ``batch``, ``name``, ``chunk``, ``max_steps``, ``fixed``.

    Example:
        >>> edgernn.compile("kw.int8.onnx", "kw", target="cortex-m4").weight_bytes
    """
    from edgernn_exporters.codegen import compile as generate

    return generate(source, folder, target=target, complete=True, load=_one_thread(), **options)


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
    first, second = _opened(reference, target), _opened(candidate, candidate_target or target)
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
    first, second = _opened(reference, target), _opened(candidate, candidate_target or target)
    return measure_drift(first, second, inputs, steps=steps, **options)


def evaluate(
    path: PathLike | Session,
    task: str | None = None,
    target: str = "cpu",
    *,
    source: DataSource | None = None,
    split: str = "test",
    **options: Any,
) -> dict[str, float]:
    """Measure a task's metric with a model on a target.

    Args:
        path: ONNX file or loaded session.
        task: Name of the task; None for the one named in the file.
        target: Where the file is loaded.
        source: Data; None for what the task ships.
        split: ``"test"``, ``"validation"`` or ``"train"``.
        **options: For the target, such as ``threads=1``.

    Raises:
        UsageError: The task or split is unknown, or the file names no task.
        ModelError: The model was made with other preprocessing than the task has now.

    Example:
        >>> edgernn.evaluate("kw.int8.onnx", "keywords")
        {'accuracy': 0.984}
    """
    from edgernn.tasks import task_data

    session = _opened(path, target, **options)
    where = str(path) if isinstance(path, str | os.PathLike) else "the model"
    found, splits = task_data(session.metadata, where, task, source)
    if split not in splits:
        raise UsageError(f"no split {split!r}; the splits are {', '.join(splits)}")
    return found.score(session.run, splits[split])


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


def _calibrated(
    source: PathLike,
    calibration: PathLike,
    samples: int | None,
    method: str | None,
    data: DataSource | None,
) -> Ranges:
    from edgernn_exporters.calibration import DEFAULT_METHOD, SAMPLES, calibrate_file

    return calibrate_file(
        source,
        calibration,
        method=method or DEFAULT_METHOD,
        samples=SAMPLES if samples is None else samples,
        data_source=data,
        load=_one_thread(),
    )


def _opened(model: PathLike | Session, target: str, **options: Any) -> Session:
    if isinstance(model, str | os.PathLike):
        return load(model, target, **options)
    return model


def _one_thread() -> Any:
    from edgernn_runtimes import load as run_load

    return partial(run_load, target="cpu", threads=1)
