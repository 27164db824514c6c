"""How far two sets of outputs are apart, and how the distance goes along time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgernn.contract import Axes
from edgernn.errors import AccuracyGateError, InputError
from edgernn.sessions import Array


@dataclass(frozen=True)
class OutputDifference:
    """Measure the distance of one output from its reference.

    Attributes:
        max_abs_error: Largest absolute difference.
        mean_abs_error: Mean absolute difference.
        max_abs_reference: Largest absolute reference value, to judge the others by.
        sqnr_db: Signal-to-noise ratio in decibels; infinite if equal.
        error_by_step: Largest absolute difference at each time step; empty without a time axis.
    """

    max_abs_error: float
    mean_abs_error: float
    max_abs_reference: float
    sqnr_db: float
    error_by_step: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """Compare two runs, output by output."""

    outputs: Mapping[str, OutputDifference]

    @property
    def max_abs_error(self) -> float:
        """Largest absolute difference over all outputs; NaN if one cannot be compared."""
        errors = [item.max_abs_error for item in self.outputs.values()]
        return float(np.max(errors))  # unlike Python's max, it does not lose a NaN

    def require_finite(self) -> None:
        """Check that every difference is a number.

        Raises:
            AccuracyGateError: One is NaN or infinite; names the output.
        """
        for name, item in self.outputs.items():
            if not np.isfinite(item.max_abs_error):
                raise AccuracyGateError(
                    f"output {name!r} is off by {item.max_abs_error:g}: one of the models returns "
                    f"NaN or infinity; check its weights and the inputs"
                )

    def require(self, tolerance: float) -> None:
        """Check the largest difference.

        Raises:
            AccuracyGateError: An output is further off than ``tolerance``, or not finite; names it.
        """
        self.require_finite()
        for name, item in self.outputs.items():
            if not item.max_abs_error <= tolerance:
                raise AccuracyGateError(
                    f"output {name!r} is off by {item.max_abs_error:.4g}, more than the "
                    f"tolerance {tolerance:g}; loosen it with --tolerance or choose a finer "
                    f"precision"
                )

    def to_json(self) -> dict[str, Any]:
        """Return plain values; NaN and infinity, which JSON does not have, become None."""
        outputs = {}
        for name, item in self.outputs.items():
            numbers = asdict(item)
            by_step = [_finite(value) for value in numbers.pop("error_by_step")]
            values = {key: _finite(value) for key, value in numbers.items()}
            outputs[name] = {**values, "error_by_step": by_step}
        return {"max_abs_error": _finite(self.max_abs_error), "outputs": outputs}


def compare_outputs(
    reference: Mapping[str, Array],
    candidate: Mapping[str, Array],
    axes: Mapping[str, Axes] | None = None,
) -> Comparison:
    """Compare two sets of outputs.

    Args:
        reference: Arrays by name.
        candidate: Arrays of the same names and shapes.
        axes: Where time lies, to give the error along it.

    Raises:
        InputError: Names or shapes differ, or there is nothing to compare.

    Example:
        >>> compare_outputs({"y": a}, {"y": b}).max_abs_error
    """
    if not reference or any(value.size == 0 for value in reference.values()):
        raise InputError("there are no values to compare; give inputs of at least one time step")
    if set(reference) != set(candidate):
        raise InputError(
            f"the models have different outputs, {sorted(reference)} and {sorted(candidate)}; "
            f"compare models made from one another"
        )
    return Comparison({
        name: _difference(name, want, candidate[name], axes) for name, want in reference.items()
    })  # fmt: skip


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


_TINY = float(np.finfo(np.float64).tiny)


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return np.inf
    if noise == np.inf:
        return -np.inf
    return float(10 * np.log10(max(signal, _TINY) / noise + _TINY))


def _difference(
    name: str, want: Array, have: Array, axes: Mapping[str, Axes] | None
) -> OutputDifference:
    if want.shape != have.shape:
        raise InputError(
            f"output {name!r} has shapes {list(want.shape)} and {list(have.shape)}; "
            f"compare models made from one another"
        )
    exact = want.astype(np.float64)
    given = have.astype(np.float64)
    with np.errstate(invalid="ignore"):  # inf - inf, where the two are equal
        distance = np.where(exact == given, 0.0, np.abs(exact - given))
    noise, signal = float((distance**2).sum()), float((exact**2).sum())
    time = axes[name].time if axes and name in axes else None
    by_step: tuple[float, ...] = ()
    if time is not None:
        along = np.moveaxis(distance, time, 0).reshape(distance.shape[time], -1)
        by_step = tuple(float(value) for value in along.max(axis=1))
    return OutputDifference(
        max_abs_error=float(distance.max(initial=0.0)),
        mean_abs_error=float(distance.mean()),
        max_abs_reference=float(np.abs(exact).max(initial=0.0)),
        sqnr_db=_decibels(signal, noise),
        error_by_step=by_step,
    )
