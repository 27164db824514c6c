"""Numeric error of a model against the reference, over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgernn.comparison import compare_outputs
from edgernn.contract import Axes
from edgernn.sessions import Arrays, Session
from edgernn_benchmarks.inputs import run_whole, without_time

STEPS = 200
"""Time steps that the numeric error is taken over (but see `inputs.common_steps`)."""


@dataclass(frozen=True)
class NumericError:
    """Hold how far a model's outputs are from the reference's on the same inputs.

    Attributes:
        max_abs_error: Largest absolute difference over all outputs; None if it is not finite.
        by_step: Largest absolute difference at each time step, over the outputs that have a time
            axis, and all of a model without one; empty if there is none, or one is not finite.
        note: What a reader must know, or None.
    """

    max_abs_error: float | None
    by_step: tuple[float, ...]
    note: str | None = None


def numeric_error(session: Session, calls: Sequence[Arrays], expected: Arrays) -> NumericError:
    """Run a whole sequence and compare the outputs with the reference's.

    Args:
        session: The model to judge.
        calls: What the reference was run on, as `inputs.make_calls` makes it.
        expected: The reference's outputs.

    Raises:
        InputError: The models do not have the same outputs.
    """
    contract = session.metadata.contract
    axes = contract.stream.outputs if contract is not None else {}
    if without_time(session):
        axes = dict.fromkeys(axes, Axes(batch=None, time=0))  # the steps are joined along it
    found = compare_outputs(expected, run_whole(session, calls), axes)
    if not np.isfinite(found.max_abs_error):
        return NumericError(
            None,
            (),
            "no numeric error: this model or the reference returns NaN or infinity; "
            "check its weights and the inputs",
        )
    by_step = np.zeros(0)
    for item in found.outputs.values():
        series = np.array(item.error_by_step)
        if len(series):
            by_step = np.maximum(by_step, series) if len(by_step) == len(series) else series
    return NumericError(found.max_abs_error, tuple(float(value) for value in by_step))
