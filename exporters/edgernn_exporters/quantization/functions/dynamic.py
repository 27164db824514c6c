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
lens       [B]               steps of each row, int32, where the name has ``Lengths``
y          [T, B, H]         sequence out
hk, ck     [1, B, H]         states out
=========  ================  ==============================================================

Attribute ``reverse`` is ``[1]`` for a layer that walks backwards in time, else ``[0]``.
"""

from __future__ import annotations

from edgernn_exporters.quantization.functions.loops import named, scan, signature

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

_BEFORE_RELU = """
  p = Add (xw, wb)
  h0 = Squeeze (h, axis)
"""
_BEFORE = _LINEAR + _BEFORE_RELU + "  hs = Mul (rs, unit)\n"

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
"""

_LSTM_BEFORE = """
  four = Shape (rs)
  parts = Constant <value_ints = [4]> ()
  one = Div (four, parts)
  three = Sub (four, one)
  sizes = Concat <axis = 0> (three, one)
  c0 = Squeeze (c, axis)
"""

_AFTER = """
  hk = Unsqueeze (h1, axis)
"""

_GRU = f"""
{_RECURRENT}
    pg, pn = Split <axis = -1> (pt, sizes)
    gg, gn = Split <axis = -1> (hg, sizes)
    a = Add (pg, gg)
    g = Sigmoid (a)
    z, q = Split <axis = -1, num_outputs = 2> (g)
    nb = Add (gn, rb)
    nr = Mul (q, nb)
    na = Add (pn, nr)
{_GRU_UPDATE}"""

_GRU_RESET_BEFORE_SIZES = """
  one = Shape (rs2)
  two = Add (one, one)
  sizes = Concat <axis = 0> (two, one)
  h2 = Mul (rs2, unit)
"""

_GRU_RESET_BEFORE = f"""
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
{_GRU_UPDATE}"""

_LSTM = f"""
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
"""

_RNN_TANH = f"""
{_RECURRENT}
    a = Add (pt, hg)
    hn = Tanh (a)
"""

_RNN_RELU = f"""
{_rows("hp", "hq", "hx")}
    hi = MatMulInteger (hq, r, zero, zero)
    hd = DequantizeLinear <axis = -1> (hi, rs)
    hg = Mul (hd, hx)
    a = Add (pt, hg)
    hn = Relu (a)
"""


def _function(inputs: str, before: str, body: str, states: str = "h", *, lengths: bool) -> str:
    """Return a recurrent function: ``before``, a loop of ``body`` over ``p``, the last states."""
    outputs = ", ".join(["y", *(f"{letter}k" for letter in states)])
    nothing = dict.fromkeys(states, "nought")
    if lengths:
        before += "  nought = Constant <value = float {0}> ()"
    after = _AFTER + ("  ck = Unsqueeze (c1, axis)" if "c" in states else "")
    head = signature(f"x, w, ws, wb, {inputs}", outputs, lengths=lengths)
    return f"{head} {{\n{before}{scan(body, 'p', 'y', nothing, lengths=lengths)}\n{after} }}"


_LAYERS: dict[str, tuple[str, ...]] = {
    "GRU": ("r, rs, rb, h", _BEFORE + _GRU_SIZES, _GRU),
    "GRUResetBefore": ("r, rs, r2, rs2, h", _BEFORE + _GRU_RESET_BEFORE_SIZES, _GRU_RESET_BEFORE),
    "LSTM": ("r, rs, h, c", _BEFORE + _LSTM_BEFORE, _LSTM, "hc"),
    "RNNTanh": ("r, rs, h", _BEFORE, _RNN_TANH),
    "RNNRelu": ("r, rs, h", _LINEAR + _BEFORE_RELU, _RNN_RELU),
}

TEXTS = {
    "LinearInt8Dynamic": f"(x, w, ws, wb) => (y) {{ {_LINEAR} y = Add (xw, wb) }}",
    **{
        named(layer, "Int8Dynamic", lengths=lengths): _function(*parts, lengths=lengths)
        for lengths in (False, True)
        for layer, parts in _LAYERS.items()
    },
}
