"""Read what an ONNX file is: tensors, states, recurrent layers, precision, size, lineage."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from edgernn.contract import TensorSpec
from edgernn.errors import ContractError, ModelError
from edgernn.files import sha256_of
from edgernn.metadata import Metadata
from edgernn.pairs import Side
from edgernn_exporters.onnx_bodies import inner_nodes
from edgernn_exporters.onnx_files import read_model
from edgernn_exporters.onnx_nodes import is_standard
from edgernn_exporters.quantization.functions import DOMAIN
from edgernn_exporters.quantization.graph import GraphEditor
from edgernn_exporters.quantization.layers import is_layer, name_of
from edgernn_exporters.quantization.opset import opset_of

_RECURRENT = ("LSTM", "GRU", "RNN")


@dataclass(frozen=True)
class Layer:
    """Describe one recurrent node.

    Attributes:
        name: Name of the node, or of its output where it has none.
        operator: ONNX operator, or the name of our quantized function.
        attributes: As in the file; a quantized function call is one direction.
        input_size: Features in, or None if the weights are not constants.
        hidden_size: Units, or None likewise.
        weight_bytes: Size of its constants.
        within: For a node in the body of a Scan, Loop or If: where, such as ``cell.body``.
    """

    name: str
    operator: str
    attributes: dict[str, Any]
    input_size: int | None
    hidden_size: int | None
    weight_bytes: int
    within: str = ""


@dataclass(frozen=True)
class Inspection:
    """Describe an ONNX file.

    Attributes:
        path: The file.
        bytes: Its size.
        sha256: Its hash, which quantized descendants name as parent.
        opset: Version of the standard operator set.
        producer: Tool that wrote the graph.
        parameters: Elements of all floating-point, 8-bit and 4-bit constants.
        inputs: Inputs without states.
        outputs: Outputs without states.
        states: State inputs.
        layers: Recurrent nodes in order, behind them those within bodies of other nodes.
        names: Of the layers that can be quantized, which patterns are for.
        operators: Number of nodes of each operator.
        metadata: The ``edgernn.*`` metadata.
    """

    path: Path
    bytes: int
    sha256: str
    opset: int
    producer: str
    parameters: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[TensorSpec, ...]
    layers: tuple[Layer, ...]
    names: tuple[str, ...]
    operators: dict[str, int]
    metadata: Metadata

    def side(self) -> Side:
        """Return what an encoder-decoder pair must know of one of its files.

        Raises:
            ContractError: It has no state contract.
        """
        contract = self.metadata.contract
        if contract is None:
            raise ContractError(
                f"{self.path}: no state contract, so it is no half of a pair; export both with "
                f"edgernn.export_pair"
            )
        return Side(str(self.path), self.inputs, self.outputs, self.states, contract)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = asdict(self)
        values["path"] = str(self.path)
        return values


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """Read what an ONNX file is, without running it.

    Raises:
        ModelError: The file is missing, cut off or not a valid ONNX model.
        ContractError: Its metadata do not fit its graph.

    Example:
        >>> inspect("kw.onnx").layers[0].hidden_size
        64
    """
    model, metadata = read_model(path)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    inputs = {v.name: tensor_spec(v) for v in model.graph.input if v.name not in constants}
    outputs = {value.name: tensor_spec(value) for value in model.graph.output}
    fed, returned = set(), set()
    if metadata.contract is not None:
        metadata.contract.check(inputs, outputs, str(path))
        fed = {state.input for state in metadata.contract.states}
        returned = {state.output for state in metadata.contract.states}
    operators: dict[str, int] = {}
    for node in model.graph.node:
        operators[node.op_type] = operators.get(node.op_type, 0) + 1
    return Inspection(
        path=Path(path),
        bytes=Path(path).stat().st_size,
        sha256=sha256_of(path),
        opset=opset_of(model),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        parameters=sum(_count(t) for t in constants.values() if _is_weight(t)),
        inputs=tuple(spec for name, spec in inputs.items() if name not in fed),
        outputs=tuple(spec for name, spec in outputs.items() if name not in returned),
        states=tuple(spec for name, spec in inputs.items() if name in fed),
        layers=tuple(_layers(model.graph, constants)),
        names=_names(model),
        operators=dict(sorted(operators.items())),
        metadata=metadata,
    )


def tensor_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    """Return name, type and sizes of a graph's input or output."""
    tensor = value.type.tensor_type
    if not tensor.elem_type:
        raise ModelError(
            f"{value.name!r} is not a tensor of known type; export the model with tensors as "
            f"inputs and outputs"
        )
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    shape = tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?"
        for dim in tensor.shape.dim
    )
    return TensorSpec(value.name, dtype, shape)


def _layers(graph: onnx.GraphProto, constants: Mapping[str, onnx.TensorProto]) -> Iterable[Layer]:
    for node in graph.node:
        if (layer := _layer(node, constants)) is not None:
            yield layer
    for inner in inner_nodes(graph):
        if (layer := _layer(inner.node, inner.constants, inner.within)) is not None:
            yield layer


def _layer(
    node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto], within: str = ""
) -> Layer | None:
    ours = node.domain == DOMAIN and node.op_type.startswith(_RECURRENT)
    standard = is_standard(node, *_RECURRENT)
    if not ours and not standard:
        return None
    w, r = (constants.get(node.input[place]) for place in _places(node))
    for tensor in (w, r):
        if tensor is not None and len(tensor.dims) != (2 if ours else 3):
            raise ModelError(
                f"weight {tensor.name!r} of {node.op_type} {node.name!r} has shape "
                f"{list(tensor.dims)}, which is not of the rank that the operator takes; "
                f"export the model again"
            )
    return Layer(
        name=name_of(node),
        operator=node.op_type,
        attributes={a.name: _plain(helper.get_attribute_value(a)) for a in node.attribute},
        input_size=None if w is None else w.dims[0 if ours else 2],
        hidden_size=None if r is None else r.dims[0 if ours else 2],
        weight_bytes=sum(_bytes(constants[name]) for name in node.input if name in constants),
        within=within,
    )


def _names(model: onnx.ModelProto) -> tuple[str, ...]:
    graph = GraphEditor(model, opset=0)
    return tuple(name_of(node) for node in graph.nodes() if is_layer(graph, node))


def _places(node: onnx.NodeProto) -> tuple[int, int]:
    """Return which inputs of a recurrent node or function are W and R."""
    if node.domain != DOMAIN:
        return 1, 2
    return (1, 4) if node.op_type.endswith("Int8Dynamic") else (3, 6)


def _bytes(tensor: onnx.TensorProto) -> int:
    if tensor.data_type == onnx.TensorProto.UINT4:
        return (_count(tensor) + 1) // 2
    return _count(tensor) * int(helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _count(tensor: onnx.TensorProto) -> int:
    product = 1
    for size in tensor.dims:
        product *= size
    return product


def _is_weight(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type in (
        onnx.TensorProto.FLOAT,
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.UINT8,
        onnx.TensorProto.INT8,
        onnx.TensorProto.UINT4,
    )
