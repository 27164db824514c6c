"""Bring a foreign model into the form that the toolkit works with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

from edgernn.contract import ZEROS, Contract, TensorSpec
from edgernn.errors import ModelError
from edgernn.metadata import Metadata
from edgernn.sessions import Array
from edgernn_exporters.inspection import tensor_spec
from edgernn_exporters.onnx_import.checks import check_recurrent, check_values
from edgernn_exporters.onnx_import.contract import infer
from edgernn_exporters.onnx_import.fixing import fix
from edgernn_exporters.onnx_import.folding import simplify
from edgernn_exporters.onnx_import.layouts import time_first
from edgernn_exporters.onnx_import.limits import PROTOBUF_BYTES, Limits
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.opsets import raise_opset, without_functions
from edgernn_exporters.onnx_import.reading import read
from edgernn_exporters.onnx_import.recognise import recognise
from edgernn_exporters.onnx_import.shapes import inferred, shapes_in
from edgernn_exporters.onnx_import.translating import Translation


@dataclass(frozen=True)
class Normal:
    """A model in the toolkit's form.

    Attributes:
        model: The model.
        contract: Its contract, or None.
        translation: What of it is what of the original.
        fixed: Values of the original's inputs that were fixed.
        metadata: What the original says of itself, where edgernn wrote it.
        sha256: Of the original, without data in other files.
        source_bytes: Its size, with those.
    """

    model: onnx.ModelProto
    contract: Contract | None
    translation: Translation
    fixed: dict[str, Array]
    metadata: Metadata
    sha256: str
    source_bytes: int


def _own_metadata(model: onnx.ModelProto) -> Metadata:
    """Return what a file that edgernn itself wrote says of its making."""
    metadata = Metadata.from_props({p.key: p.value for p in model.metadata_props}, "the file")
    if metadata.precision != Metadata().precision:
        raise ModelError(
            f"it has precision {metadata.precision} already; import the float32 file that it was "
            f"made from"
        )
    return metadata


def normalized(
    source: Path,
    fixes: Mapping[str, ArrayLike],
    states: Mapping[str, str],
    notes: Notes,
    limits: Limits,
    *,
    windows: bool = True,
    streams: bool = True,
) -> Normal:
    """Read a foreign file and bring it into the toolkit's form.

    Args:
        source: ONNX file.
        fixes: Values of inputs that become constants, and sizes of dynamic axes, by name.
        states: Names of outputs by the inputs that take them in the next step.
        notes: Receives what was done, and the pieces of states.
        limits: What reading the file may cost.
        windows: Whether windows over the past may get caches, so that the model streams.
        streams: False if running the model has shown that calls cannot follow each other.

    Raises:
        UsageError: A name or value in ``fixes`` or ``states`` is wrong.
        ModelError: The file is broken, unsafe, too large, or has operators that are unknown.
    """
    try:
        found = read(source, limits)
        model, sha256, source_bytes = found.model, found.sha256, found.bytes
        if found.flushed:
            notes.add(f"{found.flushed} denormal numbers in constants are zero now.")
        del found  # it holds the model, which is to be freed below
        metadata = _own_metadata(model)
        model = without_functions(model)
        raise_opset(model, notes)
        chosen = _chosen_sizes(model, fixes)
        fixed = fix(model, fixes, notes)
        time_first(model, notes)
        simplify(model, notes, limits)
        model = _compact(model)
        _complete_outputs(model)
        inputs, outputs = specs_of(model.graph.input), specs_of(model.graph.output)
        model = recognise(model, notes)
        model, contract = infer(
            model, states, notes, windows=windows, streams=streams,
            sized=[f"{name}.{axis}" for name, axis in chosen],
        )  # fmt: skip
        _keep_sizes(model, chosen)
        simplify(model, notes, limits, keep=[s.init for s in contract.states] if contract else ())
        _check(model, limits)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from None
    raise_opset(model, notes)
    translation = Translation(
        inputs={spec.name: spec for spec in inputs},
        outputs={spec.name: spec for spec in outputs},
        names=[value.name for value in model.graph.input],
        contract=contract,
        pieces=tuple(notes.pieces),
        added_time=dict(notes.added_time),
        initial=_first_values(model, contract),
    )
    return Normal(
        model=model, contract=contract, translation=translation, fixed=fixed, metadata=metadata,
        sha256=sha256, source_bytes=source_bytes,
    )  # fmt: skip


def _compact(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy: a protobuf message keeps the memory of what was removed from it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _check(model: onnx.ModelProto, limits: Limits) -> None:
    """Check again what folding may have made known."""
    graph = inferred(model)
    check_values(graph, limits.tensor_bytes)
    check_recurrent(model, shapes_in(graph))
    if not model.graph.node:
        raise ModelError("no output depends on an input any more; fix fewer inputs")
    if model.ByteSize() > PROTOBUF_BYTES:
        raise ModelError(
            f"the model has {model.ByteSize():,} bytes as one file, and ONNX's format ends at "
            f"2 GiB; such a model is not meant for devices"
        )


def _chosen_sizes(
    model: onnx.ModelProto, fixes: Mapping[str, ArrayLike]
) -> dict[tuple[str, int], ArrayLike]:
    """Return the sizes that the user gives to axes, by input and axis."""
    inputs = {value.name for value in model.graph.input}
    return {
        (value.name, axis): fixes[dim.dim_param]
        for value in model.graph.input
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        if dim.dim_param in fixes and dim.dim_param not in inputs
    }


def _keep_sizes(model: onnx.ModelProto, chosen: Mapping[tuple[str, int], ArrayLike]) -> None:
    """Fix axes again that the inference of the contract has opened against the user's word."""
    opened = {
        dim.dim_param: chosen[value.name, axis]
        for value in model.graph.input
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
        if dim.dim_param and (value.name, axis) in chosen
    }
    fix(model, opened, Notes())


def _complete_outputs(model: onnx.ModelProto) -> None:
    """Give outputs the sizes that were inferred, where the file leaves them open."""
    found = {value.name: value for value in inferred(model).output}
    for value in model.graph.output:
        shape = found[value.name].type.tensor_type.shape
        declared = value.type.tensor_type
        if not declared.HasField("shape") and found[value.name].type.tensor_type.HasField("shape"):
            declared.shape.CopyFrom(shape)
        if not declared.HasField("shape"):
            raise ModelError(
                f"the number of axes of output {value.name!r} cannot be inferred; fix inputs that "
                f"shapes depend on with --fix, or declare it in the file"
            )
        for dim, other in zip(declared.shape.dim, shape.dim, strict=False):
            if not dim.HasField("dim_value") and other.HasField("dim_value"):
                dim.dim_value = other.dim_value


def specs_of(values: Iterable[onnx.ValueInfoProto]) -> tuple[TensorSpec, ...]:
    """Return what inputs or outputs are.

    Raises:
        ModelError: One is no tensor of numbers of known rank.
    """
    return tuple(_spec(value) for value in values)


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    try:
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    except KeyError:
        dtype = "object"
    if dtype == "object" or not kind.HasField("shape"):  # no tensor, or one of strings
        raise ModelError(
            f"{value.name!r} is not a tensor of numbers of known rank, which no target here "
            f"takes; export the model with such inputs and outputs"
        )
    return tensor_spec(value)


def _first_values(model: onnx.ModelProto, contract: Contract | None) -> dict[str, Array]:
    """Return the first value of each state for one row."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    specs = {spec.name: spec for spec in specs_of(model.graph.input)}
    values: dict[str, Array] = {}
    for state in contract.states if contract else ():
        shape = [size if isinstance(size, int) else 1 for size in specs[state.input].shape]
        first = np.zeros((), state.dtype)
        if state.init != ZEROS:
            first = numpy_helper.to_array(constants[state.init])
        values[state.input] = np.broadcast_to(first, shape).astype(state.dtype)
    return values
