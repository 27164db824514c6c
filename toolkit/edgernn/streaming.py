"""Feed whole sequences to a stream piece by piece, by the axes of the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from edgernn.contract import Axes, TensorSpec
from edgernn.errors import ContractError, InputError
from edgernn.sessions import Array, Arrays, Session, check_inputs


def run_in_chunks(session: Session, inputs: Arrays, chunk: int) -> Arrays:
    """Run sequences through a stream, ``chunk`` time steps a call, and join the outputs.

    Outputs without a time axis are those of the last call.

    Args:
        session: A causal model.
        inputs: Whole sequences by name.
        chunk: Time steps of one call; the last call takes what is left. A model that takes a
            fixed number of steps at once is given that number, whatever ``chunk`` is.

    Raises:
        ContractError: The model cannot stream.
        InputError: The inputs do not fit the model, or ``chunk`` is below 1.

    Example:
        >>> run_in_chunks(session, {"x": features}, chunk=1)["y"].shape
        (1, 100, 10)
    """
    pieces = list(iterate_chunks(session, inputs, chunk))
    contract = session.metadata.contract
    assert contract is not None
    names = [spec.name for spec in session.outputs]
    return {key: _joined(pieces, key, contract.stream.outputs[key]) for key in names}


def iterate_chunks(session: Session, inputs: Mapping[str, Array], chunk: int) -> Iterator[Arrays]:
    """Run sequences through a stream and yield the outputs of each call.

    Raises:
        ContractError, InputError: As `run_in_chunks`.
    """
    steps, batch = measure_sequences(session, inputs)
    if chunk < 1:
        raise InputError(f"chunk must be at least 1 time step, got {chunk}")
    size = steps_at_once(session) or chunk
    stream = session.stream(batch=batch)
    for start in range(0, steps, size):
        yield stream.step(cut(session, inputs, start, start + size))


def steps_at_once(session: Session) -> int | None:
    """Return how many time steps a model takes in each call; None if any number."""
    places = _places(session)
    sizes = (
        spec.shape[axis]
        for spec in session.inputs
        if spec.name in places and (axis := places[spec.name].time) is not None
    )
    return next((size for size in sizes if isinstance(size, int)), None)


def measure_sequences(session: Session, inputs: Mapping[str, Array]) -> tuple[int, int]:
    """Return how many time steps and rows the inputs have.

    Raises:
        ContractError: The model has no time axis, so it cannot stream.
        InputError: The inputs do not fit the model, or are no multiple of the number of time steps
            that it takes at once.
    """
    contract, places = session.metadata.contract, _places(session)
    timed = [(name, place.time) for name, place in places.items() if place.time is not None]
    if contract is None or not timed:
        raise ContractError(
            "the model has no state contract with a time axis, so it cannot stream; export it "
            "with edgernn export"
        )
    # However many steps the model takes at once, the sequences may have more.
    specs = tuple(_of_any_length(spec, places) for spec in session.inputs)
    check_inputs(specs, places, inputs, contract.stream.lengths)
    name, axis = timed[0]
    steps = int(inputs[name].shape[axis])
    _check_multiple(steps, steps_at_once(session) or 1)
    rows = [inputs[key].shape[place.batch] for key, place in places.items()
            if place.batch is not None]  # fmt: skip
    return steps, int(rows[0]) if rows else 1


def _places(session: Session) -> Mapping[str, Axes]:
    contract = session.metadata.contract
    return contract.stream.inputs if contract is not None else {}


def _check_multiple(steps: int, size: int) -> None:
    rest = steps % size
    if rest:
        cuts = f"cut them to {steps - rest} steps or pad" if steps > size else "pad"
        raise InputError(
            f"the model takes {size} time steps at once, and the sequences have {steps}, which is "
            f"no multiple; {cuts} them to {steps - rest + size}"
        )


def _of_any_length(spec: TensorSpec, places: Mapping[str, Axes]) -> TensorSpec:
    axis = places[spec.name].time if spec.name in places else None
    if axis is None:
        return spec
    return replace(spec, shape=(*spec.shape[:axis], "time", *spec.shape[axis + 1 :]))


def cut(session: Session, inputs: Mapping[str, Array], start: int, stop: int) -> Arrays:
    """Cut the time steps ``start`` to ``stop`` out of the inputs that have a time axis."""
    contract = session.metadata.contract
    assert contract is not None
    pieces: Arrays = {}
    for name, value in inputs.items():
        axis = contract.stream.inputs[name].time
        index = [slice(start, stop) if place == axis else slice(None)
                 for place in range(value.ndim)]  # fmt: skip
        pieces[name] = value[tuple(index)]
    return pieces


def _joined(pieces: list[Arrays], name: str, place: Axes) -> Array:
    if place.time is None:
        return pieces[-1][name]
    return np.concatenate([piece[name] for piece in pieces], axis=place.time)
