"""Numeric error of a model against the reference, over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgernn.errors import InputError
from edgernn.sessions import Arrays, Session

STEPS = 200
"""Time steps that the numeric error is taken over."""


@dataclass(frozen=True)
class NumericError:
    """Hold how far a model's outputs are from the reference's on the same inputs.

    Attributes:
        max_abs_error: Largest absolute difference over all outputs.
        by_step: Largest absolute difference at each time step, over the outputs that have a time
            axis; empty if none has.
    """

    max_abs_error: float
    by_step: tuple[float, ...]


def numeric_error(session: Session, inputs: Arrays, expected: Arrays) -> NumericError:
    """Run a whole sequence and compare the outputs with the reference's.

    Args:
        session: The model to judge.
        inputs: What the reference was run on.
        expected: The reference's outputs.

    Raises:
        InputError: The models do not have the same outputs.
    """
    outputs = session.run(inputs)
    shapes = {name: value.shape for name, value in outputs.items()}
    wanted = {name: value.shape for name, value in expected.items()}
    if shapes != wanted:
        raise InputError(
            f"outputs {shapes} cannot be compared with the reference's {wanted}; "
            f"name another reference model"
        )
    contract = session.metadata.contract
    largest, by_step = 0.0, np.zeros(0)
    for name, value in outputs.items():
        error = np.abs(value.astype(np.float64) - expected[name].astype(np.float64))
        largest = max(largest, float(error.max()))
        axis = contract.stream.outputs[name].time if contract is not None else None
        if axis is not None:
            others = tuple(index for index in range(error.ndim) if index != axis)
            series = error.max(axis=others)
            by_step = np.maximum(by_step, series) if len(by_step) == len(series) else series
    return NumericError(largest, tuple(float(value) for value in by_step))
