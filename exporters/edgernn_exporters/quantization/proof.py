"""Prove that a quantized model runs, and that it does not depend on how it is fed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from edgernn.comparison import compare_outputs
from edgernn.contract import Axes, TensorSpec
from edgernn.errors import AccuracyGateError, EdgernnError, ModelError
from edgernn.sessions import Array, Arrays, Session
from edgernn.streaming import run_in_chunks
from edgernn_exporters.gate import CHUNKS

STEPS = 70
TOLERANCE = 2e-2
_ADVICE = "if the float model does, this is a defect to report; --keep LAYER may avoid it"


def prove_file(written: Path, path: Path, load: Callable[[Path], Session]) -> None:
    """Load a quantized model and `prove` it.

    Args:
        written: Where it is now.
        path: Where it is to be, for messages.
        load: Opens an ONNX file.

    Raises:
        AccuracyGateError: It does not load, or see `prove`.
    """
    try:
        prove(load(written))
    except ModelError as error:
        message = f"the quantized model does not load: {error}; {_ADVICE}"
    except AccuracyGateError as error:
        message = str(error)
    else:
        return
    message = message.replace(f"{written}: ", "").replace(str(written), str(path))
    raise AccuracyGateError(f"{path}: {message}")


def prove(session: Session) -> None:
    """Run a quantized model on random sequences, whole and in chunks, and close it.

    The quantized layers do the same arithmetic row by row, whole or in chunks. Float layers before
    them (normalization, convolution) may differ in the last bit of a sum, which can move one
    rounding by a step of 1/127: 1.5e-3 was seen at the output. A state that is not handed on
    shows as 0.1 and more, so the tolerance lies between.

    Raises:
        AccuracyGateError: It does not run, gives values that are not finite, or chunks differ.
    """
    contract = session.metadata.contract
    try:
        axes = contract.stream.inputs if contract is not None else {}
        lengths = contract.stream.lengths if contract is not None else None
        inputs = random_inputs(session.inputs, axes, batch=2, steps=STEPS, lengths=lengths)
        whole = session.run(inputs)
        for name, value in whole.items():
            if not np.isfinite(value).all():
                raise AccuracyGateError(
                    f"the quantized model returns NaN or infinite values in output {name!r}"
                )
        if contract is not None and contract.stream.causal:
            if all(place.time is None for place in axes.values()):  # the model is one step
                _compare("one step", whole, session.stream(batch=2).step(inputs))
            else:
                for chunk in CHUNKS:
                    _compare(f"chunks of {chunk}", whole, run_in_chunks(session, inputs, chunk))
    except AccuracyGateError:
        raise
    except EdgernnError as error:
        raise AccuracyGateError(f"the quantized model does not run: {error}; {_ADVICE}") from None
    finally:
        session.close()


def random_inputs(
    specs: tuple[TensorSpec, ...],
    axes: Mapping[str, Axes],
    *,
    batch: int,
    steps: int,
    lengths: str | None = None,
) -> Arrays:
    """Draw seeded inputs: normal floats, and zeros and ones for integers other than lengths.

    Args:
        specs: The inputs.
        axes: Where batch and time lie, as far as it is known; elsewhere an axis with a name has
            ``steps`` entries if it is called time, else ``batch``.
        batch: Rows.
        steps: Time steps.
        lengths: Name of the input with the steps of each row: ``steps`` in the first, then fewer.
    """
    rng = np.random.default_rng(0)
    inputs: Arrays = {}
    for spec in specs:
        place = axes.get(spec.name, Axes(batch=None, time=None))
        shape = [
            size if isinstance(size, int)
            else steps if axis == place.time or (place.time is None and size == "time")
            else batch
            for axis, size in enumerate(spec.shape)
        ]  # fmt: skip
        value: Array = rng.standard_normal(shape)
        if spec.name == lengths:
            value = np.linspace(steps, 1, shape[0])
        elif np.dtype(spec.dtype).kind != "f":
            value = value > 0
        inputs[spec.name] = value.astype(spec.dtype)
    return inputs


def _compare(how: str, whole: Arrays, pieces: Arrays) -> None:
    compared = compare_outputs(whole, pieces)
    for name in whole:
        difference = compared.outputs[name]
        error = difference.max_abs_error / max(1.0, difference.max_abs_reference)
        if not error <= TOLERANCE:  # also catches NaN
            raise AccuracyGateError(
                f"the quantized model depends on chunking: in {how}, output {name!r} "
                f"is off by {error:.3g}; the float model was not causal, or this is a defect"
            )
