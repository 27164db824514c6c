"""The ONNX function that makes the tables of integer gates; a runtime evaluates it once at load.

Tables are indexed by an int16 number as it is: negative ones count from the end. ``magnitude`` is T
of docs/numerics.md: for each interval a row of 1024 values, up to the interval from which on it is
constant.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgernn.integer.activations import TANH_BEND, TANH_SLOPE, TANH_START
from edgernn_exporters.quantization.functions.text import function_text

_ROWS = TANH_START.index(TANH_START[-1]) + 1
LAST = _ROWS * 1024 - 1
"""Last entry of ``magnitude``; tanh is the same from there on."""


def _column(values: Sequence[int]) -> str:
    kept = ", ".join(map(str, values[:_ROWS]))
    return f"Constant <value = int32[{_ROWS}, 1] {{{kept}}}> ()"


TEXTS = {
    "GateTables": function_text("() => (sigmoid, tanh, magnitude, p)", f"""
  start = {_column(TANH_START)}
  slope = {_column(TANH_SLOPE)}
  bend = {_column(TANH_BEND)}
  t = Range (none, interval, one)
  b1 = Mul (t, bend)
  b2 = Add (b1, k512)
  b3 = Div (b2, interval)
  s1 = Sub (slope, b3)
  s2 = Mul (t, s1)
  s3 = Add (s2, k2048)
  s4 = Div (s3, k4096)
  rows = Add (start, s4)
  magnitude = Reshape (rows, flat)
  p1 = Range (none, offset, one)
  p2 = Range (floor, none, one)
  p = Concat <axis = 0> (p1, p2)
  a = Abs (p)
  sign = Sign (p)
  last = Constant <value = int32 {{{LAST}}}> ()
  a1 = Add (a, a)
  a2 = Min (a1, last)
  t1 = Gather (magnitude, a2)
  tanh = Mul (sign, t1)
  u1 = Gather (magnitude, a)
  u2 = Add (u1, one)
  u3 = Div (u2, two)
  u4 = Mul (sign, u3)
  sigmoid = Add (half, u4)"""),
}  # fmt: skip
