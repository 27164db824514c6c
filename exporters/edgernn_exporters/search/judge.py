"""How good a model is on a task's data, against the float model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgernn.errors import AccuracyGateError
from edgernn.sessions import Arrays, Session
from edgernn.tasks.base import Batch, Metric, Split, Task


@dataclass(frozen=True)
class Judged:
    """Hold how good one model is; see `candidates.Measured` for the fields."""

    metric: float
    drop: float
    noise: float


class Judge:
    """Compare models with the float model on one split; its outputs are computed once.

    Args:
        task: Says the metric.
        split: What is measured on; its batches are kept in memory.
        reference: The float model.

    Raises:
        InputError: The split is empty, or the model's outputs are not the task's.
    """

    def __init__(self, task: Task, split: Split, reference: Session) -> None:
        self._task, self._split = task, HeldSplit(split)
        self._outputs: list[Arrays] = []
        seen = hashlib.sha256()

        def run(inputs: Arrays) -> Arrays:
            outputs = reference.run(inputs)
            for name, value in sorted(inputs.items()):
                seen.update(f"{name} {value.dtype} {value.shape}".encode())
                seen.update(np.ascontiguousarray(value).tobytes())
            self._outputs.append(outputs)
            return outputs

        self._reference = task.score(run, self._split)[task.metric.name]
        self._digest = f"{seen.hexdigest()} {task.name} {self._reference!r}"

    @property
    def task(self) -> str:
        """Name of the task."""
        return self._task.name

    @property
    def metric(self) -> Metric:
        """What is measured."""
        return self._task.metric

    @property
    def reference(self) -> float:
        """The float model's metric."""
        return self._reference

    @property
    def examples(self) -> int:
        """Number of examples in the split."""
        return len(self._split)

    @property
    def fingerprint(self) -> str:
        """A text that differs if data, task or the float model's metric differ."""
        return self._digest

    def __call__(self, session: Session) -> Judged:
        """Measure a model.

        Raises:
            AccuracyGateError: It returns NaN or infinite values.
        """
        wanted = iter(self._outputs)
        noise: dict[str, float] = {}
        power: dict[str, float] = {}

        def run(inputs: Arrays) -> Arrays:
            outputs = session.run(inputs)
            for name, want in next(wanted).items():
                exact, given = want.astype(np.float64), outputs[name].astype(np.float64)
                if not np.isfinite(given).all():
                    raise AccuracyGateError(f"output {name!r} holds NaN or infinite values")
                noise[name] = noise.get(name, 0.0) + float(((given - exact) ** 2).sum())
                power[name] = power.get(name, 0.0) + float((exact**2).sum())
            return outputs

        value = self._task.score(run, self._split)[self.metric.name]
        if not np.isfinite(value):
            raise AccuracyGateError(f"{self.metric.name} is {value}")
        shares = [noise[name] / max(power[name], np.finfo(np.float64).tiny) for name in noise]
        return Judged(value, self._drop(value), min(max(shares), 1e20))

    def _drop(self, value: float) -> float:
        if self.metric.higher_is_better:
            return self._reference - value
        return (value - self._reference) / max(abs(self._reference), 1e-30)


class HeldSplit:
    """A split whose batches are computed once and kept in memory."""

    def __init__(self, split: Split) -> None:
        self._inner = split
        self._held: dict[int, list[Batch]] = {}

    def __len__(self) -> int:
        """Count the examples."""
        return len(self._inner)

    def epoch(self, epoch: int, *, seed: int, batch_size: int) -> Iterator[Batch]:
        """Yield the inner split's epoch."""
        return self._inner.epoch(epoch, seed=seed, batch_size=batch_size)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield every example once; the same batches in each call."""
        if batch_size not in self._held:
            self._held[batch_size] = list(self._inner.batches(batch_size))
        return iter(self._held[batch_size])
