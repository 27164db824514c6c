"""Export a PyTorch module to one ONNX graph with explicit state and a state contract."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.errors import AccuracyGateError, InputError, ModelError
from edgernn.files import replacing
from edgernn.metadata import Metadata
from edgernn.sessions import Array, Arrays, Session
from edgernn_exporters.gate import GateResult, Shapes, gate
from edgernn_exporters.onnx_files import save_model
from edgernn_exporters.torch_recurrent import TRANSLATIONS
from edgernn_exporters.torch_streaming import StreamingModule, flatten_outputs, recurrent_layers

OPSET = 20
Load = Callable[[Path], Session]


@dataclass(frozen=True)
class Exported:
    """Say what an export wrote.

    Attributes:
        path: The ONNX file.
        metadata: The metadata in it, state contract included.
        gate: Result of the export gate, or None if it was not run.
    """

    path: Path
    metadata: Metadata
    gate: GateResult | None


def export(
    module: nn.Module,
    args: Sequence[Tensor],
    path: str | os.PathLike[str],
    *,
    load: Load | None,
    causal: bool | None = None,
    metadata: Metadata | None = None,
    output_names: Sequence[str] | None = None,
    opset: int = OPSET,
    tolerance: float = 1e-5,
) -> Exported:
    """Write a module as ONNX with dynamic batch and time axes and its states made explicit.

    The states of ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN`` layers become inputs ``PATH.h_l0`` (and
    ``.c_l0``) of shape ``[D, batch, H]`` and outputs of the same name with ``.next``.

    Args:
        module: Any module whose forward takes tensors by position and calls its recurrent layers
            without an initial state.
        args: Example inputs; batch and time axes follow the layers' ``batch_first``.
        path: File to write; it appears only after the gate has passed.
        load: Opens the written file for the gate; None leaves the gate out.
        causal: False for a module that looks at later inputs, and so can only run whole
            sequences. None means causal unless a layer is bidirectional.
        metadata: Task, preprocessing and parent to store with the contract.
        output_names: Names instead of ``y``, or ``y0``, ``y1``, ….
        opset: ONNX operator set version.
        tolerance: Limit of the gate (see `edgernn_exporters.gate.gate`).

    Raises:
        ModelError: The module cannot be exported; names the layer and the reason.
        InputError: The example inputs do not fit the module.
        AccuracyGateError: The exported graph is not the same function.
        OutputError: The file cannot be written.
    """
    module = module.eval()
    layers = recurrent_layers(module)
    if not layers:
        raise ModelError(
            f"{type(module).__name__} has no nn.LSTM, nn.GRU or nn.RNN layer, so there is no "
            f"state to export; use torch.onnx.export for such models"
        )
    traced = _describe(module, tuple(args), layers, output_names)
    model, states = _trace(module, traced, opset)
    bidirectional = any(layer.bidirectional for layer in layers.values())
    if causal and bidirectional:
        raise ModelError("causal=True, but a layer is bidirectional and looks at later inputs")
    contract = Contract(
        states=states,
        stream=StreamSpec(
            causal=not bidirectional if causal is None else causal,
            inputs=dict(zip(traced.input_names, traced.input_axes, strict=True)),
            outputs=dict(zip(traced.output_names, traced.output_axes, strict=True)),
        ),
    )
    tools = {"torch": torch.__version__.split("+")[0], "onnx": onnx.__version__}
    tools["edgernn"] = version("edgernn")
    metadata = replace(metadata or Metadata(), contract=contract, tools=tools)
    result = None
    with replacing(path) as temporary:
        save_model(model, metadata, temporary)
        if load is not None:
            result = _gate(load(temporary), module, traced, tolerance)
            passed = {"cases": result.cases, "tolerance": result.tolerance}
            passed["max_error"] = float(f"{result.max_error:.3g}")
            metadata = replace(metadata, gate=passed)
            save_model(model, metadata, temporary)
    return Exported(Path(path), metadata, result)


@dataclass(frozen=True)
class _Traced:
    """What is known of a module's inputs and outputs before it is traced."""

    args: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    input_axes: tuple[Axes, ...]
    output_names: tuple[str, ...]
    output_axes: tuple[Axes, ...]
    batch: int
    length: int


def _describe(
    module: nn.Module,
    args: tuple[Tensor, ...],
    layers: Mapping[str, nn.RNNBase],
    output_names: Sequence[str] | None,
) -> _Traced:
    batch_first = next(iter(layers.values())).batch_first
    batch_axis, time_axis = (0, 1) if batch_first else (1, 0)
    first = args[0]
    if first.ndim < 2:
        raise InputError(
            f"the first example input has shape {list(first.shape)}; it needs a batch and a "
            f"time axis, such as [1, 100, {next(iter(layers.values())).input_size}]"
        )
    axes = tuple(_axes_like(first, arg, batch_axis, time_axis) for arg in args)
    # Sizes 0 and 1 are specialised by torch.export, so trace with others.
    batch, length = 2, max(int(first.shape[time_axis]), 3)
    args = tuple(_resized(arg, place, batch, length) for arg, place in zip(args, axes, strict=True))
    shapes = [_output_shapes(module, args)]
    for more_batch, more_length in ((1, 0), (0, 1)):
        grown = tuple(
            _resized(arg, place, batch + more_batch, length + more_length)
            for arg, place in zip(args, axes, strict=True)
        )
        shapes.append(_output_shapes(module, grown))
    (names, base), (_, with_batch), (_, with_time) = shapes
    if output_names is not None:
        if len(output_names) != len(names):
            raise InputError(f"output_names has {len(output_names)} names for {len(names)} outputs")
        names = list(output_names)
    parameters = inspect.signature(module.forward).parameters
    input_names = list(parameters)[: len(args)]
    if len(input_names) < len(args):
        input_names = [f"x{index}" for index in range(len(args))]
    return _Traced(
        args=args,
        input_names=tuple(input_names),
        input_axes=axes,
        output_names=tuple(names),
        output_axes=tuple(
            Axes(batch=_grown(a, b), time=_grown(a, t))
            for a, b, t in zip(base, with_batch, with_time, strict=True)
        ),
        batch=batch,
        length=length,
    )


def _axes_like(first: Tensor, arg: Tensor, batch_axis: int, time_axis: int) -> Axes:
    """Find an input's axes by comparing its sizes with the first input's."""

    def same(axis: int) -> int | None:
        return axis if arg.ndim > axis and arg.shape[axis] == first.shape[axis] else None

    if arg is first:
        return Axes(batch=batch_axis, time=time_axis)
    time = same(time_axis) if arg.ndim >= 2 else None
    return Axes(batch=same(batch_axis) if time is not None or batch_axis == 0 else None, time=time)


def _resized(arg: Tensor, axes: Axes, batch: int, length: int) -> Tensor:
    """Repeat or cut an example along its batch and time axes."""
    for axis, size in ((axes.batch, batch), (axes.time, length)):
        if axis is not None:
            arg = arg.index_select(axis, torch.arange(size) % arg.shape[axis])
    return arg


def _output_shapes(
    module: nn.Module, args: tuple[Tensor, ...]
) -> tuple[list[str], list[tuple[int, ...]]]:
    try:
        with torch.no_grad():
            names, outputs = flatten_outputs(module(*args))
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        shapes = [list(arg.shape) for arg in args]
        raise InputError(
            f"{type(module).__name__} fails on example inputs of shapes {shapes}: "
            f"{str(error).splitlines()[0]}"
        ) from None
    return names, [tuple(output.shape) for output in outputs]


def _grown(before: tuple[int, ...], after: tuple[int, ...]) -> int | None:
    changed = [axis for axis, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    return changed[0] if changed else None


def _trace(
    module: nn.Module, traced: _Traced, opset: int
) -> tuple[onnx.ModelProto, tuple[StateSpec, ...]]:
    wrapper = StreamingModule(module, len(traced.args))
    states = tuple(
        StateSpec(input=state.name, output=f"{state.name}.next", batch_axis=1)
        for state in wrapper.states
    )
    batch, time = torch.export.Dim("batch"), torch.export.Dim("time")
    shapes = [
        {axis: dim for axis, dim in ((axes.batch, batch), (axes.time, time)) if axis is not None}
        for axes in traced.input_axes
    ] + [{1: batch} for _ in states]
    args = (*traced.args, *(state.zeros(traced.batch) for state in wrapper.states))
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                wrapper,
                args,
                dynamo=True,
                dynamic_shapes=(tuple(shapes),),
                input_names=[*traced.input_names, *(state.input for state in states)],
                output_names=[*traced.output_names, *(state.output for state in states)],
                opset_version=opset,
                custom_translation_table=dict(TRANSLATIONS),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = error.__cause__ or error
        if isinstance(reason, ModelError):
            raise reason from None
        text = " ".join(line for line in str(reason).strip().splitlines()[:3])
        raise ModelError(
            f"PyTorch cannot export {type(module).__name__}: {text[:500]}; use tensor operations "
            f"instead of Python control flow on values or sizes"
        ) from None
    assert program is not None
    model = program.model_proto
    _unwrap_names(model)
    return model, states


def _unwrap_names(model: onnx.ModelProto) -> None:
    """Give the weights the names that they have in the user's module."""
    taken = {value.name for value in [*model.graph.input, *model.graph.output]}
    renamed = {
        tensor.name: short
        for tensor in model.graph.initializer
        if (short := tensor.name.removeprefix("module.")) not in taken
    }
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's notes about packages that are not involved."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _gate(session: Session, module: nn.Module, traced: _Traced, tolerance: float) -> GateResult:
    rng = np.random.default_rng(0)

    def sample(batch: int, length: int) -> Arrays:
        return {
            name: _sample_like(rng, _resized(arg, axes, batch, length).numpy())
            for name, arg, axes in zip(
                traced.input_names, traced.args, traced.input_axes, strict=True
            )
        }

    def reference(inputs: Arrays) -> Arrays:
        tensors = [torch.from_numpy(inputs[name]) for name in traced.input_names]
        with torch.no_grad():
            outputs = flatten_outputs(module(*tensors))[1]
        return {
            name: output.numpy() for name, output in zip(traced.output_names, outputs, strict=True)
        }

    try:
        shapes = Shapes.other_than(traced.length, traced.batch)
        return gate(session, reference, sample, shapes, tolerance=tolerance)
    except RuntimeError as error:
        raise AccuracyGateError(
            f"export gate: {type(module).__name__} itself fails at a length it was not traced "
            f"with: {str(error).splitlines()[0]}"
        ) from None
    finally:
        session.close()


def _sample_like(rng: np.random.Generator, example: Array) -> Array:
    """Draw normal floats, or integers and truth values from those of the example."""
    if example.dtype.kind == "f":
        normal: Array = rng.standard_normal(example.shape).astype(example.dtype)
        return normal
    drawn: Array = rng.choice(example.ravel(), size=example.shape).astype(example.dtype)
    return drawn
