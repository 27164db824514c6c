"""What the models are fed: the user's arrays, repeated as needed, or seeded random numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgernn.contract import Axes, TensorSpec
from edgernn.errors import ContractError, InputError
from edgernn.sessions import Array, Arrays, Session
from edgernn.streaming import run_in_chunks

RANDOM = "seeded standard normal numbers (random ids 0 and 1 for integers)"
GIVEN = "the given inputs, repeated to the needed length"


def make_inputs(
    session: Session,
    steps: int,
    batch: int,
    *,
    seed: int,
    given: Mapping[str, Array] | None = None,
    sizes: Mapping[str, int] | None = None,
) -> Arrays:
    """Make model inputs of ``steps`` time steps and ``batch`` rows.

    Args:
        session: The loaded model; its contract says which axes are batch and time.
        steps: Time steps.
        batch: Rows.
        seed: Of the random numbers; the same call gives the same arrays.
        given: Arrays by input name, of any length and batch; they are repeated from the start
            where they end. None for random numbers.
        sizes: Of dynamic axes that are neither time nor batch, by name, for random numbers.

    Raises:
        ContractError: The model has no contract, so its axes are not known.
        InputError: A given array is missing or has the wrong rank, or an axis has no known size.
    """
    contract = session.metadata.contract
    if contract is None:
        raise ContractError(
            "the model has no state contract, so its batch and time axes are not known; "
            "export it with edgernn export"
        )
    rng = np.random.default_rng(seed)
    made: Arrays = {}
    for spec in session.inputs:
        axes = contract.stream.inputs[spec.name]
        if given is None:
            made[spec.name] = _random(spec, _shape(spec, axes, steps, batch, sizes or {}), rng)
        else:
            made[spec.name] = _repeated(spec, axes, given, steps, batch)
    return made


def run_whole(session: Session, inputs: Arrays) -> Arrays:
    """Run whole sequences, through a stream where the model takes so many steps and no others.

    Raises:
        ContractError, InputError: As `edgernn.streaming.run_in_chunks`.
    """
    contract = session.metadata.contract
    places = contract.stream.inputs if contract is not None else {}
    for spec in session.inputs:
        time = places[spec.name].time if spec.name in places else None
        size = None if time is None else spec.shape[time]
        if time is not None and isinstance(size, int) and inputs[spec.name].shape[time] != size:
            return run_in_chunks(session, inputs, size)
    return session.run(inputs)


def split_steps(session: Session, inputs: Arrays, size: int) -> list[Arrays]:
    """Cut inputs into contiguous pieces of ``size`` time steps; a rest is left out."""
    contract = session.metadata.contract
    assert contract is not None
    times = {name: contract.stream.inputs[name].time for name in inputs}
    count = min(
        (inputs[name].shape[axis] // size for name, axis in times.items() if axis is not None),
        default=1,
    )
    return [
        {name: _piece(value, times[name], slice(index * size, (index + 1) * size))
         for name, value in inputs.items()}
        for index in range(count)
    ]  # fmt: skip


def _piece(value: Array, axis: int | None, part: slice) -> Array:
    if axis is None:
        return value
    return np.ascontiguousarray(value[(slice(None),) * axis + (part,)])


def _shape(
    spec: TensorSpec, axes: Axes, steps: int, batch: int, known: Mapping[str, int]
) -> tuple[int, ...]:
    sizes: list[int] = []
    for axis, size in enumerate(spec.shape):
        if axis == axes.time:
            sizes.append(steps)
        elif axis == axes.batch:
            sizes.append(batch)
        elif isinstance(size, int):
            sizes.append(size)
        elif size in known:
            sizes.append(known[size])
        else:
            raise InputError(
                f"axis {size!r} of {spec} has no fixed size, so no input can be made up for it; "
                f"give its size (--fix {size}=10) or real inputs"
            )
    return tuple(sizes)


def _random(spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 2, shape).astype(dtype)


def _repeated(
    spec: TensorSpec, axes: Axes, given: Mapping[str, Array], steps: int, batch: int
) -> Array:
    if spec.name not in given:
        raise InputError(f"the given inputs {sorted(given)} lack {spec}")
    value = given[spec.name]
    if value.ndim != len(spec.shape) or 0 in value.shape:
        raise InputError(f"expected {spec}, got shape {list(value.shape)}")
    for axis, size in ((axes.time, steps), (axes.batch, batch)):
        if axis is not None:
            value = np.take(value, np.arange(size), axis=axis, mode="wrap")
    return np.ascontiguousarray(value)
