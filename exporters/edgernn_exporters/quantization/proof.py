"""Prove that a quantized model runs, and that it does not depend on how it is fed."""

from __future__ import annotations

import numpy as np

from edgernn.contract import TensorSpec
from edgernn.errors import AccuracyGateError, EdgernnError
from edgernn.sessions import Array, Arrays, Session
from edgernn.streaming import run_in_chunks
from edgernn_exporters.gate import CHUNKS

STEPS = 70
TOLERANCE = 1e-4


def prove(session: Session) -> None:
    """Run a quantized model on random sequences, whole and in chunks, and close it.

    Whole and chunked runs do the same arithmetic row by row; what may differ is the last bit of
    a float sum, which can move a rounding, so the tolerance is loose.

    Raises:
        AccuracyGateError: It does not run, gives values that are not finite, or chunks differ.
    """
    contract = session.metadata.contract
    try:
        inputs = random_inputs(session.inputs, batch=2, steps=STEPS)
        whole = session.run(inputs)
        for name, value in whole.items():
            if not np.isfinite(value).all():
                raise AccuracyGateError(
                    f"the quantized model returns NaN or infinite values in output {name!r}"
                )
        if contract is not None and contract.stream.causal:
            for chunk in CHUNKS:
                _compare(chunk, whole, run_in_chunks(session, inputs, chunk))
    except AccuracyGateError:
        raise
    except EdgernnError as error:
        raise AccuracyGateError(f"the quantized model does not run: {error}") from None
    finally:
        session.close()


def random_inputs(specs: tuple[TensorSpec, ...], *, batch: int, steps: int) -> Arrays:
    """Draw seeded inputs: normal floats, and zeros and ones for integers."""
    rng = np.random.default_rng(0)
    inputs: Arrays = {}
    for spec in specs:
        sizes = {"batch": batch, "time": steps}
        shape = [size if isinstance(size, int) else sizes.get(size, batch) for size in spec.shape]
        value: Array = rng.standard_normal(shape)
        if np.dtype(spec.dtype).kind != "f":
            value = value > 0
        inputs[spec.name] = value.astype(spec.dtype)
    return inputs


def _compare(chunk: int, whole: Arrays, pieces: Arrays) -> None:
    for name, expected in whole.items():
        scale = max(1.0, float(np.abs(expected).max()))
        error = float(np.abs(expected - pieces[name]).max()) / scale
        if error > TOLERANCE:
            raise AccuracyGateError(
                f"the quantized model depends on chunking: in chunks of {chunk}, output {name!r} "
                f"is off by {error:.3g}; the float model was not causal, or this is a defect"
            )
