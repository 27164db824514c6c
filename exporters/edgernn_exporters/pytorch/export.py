"""Export a PyTorch module to one ONNX graph with explicit state and a state contract."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from edgernn.contract import Contract, StreamSpec
from edgernn.errors import ModelError
from edgernn.files import replacing
from edgernn.metadata import Metadata
from edgernn.sessions import Session
from edgernn.training.quantized import quantized_layers, ranges_of, to_float
from edgernn_exporters.gate import GateResult
from edgernn_exporters.onnx_files import save_model
from edgernn_exporters.pytorch.checks import check_weights, evaluating
from edgernn_exporters.pytorch.names import ranges_by_node
from edgernn_exporters.pytorch.proving import prove
from edgernn_exporters.pytorch.rewiring import recurrent_layers
from edgernn_exporters.pytorch.signature import read_signature
from edgernn_exporters.pytorch.tracing import trace

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
    check_weights(module)
    with evaluating(module):
        traced = read_signature(module, args, layers, output_names)
        model, states = trace(module, traced, opset)
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
            with evaluating(module):
                result = prove(load(temporary), module, traced, tolerance)
            passed = {"cases": result.cases, "tolerance": result.tolerance}
            passed["max_error"] = float(f"{result.max_error:.3g}")
            passed["rounding"] = float(f"{result.rounding:.3g}")
            metadata = replace(metadata, gate=passed)
            save_model(model, metadata, temporary)
    return Exported(Path(path), metadata, result)
