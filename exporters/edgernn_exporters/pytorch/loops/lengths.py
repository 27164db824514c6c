"""Keep what the programs of a module at two lengths agree on, with the length left open."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from edgernn_exporters.pytorch.loops.expressions import Linear, Program
from edgernn_exporters.pytorch.loops.matching import IrregularError


def for_any_length(short: Program, long: Program, lengths: tuple[int, int]) -> Program:
    """Return one program for all lengths.

    Args:
        short: At the first length.
        long: At the second.
        lengths: Their time steps.

    Raises:
        IrregularError: The programs differ in more than whole numbers that follow the length.
    """
    program = _merged(short, long, lengths)
    assert isinstance(program, Program)
    return program


def _merged(short: Any, long: Any, lengths: tuple[int, int]) -> Any:
    if type(short) is not type(long):
        raise IrregularError(_differs(short, long))
    if isinstance(short, tuple):
        if len(short) != len(long):
            raise IrregularError("longer sequences lead to more operations outside of the loops")
        return tuple(_merged(a, b, lengths) for a, b in zip(short, long, strict=True))
    if is_dataclass(short) and not isinstance(short, type):
        parts = {
            item.name: _merged(getattr(short, item.name), getattr(long, item.name), lengths)
            for item in fields(short)
        }
        return replace(short, **parts)
    if isinstance(short, int) and not isinstance(short, bool) and short != long:
        factor, rest = divmod(long - short, lengths[1] - lengths[0])
        if rest:
            raise IrregularError(_differs(short, long))
        return Linear(factor, short - factor * lengths[0])
    if short != long:
        raise IrregularError(_differs(short, long))
    return short


def _differs(short: Any, long: Any) -> str:
    return f"it is another program for longer sequences ({short!r:.80} becomes {long!r:.80})"
