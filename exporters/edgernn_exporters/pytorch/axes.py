"""Find the batch and time axes of a module's inputs by trying other sizes.

One axis of each input at a time is made longer, and the recurrent layers tell what it was: the
batch if they get more rows of equally many steps, time if they get more steps. Where there is no
recurrent layer the outputs tell: rows of a batch do not depend on each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product

import torch
from torch import Tensor

from edgernn.errors import InputError, ModelError
from edgernn_exporters.pytorch.observing import Observation

BATCH, TIME = "batch", "time"
Dims = tuple[str | None, ...]  # for each axis of one input: what its size is, None if it is fixed
Run = Callable[[Sequence[Tensor]], Observation]
MOST_TRIALS = 300
_HINT = (
    "say it with axes={{{name!r}: ({dims})}} (--axes {name}={text}), with None (_) for axes whose "
    "size is fixed"
)


def resized(arg: Tensor, dims: Dims, sizes: Mapping[str, int]) -> Tensor:
    """Repeat or cut an example along the axes whose sizes are given."""
    for axis, name in enumerate(dims):
        if name is not None and name in sizes:
            arg = resized_along(arg, axis, sizes[name])
    return arg


def resized_along(arg: Tensor, axis: int, size: int) -> Tensor:
    """Repeat or cut an example along one axis."""
    return arg.index_select(axis, torch.arange(size) % arg.shape[axis])


def find_axes(
    run: Run,
    names: Sequence[str],
    args: Sequence[Tensor],
    given: Mapping[str, Sequence[str | None]] | None = None,
) -> tuple[Dims, ...]:
    """Name the dynamic axes of all inputs.

    Args:
        run: Runs the module; raises what its forward raises.
        names: Of the inputs.
        args: Example inputs.
        given: Axes that the user has named, by input: ``"batch"``, ``"time"``, None, or another
            word for a size that is neither.

    Returns:
        For each input a name or None for each axis.

    Raises:
        InputError: The given axes do not fit the inputs.
        ModelError: Which axis is time cannot be found.
    """
    fixed = _checked(given or {}, names, args)
    base = run(args)
    search = _Search(run, names, args, fixed, base)
    dims = [fixed.get(name, (None,) * arg.ndim) for name, arg in zip(names, args, strict=True)]
    batch = search.find(BATCH, dims)
    dims = [_with(place, axis, BATCH) for place, axis in zip(dims, batch, strict=True)]
    time = search.find(TIME, dims)
    dims = [_with(place, axis, TIME) for place, axis in zip(dims, time, strict=True)]
    if not any(TIME in place for place in dims) and not given and not _is_step(base):
        name, rank = names[0], args[0].ndim
        raise ModelError(
            f"no axis of the inputs can be longer and give the recurrent layers more time steps, "
            f"so the time axis was not found; make forward accept any length, or "
            f"{_hint(name, rank)}"
        )
    return tuple(search.free(dims))


def _is_step(base: Observation) -> bool:
    """Say whether a forward pass is a single time step."""
    return all(call.time == 1 for call in base.calls)


def _with(dims: Dims, axis: int | None, name: str) -> Dims:
    return tuple(name if place == axis else old for place, old in enumerate(dims))


def _hint(name: str, rank: int) -> str:
    dims = [BATCH, TIME, *[None] * rank][:rank]
    return _HINT.format(
        name=name,
        dims=", ".join(map(repr, dims)) + ("," if rank == 1 else ""),
        text=",".join(dim or "_" for dim in dims),
    )


def _checked(
    given: Mapping[str, Sequence[str | None]], names: Sequence[str], args: Sequence[Tensor]
) -> dict[str, Dims]:
    """Compare the axes that the user has named with the inputs."""
    for name, dims in given.items():
        if name not in names:
            raise InputError(f"axes names the input {name!r}, but forward takes {list(names)}")
        shape = list(args[names.index(name)].shape)
        if len(dims) != len(shape):
            raise InputError(
                f"axes gives {name!r} {len(dims)} axes, but the example has the shape {shape}; "
                f"give a name or None for each"
            )
        said = [dim for dim in dims if dim is not None]
        if len(set(said)) < len(said):
            raise InputError(f"axes names one size twice in {name!r}: {tuple(dims)}")
    for word in {dim for dims in given.values() for dim in dims if dim is not None}:
        sizes = {
            name: args[names.index(name)].shape[list(dims).index(word)]
            for name, dims in given.items()
            if word in dims
        }
        if len(set(sizes.values())) > 1:
            raise InputError(
                f"the example inputs disagree on the size of the {word} axis: {sizes}; give "
                f"examples with one size"
            )
    return {name: tuple(dims) for name, dims in given.items()}


class _Search:
    """Try longer axes; what the user has named stays as it is."""

    def __init__(
        self,
        run: Run,
        names: Sequence[str],
        args: Sequence[Tensor],
        fixed: Mapping[str, Dims],
        base: Observation,
    ) -> None:
        self._run = run
        self._names = names
        self._args = args
        self._fixed = fixed
        self._base = base
        self._trials = 0

    def find(self, what: str, dims: Sequence[Dims]) -> list[int | None]:
        """Return the batch or time axis of each input, None where it has none."""
        known = {
            index: self._fixed[name].index(what)
            for index, name in enumerate(self._names)
            if what in self._fixed.get(name, ())
        }
        fits = self._shows_batch if what == BATCH else self._shows_time
        for choice in self._choices(what, dims, known):
            grown = self._try(choice, what)
            if what == TIME and (grown is None or not fits(choice, grown)):
                grown = self._try_with_lengths(choice)
            if grown is not None and fits(choice, grown):
                return self._with_other_sequences(choice, dims) if what == TIME else choice
        return [known.get(index) for index in range(len(self._args))]

    def _with_other_sequences(
        self, choice: list[int | None], dims: Sequence[Dims]
    ) -> list[int | None]:
        """Add the inputs that by themselves give recurrent layers more steps, in equal number."""
        sizes = [arg.shape[a] for arg, a in zip(self._args, choice, strict=True) if a is not None]
        for index, arg in enumerate(self._args):
            if choice[index] is not None or self._names[index] in self._fixed:
                continue
            for axis in range(arg.ndim):
                if dims[index][axis] is None and arg.shape[axis] == sizes[0] > 1:
                    alone = [axis if i == index else None for i in range(len(self._args))]
                    grown = self._try(alone, TIME)
                    if grown is not None and self._base.calls and self._shows_time(alone, grown):
                        choice[index] = axis
                        break
        return choice

    def free(self, dims: Sequence[Dims]) -> list[Dims]:
        """Give a name of its own to each other size that inputs without time axis can vary in.

        Such is the length of an encoder's outputs that a decoder attends to.
        """
        found = list(dims)
        for index, arg in enumerate(self._args):
            name = self._names[index]
            side = TIME not in found[index] and (arg.ndim > 2 or not arg.is_floating_point())
            if name in self._fixed or not side:
                continue
            for axis, size in enumerate(arg.shape):
                if found[index][axis] is not None or size < 2:
                    continue
                choice = self._others_of_size(found, index, axis, size)
                if choice is not None:
                    word = re.sub(r"\W", "_", f"{name}_{axis}")  # PyTorch wants an identifier
                    found = [_with(d, a, word) for d, a in zip(found, choice, strict=True)]
        return found

    def _others_of_size(
        self, dims: Sequence[Dims], index: int, axis: int, size: int
    ) -> list[int | None] | None:
        known = {index: axis}
        for choice in self._of_size(size, dims, known, most_first=False):
            if self._try(choice, None) is not None:
                return choice
        return None

    def _choices(
        self, what: str, dims: Sequence[Dims], known: Mapping[int, int]
    ) -> Iterator[list[int | None]]:
        """Yield one axis of equal size, or None, for each input, the likelier first."""
        if known:
            sizes = [self._args[index].shape[axis] for index, axis in known.items()]
        else:
            sizes = [
                size
                for arg, place in zip(self._args, dims, strict=True)
                for size, name in zip(arg.shape, place, strict=True)
                if name is None
            ]
        for size in dict.fromkeys(sizes):
            # An axis of size 1 may also fit by broadcasting, so that few inputs prove nothing.
            most_first = what == BATCH or size == 1
            yield from self._of_size(size, dims, known, most_first=most_first)

    def _of_size(
        self, size: int, dims: Sequence[Dims], known: Mapping[int, int], *, most_first: bool
    ) -> list[list[int | None]]:
        options: list[list[int | None]] = []
        for index, (arg, place) in enumerate(zip(self._args, dims, strict=True)):
            if index in known:
                options.append([known[index]])
            elif self._names[index] in self._fixed:
                options.append([None])
            else:
                axes = [a for a, s in enumerate(arg.shape) if s == size and place[a] is None]
                options.append([*axes, None])
        choices = [
            list(choice) for choice in product(*options) if any(a is not None for a in choice)
        ]
        return sorted(choices, key=lambda c: sum(a is None for a in c) * (1 if most_first else -1))

    def _try(self, choice: Sequence[int | None], what: str | None) -> Observation | None:
        """Run the module with the chosen axes longer; None if it does not run."""
        self._trials += 1
        if self._trials > MOST_TRIALS:
            raise ModelError(
                f"the axes of {list(self._names)} were not found in {MOST_TRIALS} trials; "
                f"{_hint(self._names[0], self._args[0].ndim)}"
            )
        longer = []
        for arg, axis in zip(self._args, choice, strict=True):
            if axis is None:
                longer.append(arg)
            else:
                size = arg.shape[axis] + 1 if what == BATCH else 2 * arg.shape[axis]
                longer.append(resized_along(arg, axis, size))
        try:
            return self._run(longer)
        except Exception:  # whatever the user's own forward raises
            return None

    def _try_with_lengths(self, choice: Sequence[int | None]) -> Observation | None:
        """Try twice as many time steps where an input may say how many are valid."""
        if not any(_may_be_lengths(arg) for arg in self._args):
            return None
        longer = [
            arg if axis is None else torch.cat([arg, arg], axis)
            for arg, axis in zip(self._args, choice, strict=True)
        ]
        try:
            return self._run([2 * a if _may_be_lengths(a) else a for a in longer])
        except Exception:  # whatever the user's own forward raises
            return None

    def _shows_batch(self, choice: Sequence[int | None], grown: Observation) -> bool:
        before, after = self._base.calls, grown.calls
        if not before and self._base.cells:
            return len(grown.cells) == len(self._base.cells) and grown.cells != self._base.cells
        if not before:
            return _has_grown(self._base, grown) and self._are_independent(choice)
        return [call.time for call in before] == [call.time for call in after] and any(
            a.batch != b.batch for a, b in zip(before, after, strict=True)
        )

    def _shows_time(self, choice: Sequence[int | None], grown: Observation) -> bool:
        before, after = self._base.calls, grown.calls
        if len(grown.cells) != len(self._base.cells):  # one call for each step
            return True
        if not before:
            return _has_grown(self._base, grown)
        return len(before) != len(after) or any(
            a.time != b.time for a, b in zip(before, after, strict=True)
        )

    def _are_independent(self, choice: Sequence[int | None]) -> bool:
        """Say whether other values at index 0 of the axes change the outputs at index 0 only."""
        generator = torch.Generator().manual_seed(0)
        runs = []
        for changed in (False, True):
            args = []
            for arg, axis in zip(self._args, choice, strict=True):
                args.append(arg if axis is None else resized_along(arg, axis, 3))
                if axis is None or not changed:
                    continue
                head = args[-1].narrow(axis, 0, 1)
                if arg.is_floating_point():
                    head.add_(torch.rand(head.shape, generator=generator))
                else:
                    head.copy_(head.flip(-1))
            try:
                runs.append(self._run(args))
            except Exception:  # whatever the user's own forward raises
                return False
        for one, other in zip(runs[0].outputs, runs[1].outputs, strict=True):
            axes = [axis for axis, size in enumerate(one.shape) if size == 3]
            if not any(torch.equal(one.narrow(a, 1, 2), other.narrow(a, 1, 2)) for a in axes):
                return False
        return True


def _has_grown(before: Observation, after: Observation) -> bool:
    return any(a.shape != b.shape for a, b in zip(before.outputs, after.outputs, strict=True))


def _may_be_lengths(arg: Tensor) -> bool:
    return arg.ndim == 1 and arg.dtype in (torch.int32, torch.int64)
