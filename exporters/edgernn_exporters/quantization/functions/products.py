"""Pieces of the texts of integer functions: quantized inputs, and their products with weights.

Where 8-bit inputs are multiplied they are bytes with zero point 128. 16-bit inputs are int32 with
an offset of 32768; their high and low bytes are multiplied apart, because no runtime has a product
of 16-bit integers.
"""

from __future__ import annotations

from edgernn.integer import Precision


def unpacked(name: str, precision: Precision) -> str:
    """Make bytes of the 4-bit weights ``name``; 8-bit weights are bytes already."""
    return "" if precision.weight_bits == 8 else f"  {name}8 = Cast <to = 2> ({name})"


def rounded(a: str, result: str) -> str:
    """Round float32 half to even to int32, within -32768…32767."""
    return f"""
  {result}r = QuantizeLinear <output_dtype = 5> ({a}, unit)
  {result} = Cast <to = 6> ({result}r)"""


def quantized_input(precision: Precision) -> str:
    """Make ``q`` of the float input ``x``."""
    scaled = """
  d = Sub (x, xc)
  e = Mul (d, xi)"""
    if precision.input_bits == 8:
        return scaled + "\n  q = QuantizeLinear (e, unit, middle)"
    return scaled + rounded("e", "n") + "\n  m = Max (n, least)\n  q = Add (m, offset)"


def product(
    q: str, w: str, result: str, precision: Precision, operator: str = "MatMulInteger"
) -> str:
    """Multiply quantized inputs with weights that went through `unpacked`: int32 sums."""
    w, zero_point = (w, "middle") if precision.weight_bits == 8 else (f"{w}8", "eight")
    if precision.input_bits == 8:
        return f"\n  {result} = {operator} ({q}, {w}, middle, {zero_point})"
    return f"""
  {q}l = Cast <to = 2> ({q})
  {q}s = Div ({q}, byte)
  {q}h = Cast <to = 2> ({q}s)
  {result}l = {operator} ({q}l, {w}, zero, {zero_point})
  {result}h = {operator} ({q}h, {w}, middle, {zero_point})
  {result}s = Mul ({result}h, byte)
  {result} = Add ({result}s, {result}l)"""


def state_product(h: str, w: str, scale: str, result: str, precision: Precision) -> str:
    """Multiply states (int32 with an offset of 32768) with weights, and scale: float32."""
    if precision.input_bits == 16:
        integers = product(h, w, f"{result}i", precision)
    else:
        integers = f"""
  {h}f = Cast <to = 1> ({h})
  {h}q = QuantizeLinear ({h}f, narrow)""" + product(f"{h}q", w, f"{result}i", precision)
    return integers + f"\n  {result} = DequantizeLinear <axis = -1> ({result}i, {scale})"
