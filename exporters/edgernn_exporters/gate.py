"""The export gate: an exported model is accepted only if it is the same function.

PyTorch and the exported file must agree at lengths and batch sizes other than the traced ones,
and for causal models the whole sequence, chunks and single steps must give the same result.

Two correct float32 programs differ by rounding, which a trained network can amplify over many
steps. How far, the source tells: its own distance from itself in float64 is measured. Without a
tolerance of the caller's, a case may be off by `TOLERANCE` or by a small multiple of that
distance, whichever is more (docs/decisions/0007).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from edgernn.contract import Axes
from edgernn.errors import AccuracyGateError, EdgernnError
from edgernn.sessions import Array, Arrays, Session
from edgernn.streaming import run_in_chunks

Reference = Callable[[Arrays], Arrays]
Sample = Callable[[int, int], Arrays]
InSteps = Callable[[Sequence[Arrays]], list[Arrays]]

STEPS = 1000
TOLERANCE = 1e-5
ROUNDING_FACTOR = 10.0
LOOSEST = 1e-2  # a network so sensitive that rounding moves it further cannot be judged
CHUNKS = (1, 7, 64)


@dataclass(frozen=True)
class GateResult:
    """Report an export gate that passed.

    Attributes:
        cases: Comparisons made.
        max_error: Largest error over all of them, relative to ``max(1, |reference|)``.
        tolerance: The most that was allowed in any case.
        rounding: Largest distance of the source in float32 from itself in float64, on the same
            scale; 0 if it does not run in float64.
    """

    cases: int
    max_error: float
    tolerance: float
    rounding: float

    def to_json(self) -> dict[str, float]:
        """Return what a file's metadata keep of it."""
        return {
            "cases": self.cases,
            "tolerance": self.tolerance,
            "max_error": float(f"{self.max_error:.3g}"),
            "rounding": float(f"{self.rounding:.3g}"),
        }


@dataclass(frozen=True)
class Shapes:
    """List the sequence lengths and batch sizes to try.

    Attributes:
        lengths: Time steps.
        batches: Rows.
    """

    lengths: Sequence[int]
    batches: Sequence[int]

    @staticmethod
    def other_than(length: int | None, batch: int | None) -> Shapes:
        """Return three lengths and three batch sizes that differ from the traced ones."""
        lengths = [size for size in (1, 5, 37, 90) if size != length]
        batches = [size for size in (1, 3, 8, 4) if size != batch]
        return Shapes(lengths[:3], batches[:3])


def gate(
    session: Session,
    reference: Reference,
    sample: Sample,
    shapes: Shapes,
    *,
    exact: Reference | None = None,
    tolerance: float | None = None,
    steps: int = STEPS,
    in_steps: InSteps | None = None,
) -> GateResult:
    """Compare an exported model with what it was exported from.

    Args:
        session: The exported model, loaded.
        reference: Runs whole sequences in the source framework from the initial state.
        sample: Makes model inputs for ``(batch, length)``.
        shapes: Lengths and batch sizes to try.
        exact: The same as ``reference`` in float64, to measure its rounding; or None.
        tolerance: Allowed ``max|a - b| / max(1, max|reference|)``; None for `TOLERANCE`, or
            more where the rounding of ``exact`` says so.
        steps: Length of the streaming comparison.
        in_steps: For a model without a time axis, which is one step: runs a list of inputs in the
            source framework, handing its state on.

    Raises:
        AccuracyGateError: A case exceeds the tolerance; the message names the case, the output,
            the place and the distance.
    """
    contract = session.metadata.contract
    assert contract is not None
    checker = _Checker(contract.stream.outputs, tolerance, exact)
    for length in shapes.lengths:
        for batch in shapes.batches:
            case = f"PyTorch against ONNX Runtime, batch {batch}, length {length}"
            inputs = sample(batch, length)
            expected = reference(inputs)
            checker.measure_rounding(inputs, expected)
            checker.compare(case, expected, _attempt(case, session.run, inputs))
    rows = min(2, max(shapes.batches, default=1))
    if contract.stream.causal and in_steps is not None:
        _gate_steps(session, in_steps, [sample(rows, 1) for _ in range(steps)], checker)
    elif contract.stream.causal and _has_time(contract.stream.inputs):
        _gate_streaming(session, reference, sample(rows, steps), checker, rows, steps)
    if checker.cases == 0:
        raise AccuracyGateError("export gate: there was no case to compare; give other lengths")
    return GateResult(checker.cases, checker.max_error, checker.loosest, checker.max_rounding)


def _has_time(axes: Mapping[str, Axes]) -> bool:
    return any(place.time is not None for place in axes.values())


def _gate_steps(
    session: Session, in_steps: InSteps, inputs: Sequence[Arrays], checker: _Checker
) -> None:
    """Compare a model that is one time step with its source, both handing their state on."""
    contract = session.metadata.contract
    assert contract is not None
    axes = [(name, place.batch) for name, place in contract.stream.inputs.items()]
    batch = next((inputs[0][name].shape[axis] for name, axis in axes if axis is not None), 1)
    stream = session.stream(batch=batch)
    for index, (given, expected) in enumerate(zip(inputs, in_steps(inputs), strict=True)):
        case = f"PyTorch against ONNX Runtime, batch {batch}, step {index}"
        got = _attempt(case, stream.step, given)
        checker.compare(case, expected, got)


def _gate_streaming(
    session: Session,
    reference: Reference,
    inputs: Arrays,
    checker: _Checker,
    batch: int,
    steps: int,
) -> None:
    case = f"PyTorch against ONNX Runtime, batch {batch}, length {steps}"
    whole, expected = _attempt(case, session.run, inputs), reference(inputs)
    checker.measure_rounding(inputs, expected)
    checker.compare(case, expected, whole)
    for chunk in CHUNKS:
        what = "step by step" if chunk == 1 else f"in chunks of {chunk}"
        case = f"{what} against the whole sequence, batch {batch}, {steps} steps"
        pieces = _attempt(case, partial(run_in_chunks, session, chunk=chunk), inputs)
        checker.compare(case, whole, pieces, causal_hint=True)


def _attempt(case: str, run: Callable[[Arrays], Arrays], inputs: Arrays) -> Arrays:
    try:
        return run(inputs)
    except EdgernnError as error:
        raise AccuracyGateError(
            f"export gate: {case}: the exported model does not run ({error}); the exporter has "
            f"fixed a size that must stay dynamic, often through a Python int taken from a "
            f"shape, as int(x.shape[0]) makes"
        ) from None


class _Checker:
    def __init__(
        self, axes: Mapping[str, Axes], tolerance: float | None, exact: Reference | None
    ) -> None:
        self._axes = axes
        self._tolerance = tolerance
        self._exact = exact if tolerance is None else None
        self._rounding: dict[str, float] = {}
        self.cases = 0
        self.loosest = TOLERANCE if tolerance is None else tolerance
        self.max_error = 0.0
        self.max_rounding = 0.0

    def measure_rounding(self, inputs: Arrays, expected: Arrays) -> None:
        """Measure, for the cases that follow, how far rounding alone moves the reference."""
        if self._exact is None:
            return
        for name, value in self._exact(inputs).items():
            if expected[name].dtype.kind == "f":  # a tie in an argmax is no rounding
                distance, scale = np.abs(value - expected[name]), np.abs(value).max(initial=1.0)
                self._rounding[name] = float(distance.max(initial=0.0) / scale)
        self.max_rounding = max(self.max_rounding, *self._rounding.values(), 0.0)

    def compare(
        self, case: str, expected: Arrays, got: Arrays, *, causal_hint: bool = False
    ) -> None:
        for name, want in expected.items():
            have = got[name]
            if want.shape != have.shape:
                raise AccuracyGateError(
                    f"export gate: {case}: output {name!r} has shape {list(have.shape)} instead "
                    f"of {list(want.shape)}; the exported model must keep batch and time as they "
                    f"come in{_CAUSAL_HINT if causal_hint else ''}"
                )
            self.cases += 1
            exact = want.astype(np.float64)
            if not np.isfinite(exact).all():
                raise AccuracyGateError(
                    f"export gate: {case}: the reference itself returns NaN or infinite values in "
                    f"output {name!r}; look for a division by zero or a logarithm in the module, "
                    f"and give examples without negative values for inputs that have none"
                )
            scale = max(1.0, float(np.abs(exact).max(initial=0.0)))
            with np.errstate(invalid="ignore"):
                distance = np.abs(exact - have.astype(np.float64)) / scale
            error = float(distance.max(initial=0.0))
            self.max_error = max(self.max_error, error)
            allowed = self._allowed(name)
            self.loosest = max(self.loosest, allowed)
            if not error <= allowed:  # also catches NaN
                raise AccuracyGateError(
                    f"export gate: {case}: output {name!r} is off by {error:.3g} "
                    f"{self._place(name, distance, allowed)}(tolerance {allowed:.1e}), so nothing "
                    f"was written{_CAUSAL_HINT if causal_hint else ''}"
                )

    def _allowed(self, name: str) -> float:
        if self._tolerance is not None:
            return self._tolerance
        rounding = ROUNDING_FACTOR * self._rounding.get(name, 0.0)
        return max(TOLERANCE, min(rounding, LOOSEST))

    def _place(self, name: str, distance: Array, allowed: float) -> str:
        axis = self._axes[name].time
        if axis is None:
            return ""
        along = np.moveaxis(distance, axis, 0).reshape(distance.shape[axis], -1).max(axis=1)
        first = int(np.argmax(~(along <= allowed)))
        return f"from time step {first} on "


_CAUSAL_HINT = (
    "; the model looks at more than its recurrent state carries (pooling over time, or a "
    "convolution): move that out of the module, or say which argument of forward holds it with "
    "states={'cache': 'next_cache'} (--state cache=next_cache), or export with causal=False "
    "(--not-causal) for whole sequences only"
)
