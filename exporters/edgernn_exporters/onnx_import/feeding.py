"""Draw inputs for a foreign model whose axes are only half known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgernn.contract import Axes, Contract, TensorSpec
from edgernn.sessions import Array, Arrays

SIZES = ((1, 1), (2, 5), (3, 37), (1, 64))  # batch, time steps
_BATCH_WORDS, _BATCH_LETTERS = ("batch",), ("n", "b")
_TIME_WORDS, _TIME_LETTERS = ("time", "seq", "len", "frame", "step"), ("t", "l", "s")


@dataclass(frozen=True)
class Feeder:
    """Draw seeded inputs for a model.

    Attributes:
        specs: Its inputs.
        contract: Where batch and time lie in those inputs that it names; or None.
    """

    specs: Sequence[TensorSpec]
    contract: Contract | None

    def cases(self) -> Iterator[tuple[str, Arrays]]:
        """Yield inputs of several sizes, with a description.

        An axis that nothing is known of is taken for the batch where it is the first, else for
        time, and the other way round. Inputs of one shape are drawn several times.
        """
        fixed = all(isinstance(size, int) for spec in self.specs for size in spec.shape)
        seen = set()
        for time_first in (False, True):
            for seed, (batch, steps) in enumerate(SIZES):
                inputs = self.draw(batch, steps, seed=seed, time_first=time_first)
                shapes = tuple(value.shape for value in inputs.values())
                if (shapes in seen and not fixed) or (fixed and time_first):
                    continue
                seen.add(shapes)
                yield ", ".join(f"{name} {list(v.shape)}" for name, v in inputs.items()), inputs

    def draw(self, batch: int, steps: int, *, seed: int, time_first: bool = False) -> Arrays:
        """Draw normal floats, small integers, and lengths within the time axis."""
        rng = np.random.default_rng(seed)
        roles = self._roles()
        sizes = {"batch": batch, "time": steps}
        inputs: Arrays = {}
        for spec in self.specs:
            shape = [
                size if isinstance(size, int)
                else sizes[roles.get((spec.name, axis)) or roles.get(size)
                           or _guess(size, axis, time_first)]
                for axis, size in enumerate(spec.shape)
            ]  # fmt: skip
            inputs[spec.name] = _values(rng, spec, shape)
        lengths = self.contract.stream.lengths if self.contract else None
        if lengths in inputs:
            most = self._steps(inputs)
            given = inputs[lengths]
            inputs[lengths] = rng.integers(1, most + 1, given.shape).astype(given.dtype)
        return inputs

    def _steps(self, inputs: Arrays) -> int:
        places = self.contract.stream.inputs if self.contract else {}
        return next(
            int(inputs[name].shape[place.time])
            for name, place in places.items()
            if place.time is not None and name in inputs
        )

    def _roles(self) -> dict[object, str]:
        """Return what is known of axes: by input and axis, and by the axis' name."""
        if self.contract is None:
            return {}
        places: dict[str, Axes] = dict(self.contract.stream.inputs)
        places |= {s.input: Axes(s.batch_axis, None) for s in self.contract.states}
        roles: dict[object, str] = {}
        for spec in self.specs:
            place = places.get(spec.name, Axes(None, None))
            for role, axis in (("batch", place.batch), ("time", place.time)):
                if axis is not None and axis < len(spec.shape):
                    roles[spec.name, axis] = role
                    if isinstance(spec.shape[axis], str) and spec.shape[axis] != "?":
                        roles.setdefault(spec.shape[axis], role)
        return roles


def _guess(size: int | str, axis: int, time_first: bool) -> str:
    name = str(size).lower()
    if name in _BATCH_LETTERS or any(word in name for word in _BATCH_WORDS):
        return "batch"
    if name in _TIME_LETTERS or any(word in name for word in _TIME_WORDS):
        return "time"
    return "time" if (axis > 0) != time_first else "batch"


def _values(rng: np.random.Generator, spec: TensorSpec, shape: list[int]) -> Array:
    dtype = np.dtype(spec.dtype)
    if dtype.kind in "iub":
        return np.asarray(rng.integers(0, 2, shape), dtype)  # 0 and 1 are ids in every vocabulary
    return np.asarray(rng.standard_normal(shape), dtype)
