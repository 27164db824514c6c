"""Read limits as people write them: ``0.5%``, ``64k``, ``50us``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import click

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Zµμ%]*)")
_SIZES = {"": 1, "b": 1, "k": 1000, "kb": 1000, "m": 1e6, "mb": 1e6, "ki": 1024, "kib": 1024,
          "mi": 1024**2, "mib": 1024**2}  # fmt: skip
_TIMES = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "μs": 1.0, "ms": 1e3, "s": 1e6}
_SHARES = {"": 1.0, "%": 0.01}
_COUNTS = {"": 1, "k": 1000, "m": 1e6}


class Quantity(click.ParamType):  # type: ignore[type-arg] # generic only in newer click
    """A number with a unit, as a number in the base unit.

    Args:
        name: What the message calls it.
        units: Factor by unit, in lower case.
        whole: Round down to an integer.
        example: For the message.
    """

    def __init__(self, name: str, units: Mapping[str, float], whole: bool, example: str) -> None:
        self.name = name
        self._units, self._whole, self._example = units, whole, example

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | int:
        """Read a value; numbers are taken as they are."""
        if isinstance(value, int | float):
            return value
        found = _NUMBER.fullmatch(value.strip())
        unit = found[2].lower() if found else ""
        if found is None or unit not in self._units:
            self.fail(f"{value!r} is not a {self.name}; write it like {self._example}", param, ctx)
        number = float(found[1]) * self._units[unit]
        return math.floor(number) if self._whole else number


class Share(Quantity):
    """A quantity where a number of 1 or more needs its percent sign: 2 could mean 2 % or 200 %."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | int:
        """Read a value; numbers are taken as they are."""
        number = super().convert(value, param, ctx)
        if isinstance(value, str) and number >= 1 and not value.strip().endswith("%"):
            ways = f"{number:g}% or {number / 100:g}"
            self.fail(f"{value!r} would be {number:.0%}; write {ways}", param, ctx)
        return number


SHARE = Share("share", _SHARES, False, "0.5% or 0.005")
SIZE = Quantity("size", _SIZES, True, "64k (64,000 bytes) or 64Ki (65,536 bytes)")
TIME = Quantity("time", _TIMES, False, "50us or 1.5ms")
COUNT = Quantity("count", _COUNTS, True, "30000 or 30k")
