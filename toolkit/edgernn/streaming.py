"""Feed whole sequences to a stream piece by piece, by the axes of the contract."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgernn.contract import Axes
from edgernn.errors import ContractError, InputError
from edgernn.sessions import Array, Arrays, Session, check_inputs


def run_in_chunks(session: Session, inputs: Arrays, chunk: int) -> Arrays:
    """Run sequences through a stream, ``chunk`` time steps a call, and join the outputs.

    Outputs without a time axis are those of the last call.

    Args:
        session: A causal model.
        inputs: Whole sequences by name.
        chunk: Time steps of one call; the last call takes what is left.

    Raises:
        ContractError: The model cannot stream.
        InputError: The inputs do not fit the model, or ``chunk`` is below 1.

    Example:
        >>> run_in_chunks(session, {"x": features}, chunk=1)["y"].shape
        (1, 100, 10)
    """
    contract = session.metadata.contract
    places = contract.stream.inputs if contract is not None else {}
    timed = {name: place.time for name, place in places.items() if place.time is not None}
    if contract is None or not timed:
        raise ContractError(
            "the model has no state contract with a time axis, so it cannot stream; export it "
            "with edgernn export"
        )
    if chunk < 1:
        raise InputError(f"chunk must be at least 1 time step, got {chunk}")
    check_inputs(session.inputs, places, inputs)
    name, axis = next(iter(timed.items()))
    steps = inputs[name].shape[axis]
    stream = session.stream(batch=_batch_of(places, inputs))
    names = [spec.name for spec in session.outputs]
    pieces: list[Arrays] = []
    for start in range(0, steps, chunk):
        piece = {
            key: _cut(value, timed[key], start, start + chunk) if key in timed else value
            for key, value in inputs.items()
        }
        pieces.append(stream.step(piece))
    return {key: _joined(pieces, key, contract.stream.outputs[key]) for key in names}


def _batch_of(places: Mapping[str, Axes], inputs: Arrays) -> int:
    for name, place in places.items():
        if place.batch is not None:
            return int(inputs[name].shape[place.batch])
    return 1


def _cut(value: Array, axis: int, start: int, stop: int) -> Array:
    index = [slice(None)] * value.ndim
    index[axis] = slice(start, stop)
    return value[tuple(index)]


def _joined(pieces: list[Arrays], name: str, place: Axes) -> Array:
    if place.time is None:
        return pieces[-1][name]
    return np.concatenate([piece[name] for piece in pieces], axis=place.time)
