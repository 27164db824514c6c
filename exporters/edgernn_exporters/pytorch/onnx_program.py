"""Call PyTorch's ONNX exporter, and bring its graph to our names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from edgernn.errors import ModelError
from edgernn_exporters.pytorch import projection, recurrent
from edgernn_exporters.pytorch.names import name_layers
from edgernn_exporters.pytorch.tracer import quiet, reason_of


def to_onnx(
    wrapper: nn.Module,
    module: nn.Module,
    args: Sequence[Tensor],
    shapes: Sequence[Mapping[int, Any]],
    input_names: Sequence[str],
    output_names: Sequence[str],
    opset: int,
) -> onnx.ModelProto:
    """Return the graph of a module.

    Args:
        wrapper: What is traced: it holds a copy of the module as ``module``, takes ``args`` by
            position and returns a flat tuple.
        module: What is exported; its layers give the nodes their names.
        args: Example inputs, with sizes of dynamic axes other than 0 and 1.
        shapes: ``torch.export.Dim`` of the dynamic axes of each.
        input_names: Of the graph.
        output_names: Of the graph.
        opset: ONNX operator set version.

    Raises:
        ModelError: PyTorch cannot export it.
    """
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                wrapper,
                tuple(args),
                dynamo=True,
                dynamic_shapes=(tuple(dict(shape) for shape in shapes),),
                input_names=list(input_names),
                output_names=list(output_names),
                opset_version=opset,
                custom_translation_table={**recurrent.TRANSLATIONS, **projection.TRANSLATIONS},
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = error.__cause__ or error
        if isinstance(reason, ModelError):
            raise reason from None
        raise ModelError(
            f"PyTorch cannot export {type(module).__name__}: {reason_of(reason)}; use tensor "
            f"operations instead of Python control flow on values or sizes"
        ) from None
    assert program is not None
    model = program.model_proto
    _unwrap_names(model)
    name_layers(model, module)
    return model


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
    _rename_inputs(model.graph.node, renamed)


def _rename_inputs(nodes: Iterable[onnx.NodeProto], renamed: Mapping[str, str]) -> None:
    """Rename what nodes read, bodies of loops among them, which read weights of the graph."""
    for node in nodes:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename_inputs(attribute.g.node, renamed)
