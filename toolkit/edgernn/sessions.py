"""The one interface behind which every target runs a model, and the checks they share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgernn.contract import Axes, TensorSpec
from edgernn.errors import InputError
from edgernn.metadata import Metadata

Array = NDArray[Any]
Arrays = dict[str, Array]


@runtime_checkable
class Stream(Protocol):
    """One live sequence (or a batch of them in lockstep) with its own state."""

    def step(self, x: Array | Mapping[str, Array]) -> Any:
        """Advance by the time steps in ``x`` (one or more) and return the outputs for them.

        Takes and returns an array where the model has one input and one output, else dicts.
        If the input is refused the state stays as it was.

        Raises:
            InputError: Wrong name, rank, size or dtype, or a NaN or infinity.
        """
        ...

    def reset(self) -> None:
        """Return to the initial state."""
        ...

    @property
    def state(self) -> Arrays:
        """A copy of the state by input name; assign one to restore it."""
        ...

    @state.setter
    def state(self, value: Mapping[str, Array]) -> None: ...


@runtime_checkable
class Session(Protocol):
    """A model loaded on a target.

    Attributes:
        target: Name of the target, such as ``"cpu"``.
        metadata: What the model file says about itself.
        inputs: Inputs that the caller gives; states are not among them.
        outputs: Outputs that the caller gets; states are not among them.
        states: State inputs.
    """

    target: str
    metadata: Metadata
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[TensorSpec, ...]

    def run(self, inputs: Mapping[str, Array]) -> Arrays:
        """Run whole sequences from the initial state; safe to call from several threads.

        Raises:
            InputError: Wrong name, rank, size or dtype, or a NaN or infinity.
        """
        ...

    def stream(self, batch: int = 1) -> Stream:
        """Open a stream that carries its state from call to call.

        Raises:
            ContractError: The model has no state contract or is not causal.
        """
        ...

    def close(self) -> None:
        """Free what the session holds on the target."""
        ...


class Measurement(Protocol):
    """What an emulator counted. Instructions are not cycles, and say nothing of time."""

    @property
    def instructions_per_step(self) -> float:
        """Instructions of one time step; the same in every run."""
        ...

    @property
    def flash_bytes(self) -> int:
        """Code and constants."""
        ...

    @property
    def static_ram_bytes(self) -> int:
        """Variables, the model's state among them; without the stack."""
        ...

    @property
    def peak_stack_bytes(self) -> int:
        """Deepest stack of the program."""
        ...


@runtime_checkable
class Emulated(Protocol):
    """A `Session` on an emulated core, which is counted instead of timed."""

    def measure(self, steps: int) -> Measurement:
        """Run a sequence of ``steps`` time steps in one call and return what was counted."""
        ...


def check_inputs(
    specs: tuple[TensorSpec, ...],
    axes: Mapping[str, Axes],
    given: Mapping[str, Array],
    lengths: str | None = None,
) -> None:
    """Compare given arrays with the model's inputs.

    Args:
        specs: The expected inputs.
        axes: Where batch and time lie, to check that the inputs agree; may be empty.
        given: Arrays by name.
        lengths: Input with the valid time steps of each row (`StreamSpec.lengths`), if any.

    Raises:
        InputError: Names, dtype, rank, a fixed size, or the agreement of batch or time is wrong,
            an axis is empty, a value is NaN or infinite, or a length is negative or above the
            size of the time axis. Names what was expected.
    """
    names = [spec.name for spec in specs]
    if not isinstance(given, Mapping):
        raise InputError(f"give a dict of arrays by the names {names}, not {type(given).__name__}")
    if set(names) != set(given):
        raise InputError(f"the model takes inputs {names}, but {list(given)} were given")
    for spec in specs:
        check_tensor(spec, given[spec.name])
    for what in ("batch", "time"):
        sizes = {
            name: given[name].shape[axis]
            for name, place in axes.items()
            if name in given and (axis := getattr(place, what)) is not None
        }
        if len(set(sizes.values())) > 1:
            raise InputError(f"the inputs disagree on the size of the {what} axis: {sizes}")
    if lengths is not None:
        check_lengths(lengths, axes, given)


def check_lengths(name: str, axes: Mapping[str, Axes], given: Mapping[str, Array]) -> None:
    """Compare the valid time steps of each row with the size of the time axis.

    A length of 0 is allowed: what a recurrent layer gives for that row is zeros.

    Args:
        name: Input with the lengths.
        axes: Where batch and time lie.
        given: Arrays by name, which have passed the other checks of `check_inputs`.

    Raises:
        InputError: A length is negative or above the size of the time axis.
    """
    steps = next(
        given[other].shape[place.time] for other, place in axes.items() if place.time is not None
    )
    values = given[name]
    wrong = np.flatnonzero((values < 0) | (values > steps))
    if wrong.size:
        row = int(wrong[0])
        raise InputError(
            f"{name} is {int(values[row])} for row {row}, but the inputs have {steps} time steps; "
            f"give lengths from 0 to {steps}"
        )


def check_tensor(spec: TensorSpec, value: Array) -> None:
    """Compare one array with its specification.

    Raises:
        InputError: As `check_inputs`.
    """
    if not isinstance(value, np.ndarray):
        raise InputError(f"{spec.name} must be a numpy array, not {type(value).__name__}")
    if value.dtype.name != spec.dtype:
        raise InputError(
            f"expected {spec}, got dtype {value.dtype.name}; convert with .astype('{spec.dtype}')"
        )
    if not value.dtype.isnative:
        raise InputError(
            f"expected {spec}, got the byte order of another machine ({value.dtype.str}); "
            f"convert with .astype('{spec.dtype}')"
        )
    fits = value.ndim == len(spec.shape) and all(
        size == want for size, want in zip(value.shape, spec.shape, strict=True)
        if isinstance(want, int)
    )  # fmt: skip
    if not fits:
        raise InputError(f"expected {spec}, got shape {list(value.shape)}")
    if 0 in value.shape:
        raise InputError(f"expected {spec}, got an empty array of shape {list(value.shape)}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        where = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
        raise InputError(
            f"{spec.name} holds {value[where]} at index {list(where)}; "
            f"replace NaN and infinite values before running the model"
        )
