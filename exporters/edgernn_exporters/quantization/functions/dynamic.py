"""ONNX functions for the layers of precision ``int8-dynamic``, in standard operators.

A product ``x @ w`` becomes a product of bytes: each row of ``x`` (one time step of one sequence)
is scaled by its own largest value, so that a row's result depends neither on the other rows of
the batch nor on how a sequence is cut into chunks. The hidden state of tanh cells lies in
[-1, 1] and has the fixed scale 1/127. Sums, gates and states stay float32.

Bytes are unsigned with zero point 128 (see `edgernn_exporters.quantization.weights`). With G
gates in ONNX's order, one function call is one direction of one layer:

=========  ================  ==============================================================
value      shape             meaning
=========  ================  ==============================================================
x          [T, B, I]         sequence; any leading axes for a linear layer
w, ws      [I, G*H], [G*H]   input weights and their scales
wb         [G*H]             sum of all biases that can be added before the loop
r, rs      [H, G*H], [G*H]   recurrent weights and their scales
rb         [H]               GRU, linear_before_reset=1: recurrent bias of the hidden gate
r2, rs2    [H, H], [H]       GRU, linear_before_reset=0: recurrent weights of the hidden gate
h, c       [1, B, H]         states in
y          [T, B, H]         sequence out
hk, ck     [1, B, H]         states out
=========  ================  ==============================================================

Attribute ``reverse`` is ``[1]`` for a layer that walks backwards in time, else ``[0]``.
"""

from __future__ import annotations

_CONSTANTS = """
  zero = Constant <value = uint8 {128}> ()
  unit = Constant <value = float {0.007874015748031496}> ()
  axis = Constant <value_ints = [0]> ()
"""
_ROW_CONSTANTS = """
  last = Constant <value_ints = [-1]> ()
  tiny = Constant <value = float {1e-30}> ()
  half = Constant <value = float {128}> ()
"""


def _rows(x: str, q: str, s: str) -> str:
    """Quantize the rows of ``x``: bytes ``q`` and scales ``s`` with ``x = (q - 128) * s``."""
    return f"""
  {q}a = Abs ({x})
  {q}m = ReduceMax <keepdims = 1> ({q}a, last)
  {q}u = Mul ({q}m, unit)
  {s} = Max ({q}u, tiny)
  {q}d = Div ({x}, {s})
  {q}r = Round ({q}d)
  {q}h = Add ({q}r, half)
  {q} = Cast <to = 2> ({q}h)
"""


_LINEAR = _CONSTANTS + _ROW_CONSTANTS + _rows("x", "xq", "xs") + """
  xi = MatMulInteger (xq, w, zero, zero)
  xd = DequantizeLinear <axis = -1> (xi, ws)
  xw = Mul (xd, xs)
"""  # fmt: skip

_BEFORE = (
    _LINEAR
    + """
  p = Add (xw, wb)
  h0 = Squeeze (h, axis)
  hs = Mul (rs, unit)
"""
)

_SCAN = """Scan <num_scan_inputs = 1, scan_input_directions: ints = @reverse,
    scan_output_directions: ints = @reverse, body = step"""

_RECURRENT = """
    hq = QuantizeLinear (hp, unit, zero)
    hi = MatMulInteger (hq, r, zero, zero)
    hg = DequantizeLinear <axis = -1> (hi, hs)
"""

_GRU_SIZES = """
  one = Shape (rb)
  two = Add (one, one)
  sizes = Concat <axis = 0> (two, one)
"""

_GRU_UPDATE = """
    n = Tanh (na)
    d = Sub (hp, n)
    e = Mul (z, d)
    hn = Add (n, e)
    hy = Identity (hn)
"""

_LSTM_SIZES = """
  four = Shape (rs)
  parts = Constant <value_ints = [4]> ()
  one = Div (four, parts)
  three = Sub (four, one)
  sizes = Concat <axis = 0> (three, one)
"""

_AFTER = """
  hk = Unsqueeze (h1, axis)
"""

TEXTS = {
    "LinearInt8Dynamic": f"(x, w, ws, wb) => (y) {{ {_LINEAR} y = Add (xw, wb) }}",
    "GRUInt8Dynamic": f"""<reverse> (x, w, ws, wb, r, rs, rb, h) => (y, hk) {{
{_BEFORE}{_GRU_SIZES}
  h1, y = {_SCAN} (hp, pt) => (hn, hy) {{
{_RECURRENT}
    pg, pn = Split <axis = -1> (pt, sizes)
    gg, gn = Split <axis = -1> (hg, sizes)
    a = Add (pg, gg)
    g = Sigmoid (a)
    z, q = Split <axis = -1, num_outputs = 2> (g)
    nb = Add (gn, rb)
    nr = Mul (q, nb)
    na = Add (pn, nr)
{_GRU_UPDATE}
  }}> (h0, p)
{_AFTER} }}""",
    "GRUResetBeforeInt8Dynamic": f"""<reverse> (x, w, ws, wb, r, rs, r2, rs2, h) => (y, hk) {{
{_BEFORE}
  one = Shape (rs2)
  two = Add (one, one)
  sizes = Concat <axis = 0> (two, one)
  h2 = Mul (rs2, unit)
  h1, y = {_SCAN} (hp, pt) => (hn, hy) {{
{_RECURRENT}
    pg, pn = Split <axis = -1> (pt, sizes)
    a = Add (pg, hg)
    g = Sigmoid (a)
    z, q = Split <axis = -1, num_outputs = 2> (g)
    v = Mul (q, hp)
    vq = QuantizeLinear (v, unit, zero)
    vi = MatMulInteger (vq, r2, zero, zero)
    vg = DequantizeLinear <axis = -1> (vi, h2)
    na = Add (pn, vg)
{_GRU_UPDATE}
  }}> (h0, p)
{_AFTER} }}""",
    "LSTMInt8Dynamic": f"""<reverse> (x, w, ws, wb, r, rs, h, c) => (y, hk, ck) {{
{_BEFORE}{_LSTM_SIZES}
  c0 = Squeeze (c, axis)
  h1, c1, y = {_SCAN} (hp, cp, pt) => (hn, cn, hy) {{
{_RECURRENT}
    a = Add (pt, hg)
    s3, gp = Split <axis = -1> (a, sizes)
    s = Sigmoid (s3)
    i, o, f = Split <axis = -1, num_outputs = 3> (s)
    g = Tanh (gp)
    fc = Mul (f, cp)
    ig = Mul (i, g)
    cn = Add (fc, ig)
    ct = Tanh (cn)
    hn = Mul (o, ct)
    hy = Identity (hn)
  }}> (h0, c0, p)
{_AFTER}
  ck = Unsqueeze (c1, axis) }}""",
    "RNNTanhInt8Dynamic": f"""<reverse> (x, w, ws, wb, r, rs, h) => (y, hk) {{
{_BEFORE}
  h1, y = {_SCAN} (hp, pt) => (hn, hy) {{
{_RECURRENT}
    a = Add (pt, hg)
    hn = Tanh (a)
    hy = Identity (hn)
  }}> (h0, p)
{_AFTER} }}""",
    "RNNReluInt8Dynamic": f"""<reverse> (x, w, ws, wb, r, rs, h) => (y, hk) {{
{_LINEAR}
  p = Add (xw, wb)
  h0 = Squeeze (h, axis)
  h1, y = {_SCAN} (hp, pt) => (hn, hy) {{
{_rows("hp", "hq", "hx")}
    hi = MatMulInteger (hq, r, zero, zero)
    hd = DequantizeLinear <axis = -1> (hi, rs)
    hg = Mul (hd, hx)
    a = Add (pt, hg)
    hn = Relu (a)
    hy = Identity (hn)
  }}> (h0, p)
{_AFTER} }}""",
}
