"""The verbs as functions. With the command line, the only code that uses every package."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgernn.comparison import Comparison, compare_outputs
from edgernn.errors import ModelError, TargetUnavailable, UsageError
from edgernn.sessions import Array, Session
from edgernn.tasks.base import DataSource

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgernn.c_project import CProject
    from edgernn.training.config import ModelConfig, TrainOptions
    from edgernn.training.runs import RunInfo
    from edgernn_benchmarks import Report
    from edgernn_exporters.inspection import Inspection
    from edgernn_exporters.quantization import Quantized
    from edgernn_exporters.torch_export import Exported

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
    """Export a PyTorch module to ONNX (see `edgernn_exporters.torch_export.export`).

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
        from edgernn_exporters.torch_export import export as run_export
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
    source: PathLike, path: PathLike, *, precision: str = "int8-dynamic", prove: bool = True
) -> Quantized:
    """Quantize an ONNX file (see `edgernn_exporters.quantization.quantize`).

    Example:
        >>> edgernn.quantize("kw.onnx", "kw.int8.onnx").bytes
    """
    from edgernn_exporters.quantization import quantize as run_quantize

    load_proof = _one_thread() if prove else None
    return run_quantize(source, path, precision=precision, load=load_proof)


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
    from edgernn.tasks import get_task

    session = _opened(path, target, **options)
    where = path if isinstance(path, str | os.PathLike) else "the model"
    name = task or session.metadata.task
    if name is None:
        raise UsageError(f"{where} names no task; say which one with --task")
    here, made = get_task(name).preprocessing(), session.metadata.preprocessing
    if made is not None and dict(made) != here:
        raise ModelError(
            f"{where} was made with other preprocessing than task {name} has now, so its accuracy "
            f"would be wrong; train and export it again, or use the version that made it"
        )
    splits = get_task(name).splits(source or DataSource())
    if split not in splits:
        raise UsageError(f"no split {split!r}; the splits are {', '.join(splits)}")
    return get_task(name).score(session.run, splits[split])


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


def _opened(model: PathLike | Session, target: str, **options: Any) -> Session:
    if isinstance(model, str | os.PathLike):
        return load(model, target, **options)
    return model


def _one_thread() -> Any:
    from edgernn_runtimes import load as run_load

    return partial(run_load, target="cpu", threads=1)


class needs:  # noqa: N801 - used like a function
    """Turn a missing package of an extra into an error that says how to install it."""

    def __init__(self, extra: str) -> None:
        self._extra = extra

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, ImportError):
            raise TargetUnavailable(
                f"package {error.name!r} is missing; install it with: "
                f"pip install 'edgernn[{self._extra},cpu]'"
            ) from None
