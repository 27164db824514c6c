"""The verbs that make files: train, export, import, quantize, search, compile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgernn.api.opening import PathLike, encoder_name, encoder_of, one_thread, plain
from edgernn.api.running import inspect
from edgernn.errors import UsageError
from edgernn.extras import needs
from edgernn.tasks.base import END, START, DataSource

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import nn

    from edgernn.c_project import CProject
    from edgernn.integer import Ranges
    from edgernn.sessions import Array
    from edgernn.training.config import ModelConfig, TrainOptions
    from edgernn.training.runs import RunInfo
    from edgernn_exporters.onnx_import.importing import Imported
    from edgernn_exporters.pytorch.export import Exported
    from edgernn_exporters.pytorch.pair import ExportedPair
    from edgernn_exporters.quantization import Quantized
    from edgernn_exporters.search import SearchResult


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
    module: nn.Module, args: Sequence[Any], path: PathLike, *, gate: bool = True, **options: Any
) -> Exported:
    """Export a PyTorch module to ONNX (see `edgernn_exporters.pytorch.export.export`).

    Args:
        module: Module with LSTM, GRU or RNN layers.
        args: Example inputs: tensors, or tuples, lists and dicts of tensors.
        path: File to write.
        gate: Prove the file against PyTorch before it gets its name; without it the file says that
            it is unproven.
        **options: ``kwargs``, ``causal``, ``axes``, ``states``, ``output_names``, ``opset``,
            ``tolerance``, ``metadata``.

    Example:
        >>> edgernn.export(model, (torch.zeros(1, 100, 40),), "model.onnx")
    """
    with needs("export"):
        from edgernn_exporters.pytorch.export import export as run_export
    return run_export(module, args, path, load=one_thread() if gate else None, **options)


def export_run(
    folder: PathLike, path: PathLike, *, gate: bool = True, **options: Any
) -> Exported | ExportedPair:
    """Export the best weights of a training run, with its task and preprocessing.

    A network that writes sequences becomes two files, the decoder at ``path`` and the encoder
    beside it (see `encoder_of`).

    Example:
        >>> edgernn.api.export_run("runs/kw", "kw.onnx")
    """
    with needs("export"):
        from edgernn.training import load_run
        from edgernn.training.models import example_inputs
        from edgernn.training.translation import TranslationModel
    from edgernn.metadata import Metadata

    module, run = load_run(Path(folder))
    metadata = Metadata(task=run.task, preprocessing=run.preprocessing, parent=run.parent)
    args = example_inputs(module)
    if isinstance(module, TranslationModel):
        return export_pair(
            module.encoder, module.decoder, args, module.decoder_example(),
            encoder_name(path), path,
            gate=gate, metadata=metadata, start=START, end=END, **options,
        )  # fmt: skip
    return export(module, args, path, gate=gate, metadata=metadata, **options)


def export_pair(
    encoder: nn.Module,
    decoder: nn.Module,
    encoder_args: Sequence[Any],
    decoder_args: Sequence[Any],
    path_encoder: PathLike,
    path_decoder: PathLike,
    *,
    gate: bool = True,
    **options: Any,
) -> ExportedPair:
    """Export an encoder and its decoder (see `edgernn_exporters.pytorch.pair.export_pair`).

    Args:
        encoder: Module that returns memory and first states, best as a dict.
        decoder: Module of one step: ``forward(token, *memory, *states)``.
        encoder_args: Example inputs of the encoder.
        decoder_args: Example arguments of the decoder.
        path_encoder: File to write.
        path_decoder: File to write.
        gate: Prove both files, and the two together, before they get their names.
        **options: ``links``, ``start``, ``end``, ``output_names``, ``metadata``, ….

    Example:
        >>> edgernn.export_pair(encoder, decoder, (words,), (token, memory, state),
        ...                     "encoder.onnx", "decoder.onnx", start=1, end=2)
        >>> pair = edgernn.open_pair("encoder.onnx", "decoder.onnx")
    """
    with needs("export"):
        from edgernn_exporters.pytorch.pair import export_pair as run_export
    load = one_thread() if gate else None
    return run_export(
        encoder, decoder, encoder_args, decoder_args, path_encoder, path_decoder, load=load,
        **options,
    )  # fmt: skip


def import_onnx(
    source: PathLike,
    path: PathLike,
    *,
    fix: Mapping[str, ArrayLike] | None = None,
    states: Mapping[str, str] | None = None,
    inputs: Mapping[str, Array] | None = None,
    gate: bool = True,
    **options: Any,
) -> Imported:
    """Write an ONNX file of another program in the form that the toolkit works with.

    See `edgernn_exporters.onnx_import.importing.import_onnx`.

    Args:
        source: ONNX file.
        path: File to write.
        fix: Values of inputs that become constants, and sizes of dynamic axes, by name.
        states: Names of state outputs by those of their inputs, where the inference needs help.
        inputs: Inputs for the proof, beside random ones.
        gate: Prove that both files compute the same before the new one gets its name.
        **options: ``confirm``, ``limits``.

    Example:
        >>> edgernn.import_onnx("vad.onnx", "clean.onnx", fix={"sr": 16000}).metadata.contract
    """
    from edgernn_exporters.onnx_import.importing import import_onnx as run_import
    from edgernn_exporters.onnx_import.proof import Runtimes

    runtimes = Runtimes(plain=plain(), load=one_thread()) if gate else None
    return run_import(
        source, path, fixes=fix, states=states, inputs=inputs, runtimes=runtimes, **options
    )


def quantize(
    source: PathLike,
    path: PathLike,
    *,
    precision: str = "int8-dynamic",
    calibration: PathLike | None = None,
    samples: int | None = None,
    method: str | None = None,
    data: DataSource | None = None,
    encoder: PathLike | None = None,
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
        encoder: Of a decoder that is calibrated; None for ``NAME.encoder.onnx`` beside it.
        layers: Other precisions by pattern of layer names.
        keep: Patterns of layers that stay float.
        prove: Run the new file before it gets its name.

    Example:
        >>> edgernn.quantize("kw.onnx", "kw.int8.onnx", precision="int8",
        ...                  calibration="task:keywords", layers={"head": "w8a16"}).bytes
    """
    from edgernn_exporters.quantization import quantize as run_quantize

    open_one = one_thread()
    ranges = None
    if calibration is not None:
        ranges = _calibrated(source, calibration, samples, method, data, encoder)
    elif samples is not None or method is not None or encoder is not None:
        raise UsageError(
            "samples, method and encoder say how to calibrate; give calibration data with them"
        )
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
        UsageError: The file names no task or is a decoder, or an option does not fit the target.
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

    metadata, open_one = inspect(source).metadata, one_thread()
    if metadata.pair is not None:
        raise UsageError(
            f"{source} is the decoder of a pair, which is not searched for; choose the precisions "
            f"of its layers with --layer"
        )
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

    return generate(source, folder, target=target, complete=True, load=one_thread(), **options)


def _calibrated(
    source: PathLike,
    calibration: PathLike,
    samples: int | None,
    method: str | None,
    data: DataSource | None,
    encoder: PathLike | None = None,
) -> Ranges:
    from edgernn_exporters.calibration import DEFAULT_METHOD, SAMPLES, calibrate_file

    return calibrate_file(
        source,
        calibration,
        method=method or DEFAULT_METHOD,
        samples=SAMPLES if samples is None else samples,
        data_source=data,
        encoder=encoder or encoder_of(source),
        load=one_thread(),
    )
