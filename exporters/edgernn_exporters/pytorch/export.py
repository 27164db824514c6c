"""Export a PyTorch module to one ONNX graph with explicit state and a state contract."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from edgernn.contract import Contract, StreamSpec
from edgernn.errors import ModelError
from edgernn.files import replacing
from edgernn.integer import Ranges
from edgernn.metadata import Metadata
from edgernn.sessions import Session
from edgernn.training.quantized import quantized_layers, ranges_of, to_float
from edgernn_exporters.causal import with_caches
from edgernn_exporters.gate import GateResult
from edgernn_exporters.onnx_files import save_model
from edgernn_exporters.pytorch.checks import check_weights, evaluating, unwrapped
from edgernn_exporters.pytorch.names import ranges_by_node
from edgernn_exporters.pytorch.proving import Source, prove
from edgernn_exporters.pytorch.rewiring import recurrent_layers
from edgernn_exporters.pytorch.signature import Request, Signature, read_signature
from edgernn_exporters.pytorch.tracing import loop_states, trace

OPSET = 20
UNPROVEN = "exported with --no-gate"
Load = Callable[[Path], Session]


@dataclass(frozen=True)
class Exported:
    """Say what an export wrote.

    Attributes:
        path: The ONNX file.
        metadata: The metadata in it, state contract included.
        gate: Result of the export gate, or None if it was not run.
        notes: What the user should know: layers left out, why it runs whole sequences only.
    """

    path: Path
    metadata: Metadata
    gate: GateResult | None
    notes: tuple[str, ...] = ()


def export(
    module: nn.Module,
    args: Sequence[Any],
    path: str | os.PathLike[str],
    *,
    load: Load | None,
    kwargs: Mapping[str, Any] | None = None,
    causal: bool | None = None,
    axes: Mapping[str, Sequence[str | None]] | None = None,
    states: Mapping[str, str] | None = None,
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
    ``.c_l0``) of shape ``[D, batch, H]`` and outputs of the same name with ``.next``; from a
    layer's second call in one pass on, the path is followed by ``#2`` and so on. Where they
    start, which axes are batch and time, and which arguments of forward are states, is found by
    running the module (docs/decisions/0014).

    Args:
        module: Any module. Initial states that it gives its recurrent layers may be zeros,
            learned, or an argument of forward whose next value forward returns; a module that
            computes them from its inputs runs whole sequences only.
        args: Example inputs by position: tensors, or tuples, lists and dicts of tensors. Other
            values in them are held constant.
        path: File to write; it appears only after the gate has passed.
        load: Opens the written file for the gate; None leaves the gate out, which the file tells.
        kwargs: Example inputs by name.
        causal: False for a module that looks at later inputs, and so can only run whole
            sequences. None means causal unless what was found says otherwise.
        axes: For inputs whose axes cannot be found: ``{"x": ("batch", "time", None)}``, None for
            a fixed size; other words name sizes that are neither batch nor time.
        states: Arguments of forward that are states, with the outputs that are their next values:
            ``{"h": "hn"}``; ``{}`` for none; None to find them.
        metadata: Task, preprocessing and parent to store with the contract.
        output_names: Names instead of ``y``, or ``y0``, ``y1``, …; one for each returned tensor.
        opset: ONNX operator set version.
        tolerance: Limit of the gate (see `edgernn_exporters.gate.gate`).

    Raises:
        ModelError: The module cannot be exported; names the layer and the reason.
        InputError: The example inputs, axes or states do not fit the module.
        AccuracyGateError: The exported graph is not the same function.
        OutputError: The file cannot be written.
    """
    request = Request(args, kwargs, output_names, axes, states)
    return write(
        module, request, path,
        load=load, causal=causal, metadata=metadata, opset=opset, tolerance=tolerance,
    )[0]  # fmt: skip


def write(
    module: nn.Module,
    request: Request,
    path: str | os.PathLike[str],
    *,
    load: Load | None,
    causal: bool | None = None,
    metadata: Metadata | None = None,
    opset: int = OPSET,
    tolerance: float | None = None,
) -> tuple[Exported, Source]:
    """Do what `export` does, and return what the file was compared with, too."""
    module, ranges = as_float(module)
    layers = recurrent_layers(module)
    with evaluating(module):
        traced = read_signature(module, layers, request)
        if request.states is None and (ends := loop_states(module, traced)):
            traced = read_signature(module, layers, replace(request, loops=ends))
        if causal and traced.whole_only:
            raise ModelError(
                f"causal=True, but {traced.whole_only[0]}; leave causal out, or change the layer"
            )
        model, found, loops = trace(module, traced, opset)
        if causal and loops:
            raise ModelError(
                f"causal=True, but {loops[0]}; leave causal out, or change the loop over it"
            )
    whole_only = (*traced.whole_only, *loops)
    contract = Contract(
        states=found,
        stream=StreamSpec(
            causal=not whole_only if causal is None else causal,
            inputs=dict(zip(traced.input_names, traced.input_axes, strict=True)),
            outputs=dict(zip(traced.output_names, traced.output_axes, strict=True)),
            lengths=traced.lengths_name,
        ),
    )
    model, contract = with_caches(model, contract)
    if not layers and not contract.states and not loops:
        raise ModelError(
            f"{type(module).__name__} has no nn.LSTM, nn.GRU or nn.RNN layer and nothing else that "
            f"remembers, so there is no state to export; use torch.onnx.export for such models, "
            f"name its state with states={{...}} (--state), or mark the class of a cell of your "
            f"own with edgernn.training.recurrent_cell"
        )
    metadata = replace(metadata or Metadata(), contract=contract, tools=tools())
    if ranges is not None:
        metadata = replace(metadata, ranges=ranges_by_node(ranges, model).to_json())
    if load is None:
        metadata = replace(metadata, gate=None, unproven=UNPROVEN)
    source, result = Source(module, traced), None
    with replacing(path) as temporary:
        save_model(model, metadata, temporary)
        if load is not None:
            with evaluating(module):
                result = prove(load(temporary), source, tolerance)
            metadata = replace(metadata, gate=result.to_json(), unproven=None)
            save_model(model, metadata, temporary)
    return Exported(Path(path), metadata, result, _notes(traced, whole_only, contract)), source


def as_float(module: nn.Module) -> tuple[nn.Module, Ranges | None]:
    """Return the float module to export, and the ranges of its quantized layers if it has any.

    Raises:
        ModelError: A part cannot be traced, or a weight is not a finite float32.
    """
    module, ranges = unwrapped(module), None
    if any(quantized_layers(module)):
        ranges, module = ranges_of(module), to_float(module)
    check_weights(module)
    return module, ranges


def tools() -> dict[str, str]:
    """Return the versions of what writes the file, for its metadata."""
    return {
        "torch": torch.__version__.split("+")[0],
        "onnx": onnx.__version__,
        "edgernn": version("edgernn"),
    }


def _notes(traced: Signature, whole_only: Sequence[str], contract: Contract) -> tuple[str, ...]:
    notes = list(traced.notes)
    if not contract.stream.causal:
        notes += [f"whole sequences only: {reason}" for reason in whole_only]
    return tuple(notes)
