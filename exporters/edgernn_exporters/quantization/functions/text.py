"""Constants that the texts of integer functions name, declared where they are used."""

from __future__ import annotations

import re

_SCALARS = {
    # bytes: zero points of low bytes, 4-bit weights, and all else
    "zero": "uint8 {0}",
    "eight": "uint8 {8}",
    "middle": "uint8 {128}",
    # float32
    "unit": "float {1}",
    "half_nibble": "float {8}",
    "half_byte": "float {128}",
    "narrow": "float {256}",
    "state_unit": "float {0.000030517578125}",
    # int32, where an operator takes scalars only
    "none": "int32 {0}",
    "one": "int32 {1}",
    "interval": "int32 {1024}",
    "offset": "int32 {32768}",
    "floor": "int32 {-32768}",
    "least": "int32 {-32767}",
    "most": "int32 {32767}",
    # axes and sizes, int64
    "axis": "int64[1] {0}",
    "axis1": "int64[1] {1}",
    "end": "int64[1] {-1}",
    "flat": "int64[1] {-1}",
}
_NUMBERS = {
    "two": 2,
    "byte": 256,
    "k512": 512,
    "k2048": 2048,
    "k4096": 4096,
    "half": 1 << 14,
    "square": 1 << 30,
    "lifted": (1 << 30) + (1 << 14),
    "lowest": -32767 << 15,
    "highest": (1 << 30) - 1,
}
"""int32 numbers for arithmetic; a function cuts all that it uses from one constant."""


def function_text(signature: str, body: str) -> str:
    """Return ``signature { body }`` with the constants that the body names."""
    used = set(re.findall(r"\w+", body))
    lines = [
        f"{name} = Constant <value = {_SCALARS[name]}> ()" for name in _SCALARS if name in used
    ]
    numbers = {name: value for name, value in _NUMBERS.items() if name in used}
    if numbers:
        values = ", ".join(map(str, numbers.values()))
        lines += [
            f"numbers = Constant <value = int32[{len(numbers)}] {{{values}}}> ()",
            f"{', '.join(numbers)} = Split <axis = 0, num_outputs = {len(numbers)}> (numbers)",
        ]
    return "\n".join([signature, "{", *lines, body, "}"])
