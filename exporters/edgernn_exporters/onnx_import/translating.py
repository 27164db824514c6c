"""Translate between the inputs and outputs of an original and those of its import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from edgernn.contract import Axes, Contract, TensorSpec
from edgernn.sessions import Array, Arrays
from edgernn_exporters.onnx_import.notes import Piece


@dataclass(frozen=True)
class Translation:
    """Know what of an import is what of its original.

    Attributes:
        inputs: Inputs of the original, without those that were fixed, by name.
        outputs: Its outputs by name.
        names: Inputs of the import, states among them.
        contract: Of the import, or None.
        pieces: States that were taken out of inputs and outputs of the original.
        initial: First value of each state of the import, for one row.
        added_time: Place of the time axis in inputs and outputs where the original has none; it
            takes one step.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    names: Sequence[str]
    contract: Contract | None
    pieces: Sequence[Piece]
    initial: Mapping[str, Array]
    added_time: Mapping[str, int] = field(default_factory=dict)

    @property
    def wiring(self) -> dict[str, str]:
        """State outputs of the original by the inputs that take them in the next step."""
        states = self.contract.states if self.contract else ()
        same = {s.input: s.output for s in states
                if s.input in self.inputs and s.output in self.outputs}  # fmt: skip
        return same | {p.original_input: p.original_output for p in self.pieces}

    @property
    def has_new_states(self) -> bool:
        """Whether the import has states that the original starts anew in each call."""
        states = {s.input for s in self.contract.states} if self.contract else set()
        return not states <= {*self.wiring, *(piece.input for piece in self.pieces)}

    @property
    def original_contract(self) -> Contract | None:
        """The contract, with axes where the original has them."""
        if self.contract is None or not self.added_time:
            return self.contract
        stream = self.contract.stream
        return replace(
            self.contract,
            stream=replace(
                stream,
                inputs={name: self._before(name, axes) for name, axes in stream.inputs.items()},
                outputs={name: self._before(name, axes) for name, axes in stream.outputs.items()},
            ),
        )

    def _before(self, name: str, axes: Axes) -> Axes:
        added = self.added_time.get(name)
        if added is None:
            return axes
        moved = axes.batch is not None and axes.batch > added
        return Axes(axes.batch - 1 if moved and axes.batch else axes.batch, None)

    def timed(self, values: Mapping[str, Array]) -> Arrays:
        """Return the original's inputs or outputs with the time axes that the import has."""
        return {
            name: np.expand_dims(value, self.added_time[name]) if name in self.added_time
            else value for name, value in values.items()
        }  # fmt: skip

    def batch(self, inputs: Mapping[str, Array]) -> int:
        """Return the rows of inputs; 1 without a batch axis."""
        contract = self.original_contract
        places = contract.stream.inputs if contract else {}
        return next(
            (int(inputs[name].shape[place.batch]) for name, place in places.items()
             if place.batch is not None and name in inputs), 1
        )  # fmt: skip

    def first_states(self, batch: int) -> Arrays:
        """Return the original's states before the first step: those of the import, put together."""
        result = {
            name: np.zeros(
                [size if isinstance(size, int) else batch for size in self.inputs[name].shape],
                self.inputs[name].dtype,
            )
            for name in self.wiring
        }
        taken = {piece.input for piece in self.pieces}
        first = self._rows(batch)
        result |= {name: value for name, value in first.items()
                   if name in result and name not in taken}  # fmt: skip
        for piece in self.pieces:
            spec, axis = self.inputs[piece.original_input], self._axis(piece.input)
            places = _places(piece.index, spec, axis, result[piece.original_input].shape)
            result[piece.original_input][places] = first[piece.input]
        return result

    def feeds(self, inputs: Arrays) -> Arrays:
        """Return what to feed the import where the original is fed ``inputs``."""
        taken = {
            piece.input: _taken(
                inputs[piece.original_input], piece.index, self.inputs[piece.original_input],
                self._axis(piece.input),
            )
            for piece in self.pieces
        }  # fmt: skip
        own, inputs = self._rows(self.batch(inputs)), self.timed(inputs)
        return {
            name: taken[name] if name in taken else inputs[name] if name in inputs else own[name]
            for name in self.names
        }

    def expected(self, outputs: Arrays) -> Arrays:
        """Return what the import has to give where the original gives ``outputs``."""
        gone = {piece.original_output for piece in self.pieces}
        result = self.timed({name: v for name, v in outputs.items() if name not in gone})
        for piece in self.pieces:
            whole = self.outputs[piece.original_output]
            result[piece.output] = _taken(
                outputs[piece.original_output], piece.output_index, whole, self._axis(piece.input)
            )
        return result

    def _axis(self, state: str) -> int:
        states = self.contract.states if self.contract else ()
        return next((s.batch_axis for s in states if s.input == state), 0)

    def _rows(self, batch: int) -> Arrays:
        """Return the first values of the import's states for some rows."""
        return {
            name: np.repeat(first, batch if first.shape[axis] == 1 else 1, axis)
            for name, first in self.initial.items()
            for axis in (self._axis(name),)
        }


def _taken(value: Array, index: NDArray[np.int64], spec: TensorSpec, axis: int) -> Array:
    return np.asarray(value[_places(index, spec, axis, value.shape)])


def _places(
    index: NDArray[np.int64], spec: TensorSpec, axis: int, shape: Sequence[int]
) -> tuple[NDArray[np.int64], ...]:
    """Turn flat positions at two rows into positions along each axis, at any number of rows."""
    sizes = [size if isinstance(size, int) else 2 for size in spec.shape]
    places = [np.asarray(place) for place in np.unravel_index(index, sizes)]
    dynamic = [at for at, size in enumerate(spec.shape) if not isinstance(size, int)]
    if dynamic:
        rows = shape[dynamic[0]]
        places = [np.repeat(np.take(place, [0], axis), rows, axis) for place in places]
        along = [rows if at == axis else 1 for at in range(index.ndim)]
        places[dynamic[0]] = places[dynamic[0]] + np.arange(rows).reshape(along)
    return tuple(places)
