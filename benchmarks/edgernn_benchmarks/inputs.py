"""What the models are fed: the user's arrays, repeated as needed, or seeded random numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgernn.contract import Axes, TensorSpec
from edgernn.errors import ContractError, InputError
from edgernn.sessions import Array, Arrays, Session
from edgernn.streaming import measure_sequences, run_in_chunks, steps_at_once

RANDOM = "seeded standard normal numbers (random ids 0 and 1 for integers)"
GIVEN = "the given inputs, repeated to the needed length"

DRAWS = 16
"""Different random inputs of a model without a time axis, which is given one of them each step."""


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


def make_calls(session: Session, steps: int, batch: int, *, seed: int, **what: Any) -> list[Arrays]:
    """Make what a model is given to advance by ``steps`` time steps.

    Args:
        session: The loaded model.
        steps: Time steps.
        batch: Rows.
        seed: Of the random numbers.
        **what: ``given`` and ``sizes`` of `make_inputs`.

    Returns:
        Inputs with all steps; if the model has no time axis, the inputs of each step: what is
        given, or `DRAWS` random ones in turn.

    Raises:
        ContractError, InputError: As `make_inputs`.
    """
    timeless = without_time(session)
    draws = min(steps, DRAWS) if timeless and what.get("given") is None else 1
    made = [make_inputs(session, steps, batch, seed=seed + index, **what) for index in range(draws)]
    return [made[step % draws] for step in range(steps)] if timeless else made


def without_time(session: Session) -> bool:
    """Say whether a call is one time step, because no input has a time axis."""
    contract = session.metadata.contract
    return contract is not None and all(
        place.time is None for place in contract.stream.inputs.values()
    )


def common_steps(sessions: Iterable[Session], most: int) -> int:
    """Return how many time steps, up to ``most``, all models can run.

    More than ``most`` if fewer do not do: models may take a fixed number of steps at once.
    """
    fixed = [(size, session) for session in sessions if (size := steps_at_once(session))]
    size = math.lcm(*(size for size, _ in fixed))
    if all(_streams(session) for _, session in fixed):
        return max(size, most - most % size)
    return size


def run_whole(session: Session, calls: Sequence[Arrays]) -> Arrays:
    """Run a whole sequence, through a stream where the model takes fewer steps at once.

    Args:
        session: The loaded model.
        calls: What `make_calls` made; one row if the model has no time axis.

    Returns:
        The outputs; of a model without a time axis those of all steps, along a new first axis.

    Raises:
        ContractError, InputError: As `edgernn.streaming.run_in_chunks`.
    """
    if without_time(session):
        advance = session.stream().step if _streams(session) else session.run
        steps = [advance(inputs) for inputs in calls]
        return {spec.name: np.stack([step[spec.name] for step in steps])
                for spec in session.outputs}  # fmt: skip
    size = steps_at_once(session)
    if size is not None and measure_sequences(session, calls[0])[0] != size:
        return run_in_chunks(session, calls[0], size)
    return session.run(calls[0])


def split_steps(session: Session, inputs: Arrays, size: int) -> list[Arrays]:
    """Cut inputs with a time axis into contiguous pieces of ``size`` steps; a rest is left out."""
    contract = session.metadata.contract
    assert contract is not None
    times = {name: contract.stream.inputs[name].time for name in inputs}
    count = min(
        inputs[name].shape[axis] // size for name, axis in times.items() if axis is not None
    )
    return [
        {name: _piece(value, times[name], slice(index * size, (index + 1) * size))
         for name, value in inputs.items()}
        for index in range(count)
    ]  # fmt: skip


def _streams(session: Session) -> bool:
    contract = session.metadata.contract
    return contract is not None and contract.stream.causal and contract.stream.lengths is None


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
