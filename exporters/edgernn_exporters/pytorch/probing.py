"""Run a module on other values and at other sizes, one change at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from edgernn.errors import EdgernnError, InputError, first_line
from edgernn_exporters.pytorch.arguments import Arguments
from edgernn_exporters.pytorch.axes import BATCH, TIME, Dims, Run, resized
from edgernn_exporters.pytorch.lengths import LengthsInput, find_lengths
from edgernn_exporters.pytorch.observing import Call, Observation


@dataclass(frozen=True)
class Probes:
    """What a module does when one thing changes.

    Attributes:
        args: All tensors of the arguments in ``base``; no two values of floats are the same.
        dims: Their axes.
        base: The first run.
        again: The same arguments.
        values: Other values in all arguments.
        others: The arguments of that run.
        batch: More rows; None without a batch axis.
        time: More time steps; None without a time axis.
        rows: Size of the batch axis in ``base``; None without one.
        lengths: Arguments that tell the valid time steps of each row.
    """

    args: tuple[Tensor, ...]
    dims: tuple[Dims, ...]
    base: Observation
    again: Observation
    values: Observation
    others: tuple[Tensor, ...]
    batch: Observation | None
    time: Observation | None
    rows: int | None
    lengths: tuple[LengthsInput, ...]

    def calls(self, index: int) -> list[Call]:
        """Return one call in all runs."""
        runs = (self.base, self.again, self.values, self.batch, self.time)
        return [run.calls[index] for run in runs if run is not None]


def probe(run: Run, arguments: Arguments, dims: Sequence[Dims], sizes: Mapping[str, int]) -> Probes:
    """Run a module on other values and at other sizes.

    Args:
        run: Runs the module.
        arguments: Its example arguments.
        dims: Their axes.
        sizes: Of the axes in the first run.

    Raises:
        InputError: It fails at one of them.
    """

    def at(args: Sequence[Tensor], what: str, **other: int) -> Observation:
        changed = {**sizes, **other}
        try:
            return run([resized(a, d, changed) for a, d in zip(args, dims, strict=True)])
        except EdgernnError:
            raise
        except Exception as error:  # whatever the user's own forward raises
            raise InputError(
                f"forward fails on {what}, at the sizes {changed}: {first_line(error)}; make it "
                f"accept them, or say which axes are batch and time with axes={{...}} (--axes)"
            ) from None

    generator = torch.Generator().manual_seed(0)
    examples = [resized(a, d, sizes) for a, d in zip(arguments.tensors, dims, strict=True)]
    args = _distinct(examples, generator)
    base = at(args, "random values")
    lengths = find_lengths(base.packs, args, dims)
    others, values = _other_values(run, args, {item.index for item in lengths}, generator, base)
    return Probes(
        args=tuple(args),
        dims=tuple(dims),
        base=base,
        again=at(args, "random values"),
        values=values,
        others=tuple(others),
        batch=at(args, "one row more", batch=sizes[BATCH] + 1) if BATCH in sizes else None,
        time=at(args, "more time steps", time=2 * sizes[TIME]) if TIME in sizes else None,
        rows=sizes.get(BATCH),
        lengths=lengths,
    )


def _distinct(args: Sequence[Tensor], generator: torch.Generator) -> list[Tensor]:
    """Put values between -1 and 1 in place of floats, so that each can be recognised."""
    count = sum(arg.numel() for arg in args if arg.is_floating_point())
    values = 2 * (torch.randperm(count, generator=generator) + 0.5) / max(count, 1) - 1
    found, at = [], 0
    for arg in args:
        if arg.is_floating_point():
            part = values[at : at + arg.numel()]
            found.append(part.reshape(arg.shape).to(arg.dtype))
            at += arg.numel()
        else:
            found.append(arg)
    return found


def _other_values(
    run: Run,
    args: Sequence[Tensor],
    lengths: set[int],
    generator: torch.Generator,
    base: Observation,
) -> tuple[list[Tensor], Observation]:
    """Run on other floats, and on other integers as far as the module takes them."""
    floats = [a.flip(0) if a.is_floating_point() else a for a in _distinct(args, generator)]
    for step in (1, -1):
        changed = [
            arg
            if arg.is_floating_point() or place in lengths
            else ~arg if arg.dtype == torch.bool else arg + step
            for place, arg in enumerate(floats)
        ]  # fmt: skip
        try:
            return changed, run(changed)
        except Exception:  # such as an index beyond an embedding
            continue
    return floats, run(floats) if any(arg.is_floating_point() for arg in args) else base
