"""Run a float model on sequences and hand out what goes into its layers, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from edgernn.contract import Axes
from edgernn.errors import InputError
from edgernn.metadata import Metadata
from edgernn.sessions import Array, Arrays, Session
from edgernn.streaming import iterate_chunks
from edgernn_exporters.calibration.decoders import Play
from edgernn_exporters.calibration.layers import Layer
from edgernn_exporters.quantization.recurrent import GATES

CHUNK = 64
"""Time steps of a causal model's call; the memory it takes does not grow with a sequence."""
_CAPTURED = "edgernn.captured:"


@dataclass(frozen=True)
class Captured:
    """Hold what went through one layer in one call.

    Attributes:
        x: Its input.
        y: Every h of a recurrent layer ``[T, D, B, H]``; None for others.
        starts: The first h, and c, ``[D, B, H]``; None for zeros.
        lengths: Steps of each row ``[B]``; None if all rows have all.
    """

    x: Array
    y: Array | None
    starts: list[Array | None]
    lengths: Array | None = None

    def cut(self) -> Iterator[Captured]:
        """Yield rows of equal length together, without what is beyond it."""
        if self.lengths is None:
            yield self
            return
        assert self.y is not None
        for length in np.unique(self.lengths[self.lengths > 0]):
            rows = self.lengths == length
            starts = [None if start is None else start[:, rows] for start in self.starts]
            yield Captured(self.x[:length, rows], self.y[:length, :, rows], starts)


def capture(
    path: Path,
    layers: tuple[Layer, ...],
    sequences: Iterable[Mapping[str, Array]],
    load: Callable[[Path], Session],
    play: Play | None = None,
) -> Generator[tuple[int, Mapping[str, Captured]]]:
    """Run sequences with the state fed back.

    Args:
        path: What `write_capturing` wrote.
        layers: Which layers to look at.
        sequences: Inputs by name.
        load: Opens an ONNX file.
        play: How the model is run on a sequence, where it is a decoder (see `decoder_play`).

    Yields:
        For each call the number of its sequence, and what went through the layers, by name.

    Raises:
        InputError: A sequence does not fit the model; names its number.
    """
    session = load(path)
    try:
        for number, inputs in enumerate(sequences):
            for outputs in _run(session, number, inputs, play or _chunks):
                yield number, {layer.name: _of(layer, outputs) for layer in layers}
    finally:
        session.close()


def _run(
    session: Session, number: int, inputs: Mapping[str, Array], play: Play
) -> Iterator[Arrays]:
    try:
        yield from play(session, inputs)
    except InputError as error:
        raise InputError(f"calibration sequence {number}: {error}") from None


def _chunks(session: Session, inputs: Mapping[str, Array]) -> Iterator[Arrays]:
    contract = session.metadata.contract
    timed = contract is not None and any(
        place.time is not None for place in contract.stream.inputs.values()
    )
    for part in _parts(session, inputs):
        if contract is not None and contract.stream.causal and timed:
            yield from iterate_chunks(session, part, CHUNK)
        else:
            yield session.run(part)


def _parts(session: Session, inputs: Mapping[str, Array]) -> Iterator[Mapping[str, Array]]:
    """Cut sequences apart where the model takes a fixed number of them at a time."""
    contract = session.metadata.contract
    places = contract.stream.inputs if contract else {}
    axes: dict[str, int] = {}
    sizes: set[tuple[int, int]] = set()
    for spec in session.inputs:
        axis = places[spec.name].batch if spec.name in places else None
        if axis is None or spec.name not in inputs or axis >= inputs[spec.name].ndim:
            continue
        size = spec.shape[axis]
        if isinstance(size, int):
            axes[spec.name] = axis
            sizes.add((size, inputs[spec.name].shape[axis]))
    if len(sizes) != 1:
        yield inputs
        return
    ((size, rows),) = sizes
    if rows % size:
        yield inputs  # refused by what checks inputs
        return
    for start in range(0, rows, size):
        yield {
            name: np.take(value, range(start, start + size), axis=axes[name])
            if name in axes else value
            for name, value in inputs.items()
        }  # fmt: skip


def _of(layer: Layer, outputs: Arrays) -> Captured:
    def value(name: str) -> Array | None:
        return outputs[_CAPTURED + name] if name else None

    starts = [value(name) for name in layer.starts]
    states = outputs.get(_states_of(layer))
    return Captured(outputs[_CAPTURED + layer.x], states, starts, value(layer.lengths))


def _states_of(layer: Layer) -> str:
    return f"{_CAPTURED}{layer.name}:states"


def write_capturing(
    model: onnx.ModelProto, metadata: Metadata, layers: tuple[Layer, ...], path: Path
) -> None:
    """Write a model that also returns what goes into its layers; ``model`` gets the outputs, too.

    Args:
        model: Float model.
        metadata: Of the model.
        layers: Which layers to look at.
        path: File to write.
    """
    graph = model.graph
    nodes = {node.name or node.output[0]: node for node in graph.node}
    copies: dict[str, str] = {}  # output -> tensor
    lengths = {_CAPTURED + layer.lengths: layer.lengths for layer in layers if layer.lengths}
    for layer in layers:
        copies[_CAPTURED + layer.x] = layer.x
        if layer.operator in GATES:
            copies.update({_CAPTURED + name: name for name in layer.starts if name})
            node = nodes[layer.name]
            if not node.output[0]:
                node.output[0] = f"{_states_of(layer)}.source"
            copies[_states_of(layer)] = node.output[0]
    for output, tensor in {**copies, **lengths}.items():
        dtype = TensorProto.INT32 if output in lengths else TensorProto.FLOAT
        graph.node.append(helper.make_node("Identity", [tensor], [output]))
        graph.output.append(helper.make_tensor_value_info(output, dtype, None))
    contract = metadata.contract
    if contract is not None:
        axes = {
            **contract.stream.outputs,
            **dict.fromkeys((*copies, *lengths), Axes(batch=None, time=None)),
        }
        contract = replace(contract, stream=replace(contract.stream, outputs=axes))
    helper.set_model_props(model, replace(metadata, contract=contract).to_props())
    path.write_bytes(model.SerializeToString())
