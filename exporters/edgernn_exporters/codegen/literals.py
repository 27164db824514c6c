"""Constants as C arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn_exporters.codegen.loops import literal
from edgernn_exporters.codegen.values import C_TYPES

_LINE = 96


def unit_text(scale: float) -> str:
    """Return the value of one unit of an integer state for people: ``2^-15``, or a number."""
    fraction, exponent = math.frexp(scale)
    return f"2^{exponent - 1}" if fraction == 0.5 else f"{scale:.9g}"


def c_array(name: str, array: NDArray[Any]) -> str:
    """Render the definition of a constant array, aligned to a cache line.

    Example:
        >>> print(c_array("w", np.zeros(2, np.float32)), end="")
        static const float w[2] EDGERNN_ALIGN(64) = {
            0.0f, 0.0f
        };
    """
    flat = array.reshape(-1)
    dtype = array.dtype.name
    size = max(flat.size, 1)  # C has no empty arrays
    head = f"static const {C_TYPES[dtype]} {name}[{size}] EDGERNN_ALIGN(64) = {{"
    return f"{head}\n{_wrapped(_texts(flat, dtype) or ['0'])}\n}};\n"


def _texts(flat: NDArray[Any], dtype: str) -> list[str]:
    if dtype == "float32" and np.isfinite(flat).all():
        texts = [f"{value:.9g}" for value in flat.tolist()]
        return [(t if "." in t or "e" in t else f"{t}.0") + "f" for t in texts]
    if dtype in ("int8", "uint8", "int16", "uint16"):
        return [str(value) for value in flat.tolist()]
    return [literal(value, dtype) for value in flat]


def _wrapped(texts: list[str]) -> str:
    lines: list[str] = []
    line: list[str] = []
    width = 0
    for text in texts:
        if width + len(text) + 2 > _LINE and line:
            lines.append("    " + ", ".join(line))
            line, width = [], 0
        line.append(text)
        width += len(text) + 2
    lines.append("    " + ", ".join(line))
    return ",\n".join(lines)
