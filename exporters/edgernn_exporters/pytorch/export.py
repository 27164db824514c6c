"""Export a PyTorch module to one ONNX graph with explicit state and a state contract."""

from __future__ import annotations

import contextlib
import copy
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from edgernn.contract import Contract, StateSpec, StreamSpec
from edgernn.errors import AccuracyGateError, EdgernnError, ModelError
from edgernn.files import replacing
from edgernn.integer.weights import require_finite
from edgernn.metadata import Metadata
from edgernn.sessions import Array, Arrays, Session
from edgernn.training.quantized import quantized_layers, ranges_of, to_float
from edgernn_exporters.gate import GateResult, Reference, Shapes, gate
from edgernn_exporters.onnx_files import save_model
from edgernn_exporters.pytorch.names import name_layers, ranges_by_node
from edgernn_exporters.pytorch.recurrent import TRANSLATIONS
from edgernn_exporters.pytorch.signature import (
    Signature,
    first_line,
    read_signature,
    resized,
    runs,
)
from edgernn_exporters.pytorch.streaming import StreamingModule, flatten_outputs, recurrent_layers

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
    tolerance: float | None = None,
) -> Exported:
    """Write a module as ONNX with dynamic batch and time axes and its states made explicit.

    Quantized layers (`edgernn.training.QuantGRU` and so on) are written as the float layers with
    the same weights, their ranges as metadata: quantizing the file at their precision gives the
    integers that they compute with. The gate compares the file with the float layers.

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
    ranges = None
    if any(quantized_layers(module)):
        ranges, module = ranges_of(module), to_float(module)
    layers = recurrent_layers(module)
    if not layers:
        raise ModelError(
            f"{type(module).__name__} has no nn.LSTM, nn.GRU or nn.RNN layer, so there is no "
            f"state to export; use torch.onnx.export for such models"
        )
    bidirectional = any(layer.bidirectional for layer in layers.values())
    if causal and bidirectional:
        raise ModelError(
            "causal=True, but a layer is bidirectional and looks at later inputs; leave causal out"
        )
    _check_weights(module)
    with _evaluating(module):
        traced = read_signature(module, args, layers, output_names)
        model, states = _trace(module, traced, opset)
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
    if ranges is not None:
        metadata = replace(metadata, ranges=ranges_by_node(ranges, model).to_json())
    result = None
    with replacing(path) as temporary:
        save_model(model, metadata, temporary)
        if load is not None:
            with _evaluating(module):
                result = _gate(load(temporary), module, traced, tolerance)
            passed = {"cases": result.cases, "tolerance": result.tolerance}
            passed["max_error"] = float(f"{result.max_error:.3g}")
            passed["rounding"] = float(f"{result.rounding:.3g}")
            metadata = replace(metadata, gate=passed)
            save_model(model, metadata, temporary)
    return Exported(Path(path), metadata, result)


@contextlib.contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Switch dropout and the like off, and leave every part in the mode it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _check_weights(module: nn.Module) -> None:
    for name, value in module.named_parameters():
        if value.device.type != "cpu":
            raise ModelError(
                f"weight {name!r} is on device {value.device}; export from the processor: "
                f"module.cpu()"
            )
        if value.dtype != torch.float32:
            raise ModelError(
                f"weight {name!r} is {str(value.dtype).removeprefix('torch.')}; export in float32: "
                f"module.float()"
            )
        require_finite(value.detach().numpy(), name)


def _trace(
    module: nn.Module, traced: Signature, opset: int
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
    name_layers(model, module)
    return model, states


def _unwrap_names(model: onnx.ModelProto) -> None:
    """Give the weights the names that they have in the user's module."""
    taken = {value.name for value in [*model.graph.input, *model.graph.output]}
    taken |= {name for node in model.graph.node for name in node.output}
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


def _gate(
    session: Session, module: nn.Module, traced: Signature, tolerance: float | None
) -> GateResult:
    rng = np.random.default_rng(0)

    def sample(batch: int, length: int) -> Arrays:
        return {
            name: _sample_like(rng, resized(arg, axes, batch, length).numpy())
            for name, arg, axes in zip(
                traced.input_names, traced.args, traced.input_axes, strict=True
            )
        }

    def reference(inputs: Arrays) -> Arrays:
        return _run(module, traced, [torch.from_numpy(inputs[n]) for n in traced.input_names])

    contract = session.metadata.contract
    assert contract is not None
    shapes = Shapes.other_than(traced.length, traced.batch)
    if not contract.stream.causal:  # such a module may need a sequence of some length
        longer = (90, 200, traced.length + 7, 2 * traced.length)
        lengths = [n for n in (*shapes.lengths, *longer) if runs(module, traced, n)]
        if len(lengths) < 3:
            session.close()
            raise AccuracyGateError(
                f"export gate: {type(module).__name__} runs at fewer than three lengths other "
                f"than the traced {traced.length}, so it cannot be proven; make it accept more"
            )
        shapes = Shapes(lengths[:3], shapes.batches)
    try:
        exact = _in_float64(module, traced)
        return gate(session, reference, sample, shapes, exact=exact, tolerance=tolerance)
    except EdgernnError:
        raise
    except Exception as error:  # whatever the user's own forward raises
        raise AccuracyGateError(
            f"export gate: {type(module).__name__} itself fails at a length or batch size that it "
            f"was not traced with: {first_line(error)}; make it accept any, from one time step "
            f"on, or export with causal=False (--not-causal) if it needs longer sequences"
        ) from None
    finally:
        session.close()


def _run(module: nn.Module, traced: Signature, tensors: list[Tensor]) -> Arrays:
    with torch.no_grad():
        outputs = flatten_outputs(module(*tensors))[1]
    return {name: output.numpy() for name, output in zip(traced.output_names, outputs, strict=True)}


def _in_float64(module: nn.Module, traced: Signature) -> Reference | None:
    """Return a function that runs the module in float64, or None if it insists on float32."""
    double = copy.deepcopy(module).double()

    def exact(inputs: Arrays) -> Arrays:
        tensors = [torch.from_numpy(inputs[name]) for name in traced.input_names]
        return _run(double, traced, [t.double() if t.is_floating_point() else t for t in tensors])

    try:
        exact({n: a.numpy() for n, a in zip(traced.input_names, traced.args, strict=True)})
    except Exception:  # the user's own forward may raise anything
        return None
    return exact


def _sample_like(rng: np.random.Generator, example: Array) -> Array:
    """Draw normal floats, or integers and truth values from those of the example."""
    if example.dtype.kind == "f":
        normal: Array = rng.standard_normal(example.shape).astype(example.dtype)
        return normal
    drawn: Array = rng.choice(example.ravel(), size=example.shape).astype(example.dtype)
    return drawn
