"""Trace a module to an ONNX graph with explicit states."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

import onnx
import torch
from torch import nn

from edgernn.contract import StateSpec
from edgernn.errors import ModelError
from edgernn_exporters.pytorch.names import name_layers
from edgernn_exporters.pytorch.recurrent import TRANSLATIONS
from edgernn_exporters.pytorch.signature import Signature
from edgernn_exporters.pytorch.streaming import StreamingModule


def trace(
    module: nn.Module, traced: Signature, opset: int
) -> tuple[onnx.ModelProto, tuple[StateSpec, ...]]:
    """Return the graph of a module, and the states that are its further inputs and outputs.

    Raises:
        ModelError: PyTorch cannot export it.
    """
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
