"""How the distance of two models goes along a very long stream, and whether it grows.

Both models are fed the same stream in chunks, each with its own state. Memory does not grow with
the number of steps: errors are summed up in windows of time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.contract import Contract
from edgernn.errors import AccuracyGateError, InputError
from edgernn.sessions import Array, Arrays, Session, Stream
from edgernn.streaming import measure_sequences
from edgernn.trend import FEWEST, KPSS_LIMIT, LATE_GROWTH, LEAST_GROWTH, Trend, judge

CHUNK = 1000
WINDOWS = 200
FEWEST_STEPS = 1000
TRANSIENT = 0.1
"""Share of the steps at the start that the verdict leaves out."""
_LIMIT = 32767  # of an int16 state


@dataclass(frozen=True)
class OutputDrift:
    """Hold how far one output is off along time.

    Attributes:
        rms: Root of the mean squared error in each window.
        largest: Largest absolute error in each window.
        reference_rms: Root of the mean square of the reference's values, to judge the others by.
        trend: Judgement of ``rms``.
    """

    rms: tuple[float, ...]
    largest: tuple[float, ...]
    reference_rms: float
    trend: Trend


@dataclass(frozen=True)
class AtLimit:
    """Hold how often an integer state was at its limit.

    Attributes:
        share: Share of its values.
        limit: Magnitude of the limit. The h of a tanh cell has the limit 1, which is the cell's own
            and no loss; any other limit cuts values off.
    """

    share: float
    limit: float


@dataclass(frozen=True)
class Drift:
    """Hold how far a model is off from its reference along a long stream.

    Attributes:
        steps: Time steps that were run.
        given_steps: Time steps of the inputs; they were repeated if there are fewer than ``steps``.
        edges: Window i holds the steps from ``edges[i]`` to before ``edges[i + 1]``.
        judged_from: First window that the verdict counts.
        outputs: By name.
        saturation: The candidate's integer states at their limits, by name, looked at after each
            chunk.
    """

    steps: int
    given_steps: int
    edges: tuple[int, ...]
    judged_from: int
    outputs: Mapping[str, OutputDrift]
    saturation: Mapping[str, AtLimit]

    @property
    def growing(self) -> tuple[str, ...]:
        """Names of the outputs whose error grows."""
        return tuple(name for name, item in self.outputs.items() if item.trend.growing)

    @property
    def verdict(self) -> str:
        """``"bounded"`` or ``"growing"``."""
        return "growing" if self.growing else "bounded"

    def require_bounded(self) -> None:
        """Check that no error grows.

        Raises:
            AccuracyGateError: One does; names the output.
        """
        for name in self.growing:
            trend = self.outputs[name].trend
            raise AccuracyGateError(
                f"the error of output {name!r} grows: by {trend.growth:.0%} of its median over "
                f"the last {1 - TRANSIENT:.0%} of {self.steps} steps (more than "
                f"{LEAST_GROWTH:.0%} with KPSS {trend.statistic:.2f}, above {KPSS_LIMIT}, is "
                f"growth), from {trend.first:.3g} in the first fifth of them to {trend.last:.3g} "
                f"in the last (more than {LATE_GROWTH:g} times is); reset the state now and then, "
                f"or choose a finer precision for the recurrent layers; if only the input grows, "
                f"give a short one and repeat it with --steps"
            )

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        values = asdict(self)
        return {"verdict": self.verdict, **values}


def measure_drift(
    reference: Session,
    candidate: Session,
    inputs: Mapping[str, Array],
    *,
    steps: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Drift:
    """Run two models side by side over a long stream.

    Args:
        reference: A causal model.
        candidate: One with the same inputs and outputs, on any target.
        inputs: Arrays by name. Those with a time axis are repeated as often as it takes.
        steps: Time steps to run; None for as many as are given.
        progress: Called with the steps done and all steps.

    Raises:
        InputError: The inputs do not fit the models, there are too few steps, or the outputs
            differ in name or shape.
        ContractError: A model cannot stream.
        AccuracyGateError: A model returns NaN or infinity.

    Example:
        >>> measure_drift(session, small, {"x": features}, steps=1_000_000).verdict
        'bounded'
    """
    given, batch = measure_sequences(reference, inputs)
    measure_sequences(candidate, inputs)
    total = given if steps is None else steps
    if total < FEWEST_STEPS:
        raise InputError(
            f"drift needs at least {FEWEST_STEPS} time steps, not {total}; give a longer input, or "
            f"--steps {100 * FEWEST_STEPS}, which repeats it"
        )
    edges = window_edges(total, given)
    windows = _Windows(len(edges) - 1)
    streams = reference.stream(batch), candidate.stream(batch)
    states = _IntegerStates(candidate)
    for start, stop in _chunks(edges):
        piece = _piece(reference, inputs, start, stop, given)
        want, have = (stream.step(piece) for stream in streams)
        _require_comparable(want, have, start, stop)
        windows.add(int(np.searchsorted(edges, stop)) - 1, want, have)
        states.look(streams[1])
        if progress is not None:
            progress(stop, total)
    judged_from = int(np.searchsorted(edges, TRANSIENT * total))
    return Drift(
        steps=total,
        given_steps=given,
        edges=tuple(map(int, edges)),
        judged_from=judged_from,
        outputs=windows.results(judged_from),
        saturation=states.results(),
    )


def window_edges(steps: int, period: int) -> NDArray[np.int64]:
    """Divide steps into about `WINDOWS` equal windows, and the first into growing ones.

    Where the input repeats often enough, a window is a whole number of repetitions, so that all
    windows hold the same input.

    Args:
        steps: Number of steps.
        period: Steps after which the input repeats.
    """
    size = max(steps // WINDOWS, 1)
    whole = -(-size // period) * period
    if steps // whole >= 2 * FEWEST:
        size = whole
    equal = np.arange(size, steps - size + 1, size)
    early = [edge for scale in 10.0 ** np.arange(10) for edge in scale * np.array([1, 2, 5])]
    first = [int(edge) for edge in early if edge < size]
    return np.array([0, *first, *equal, steps], np.int64)


def _chunks(edges: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the steps from and to of successive calls, none of which crosses an edge."""
    for start, stop in pairwise(edges.tolist()):
        for first in range(start, stop, CHUNK):
            yield first, min(first + CHUNK, stop)


class _Windows:
    """Sum squared errors in windows of time, and keep the largest."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._sums: dict[str, NDArray[np.float64]] = {}

    def add(self, window: int, want: Arrays, have: Arrays) -> None:
        for name, value in want.items():
            # squared errors, squared reference, values, largest error
            sums = self._sums.setdefault(name, np.zeros((4, self._count)))
            exact = value.astype(np.float64)
            error = exact - have[name]
            sums[:3, window] += np.square(error).sum(), np.square(exact).sum(), exact.size
            sums[3, window] = max(sums[3, window], np.abs(error).max())

    def results(self, judged_from: int) -> dict[str, OutputDrift]:
        results = {}
        for name, (squares, reference, counts, largest) in self._sums.items():
            rms = np.sqrt(squares / counts)
            scale = float(np.sqrt(reference.sum() / counts.sum()))
            trend = judge(rms[judged_from:], scale)
            results[name] = OutputDrift(
                tuple(rms.tolist()), tuple(largest.tolist()), scale, trend
            )  # fmt: skip
        return results


class _IntegerStates:
    """Count values of integer states that lie at a limit."""

    def __init__(self, session: Session) -> None:
        states = [s for s in _contract(session).states if s.dtype == "int16"]
        self._units = {s.input: 1.0 if s.scale is None else s.scale for s in states}
        self._beyond = dict.fromkeys(self._units, 0)
        self._counted = dict.fromkeys(self._units, 0)

    def look(self, stream: Stream) -> None:
        if not self._units:
            return
        for name, value in stream.state.items():
            if name in self._units:
                at_limit = np.abs(value.astype(np.int32)) >= _LIMIT
                self._beyond[name] += int(np.count_nonzero(at_limit))
                self._counted[name] += value.size

    def results(self) -> dict[str, AtLimit]:
        return {
            name: AtLimit(self._beyond[name] / count, _LIMIT * self._units[name])
            for name, count in self._counted.items()
        }


def _require_comparable(want: Arrays, have: Arrays, start: int, stop: int) -> None:
    for name, value in want.items():
        other = have.get(name)
        if other is None or other.shape != value.shape:
            shape = "no such output" if other is None else f"shape {list(other.shape)}"
            raise InputError(
                f"output {name!r} has shape {list(value.shape)}, and {shape} in the candidate; "
                f"compare models made from one another"
            )
        if not (np.isfinite(value).all() and np.isfinite(other).all()):
            raise AccuracyGateError(
                f"output {name!r} holds NaN or infinite values between the steps {start} and "
                f"{stop}; look at the weights of the models and at the inputs"
            )


def _piece(
    session: Session, inputs: Mapping[str, Array], start: int, stop: int, period: int
) -> Arrays:
    """Cut steps out of inputs that repeat for ever."""
    axes = _contract(session).stream.inputs
    return {
        name: value if axes[name].time is None
        else np.take(value, np.arange(start, stop) % period, axis=axes[name].time)
        for name, value in inputs.items()
    }  # fmt: skip


def _contract(session: Session) -> Contract:
    assert session.metadata.contract is not None  # it was needed to measure the inputs
    return session.metadata.contract
