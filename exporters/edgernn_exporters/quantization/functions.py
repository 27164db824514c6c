"""ONNX functions for the layers of precision ``int8-dynamic``, in standard operators.

A product ``x @ w`` becomes a product of bytes: each row of ``x`` (one time step of one sequence)
is scaled by its own largest value, so that a row's result depends neither on the other rows of
the batch nor on how a sequence is cut into chunks. The hidden state of tanh cells lies in
[-1, 1] and has the fixed scale 1/127. Sums, gates and states stay float32.

Bytes are unsigned with zero point 128 (see `edgernn_exporters.quantization.weights`).
Shapes: ``x [T, B, I]``, weights ``[I, G*H]`` and ``[H, G*H]``, scales and biases ``[G*H]``, states
``[1, B, H]``. Attribute ``reverse`` is 1 for a layer that walks backwards in time, else 0.
"""

from __future__ import annotations

import onnx

DOMAIN = "edgernn"
OPSET = 20

_HEADER = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>'

_CONSTANTS = """
    zero = Constant <value = uint8 {128}> ()
    unit = Constant <value = float {0.007874015748031496}> ()
"""

# q * s stands for x, row by row: s = max|x| / 127, q = round(x / s) + 128.
_ROWS = """
    {p}abs = Abs ({x})
    {p}max = ReduceMax <keepdims = 1> ({p}abs, last)
    {p}raw = Mul ({p}max, unit)
    {p}s = Max ({p}raw, tiny)
    {p}div = Div ({x}, {p}s)
    {p}int = Round ({p}div)
    {p}off = Add ({p}int, middle)
    {p}q = Cast <to = 2> ({p}off)
"""
_ROW_CONSTANTS = """
    last = Constant <value_ints = [-1]> ()
    tiny = Constant <value = float {1e-30}> ()
    middle = Constant <value = float {128.0}> ()
"""

_LINEAR = (
    _CONSTANTS + _ROW_CONSTANTS + _ROWS.format(p="x", x="x") + """
    xi = MatMulInteger (xq, w, zero, zero)
    xf = Cast <to = 1> (xi)
    xr = Mul (xf, xs)
    xw = Mul (xr, ws)
"""
)

_PROJECTION = _LINEAR + """
    p = Add (xw, wb)
    axis = Constant <value_ints = [0]> ()
"""

_UNPACK = """
    {s}0 = Squeeze ({s}, axis)
"""

# One time step: hg = (h @ r) * scale, with h in [-1, 1] at the fixed scale 1/127.
_RECURRENT = """
        hq = QuantizeLinear (h, unit, zero)
        hi = MatMulInteger (hq, r, zero, zero)
        hf = Cast <to = 1> (hi)
        hg = Mul (hf, rs)
"""

_GRU_GATES = """
        zrp = Add (pzr, hzr)
        zr = Sigmoid (zrp)
        z, g = Split <axis = -1, num_outputs = 2> (zr)
"""

_GRU_UPDATE = """
        n = Tanh (np)
        hn = Sub (h, n)
        zn = Mul (z, hn)
        y = Add (n, zn)
        k = Identity (y)
"""

_FUNCTIONS = {
    "LinearInt8Dynamic": "(x, w, ws, wb) => (y) {" + _LINEAR + "y = Add (xw, wb) }",
    "GRUInt8Dynamic": "<reverse> (x, w, ws, wb, r, rs, rb, h) => (y, k) {" + _PROJECTION
    + _UNPACK.format(s="h") + """
    k0, y = Scan <num_scan_inputs = 1, scan_input_directions: ints = @reverse,
      scan_output_directions: ints = @reverse, body = step (float[B, H] h, float[B, G] pt)
      => (float[B, H] y, float[B, H] k) {""" + _RECURRENT + """
        hb = Add (hg, rb)
        hs = Split <axis = -1, num_outputs = 3> (hb)
      }> (h0, p)
    k = Unsqueeze (k0, axis)
}""",
}  # fmt: skip
