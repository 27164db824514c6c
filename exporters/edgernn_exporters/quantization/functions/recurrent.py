"""ONNX functions of integer recurrent layers: LSTM, GRU of both forms, RNN."""

from __future__ import annotations

from edgernn.integer import Precision
from edgernn_exporters.quantization.functions.loops import named, scan, signature
from edgernn_exporters.quantization.functions.products import rounded, state_product, unpacked
from edgernn_exporters.quantization.functions.text import function_text

_NOTHING = {"h": "offset", "c": "none"}
"""Zeros of the states in the loop."""


def texts(suffix: str, precision: Precision, *, lengths: bool) -> dict[str, str]:
    """Return the functions of one precision by name."""
    made = {
        "LSTM": _lstm(suffix, precision, lengths=lengths),
        "GRU": _gru(suffix, precision, lengths=lengths),
        "GRUResetBefore": _gru_reset_before(suffix, precision, lengths=lengths),
        "RNNTanh": _rnn(suffix, precision, relu=False, lengths=lengths),
        "RNNRelu": _rnn(suffix, precision, relu=True, lengths=lengths),
    }
    return {named(layer, suffix, lengths=lengths): text for layer, text in made.items()}


def _before(suffix: str, precision: Precision) -> str:
    """Multiply the whole sequence with the input weights, and bring in the state."""
    w = "w" if precision.weight_bits == 8 else "w8"
    return f"""
{unpacked("w", precision)}
{unpacked("r", precision)}
  p = edgernn.Linear{suffix} (x, xc, xi, {w}, wm, wb)
  ha = Cast <to = 6> (h)
  h0 = Add (ha, offset)"""


def _scan(body: str, sequence: str, states: str = "h", *, lengths: bool) -> str:
    """Loop over time; the body makes ``hn`` of ``hp``, and for an LSTM ``cn`` of ``cp``."""
    nothing = {letter: _NOTHING[letter] for letter in states}
    return scan(body, sequence, "v", nothing, lengths=lengths)


def _after(unit: str = "state_unit") -> str:
    """Turn the integers of the loop into float32 and int16."""
    return f"""
  ya = Squeeze (v, axis1)
  yb = Sub (ya, offset)
  yc = Cast <to = 1> (yb)
  y = Mul (yc, {unit})
  hb = Sub (h1, offset)
  hk = Cast <to = 5> (hb)"""


_CANDIDATE_TABLES = """
  n1 = Add (tanh, offset)
  n2 = Mul (n1, offset)
  n3 = Add (n2, half)"""
"""tanh with its offset, and that times 2^15, rounding included."""

_UPDATE = """
  na = Gather (n1, c)
  nb = Gather (n3, c)
  d = Sub (hp, na)
  e = Mul (z, d)
  f = Add (e, nb)
  hn = Div (f, offset)"""
"""h' = (z h + (2^15 - z) n + 2^14) >> 15, as (z (h - n) + 2^15 n + 2^14) >> 15."""


def _lstm(suffix: str, precision: Precision, *, lengths: bool) -> str:
    body = f"""
{state_product("hp", "r", "rm", "u", precision)}
  a = Add (u, pt)
{rounded("a", "g")}
  ga, gb, gc, gd = Split <axis = -1, num_outputs = 4> (g)
  i = Gather (sigmoid, ga)
  o = Gather (sigmoid, gb)
  f = Gather (sigmoid, gc)
  t = Gather (tanh, gd)
  ca = Mul (i, t)
  cb = Add (ca, square)
  cc = Div (cb, shift)
  cd = Mul (f, cp)
  ce = Add (cc, cd)
  cf = Clip (ce, low, high)
  cg = Add (cf, back)
  ch = Div (cg, offset)
  cn = Sub (ch, offset)
  oa = Gather (cells, cn)
  ob = Mul (o, oa)
  oc = Add (ob, lifted)
  hn = Div (oc, offset)"""
    head = signature("x, xc, xi, w, wm, wb, r, rm, cu, h, c", "y, hk, ck", lengths=lengths)
    return function_text(head, f"""
{_before(suffix, precision)}
  sigmoid, tanh, magnitude, q = edgernn.GateTables ()
  k1, k2 = Split <axis = 0, num_outputs = 2> (cu)
  q1 = Abs (q)
  q2 = Mul (q1, k2)
  q3 = Shape (magnitude)
  q4 = Cast <to = 6> (q3)
  q5 = Sub (q4, one)
  q6 = Min (q2, q5)
  q7 = Gather (magnitude, q6)
  q8 = Sign (q)
  cells = Mul (q7, q8)
  shift = Squeeze (k1, axis)
  m0 = Div (square, k1)
  m1 = Sub (m0, half)
  m2 = Add (m1, lowest)
  m3 = Add (m1, highest)
  low = Squeeze (m2, axis)
  high = Squeeze (m3, axis)
  back = Sub (square, m1)
  c0 = Cast <to = 6> (c)
{_scan(body, "p", "hc", lengths=lengths)}
{_after()}
  ck = Cast <to = 5> (c1)""")  # fmt: skip


def _gru(suffix: str, precision: Precision, *, lengths: bool) -> str:
    body = f"""
{state_product("hp", "r", "rm", "u", precision)}
  pa = Slice (pt, axis, triple, end)
  pb = Slice (pt, triple, quadruple, end)
  a = Add (u, pa)
{rounded("a", "g")}
  ga, gb, gc = Split <axis = -1, num_outputs = 3> (g)
  z = Gather (sigmoid, ga)
  q = Gather (sigmoid, gb)
  s = Max (gc, least)
  ma = Mul (q, s)
  mb = Add (ma, lifted)
  mc = Div (mb, offset)
  md = Cast <to = 6> (pb)
  me = Add (mc, md)
  c = Clip (me, least, most)
{_UPDATE}"""
    head = signature("x, xc, xi, w, wm, wb, r, rm, rb, h", "y, hk", lengths=lengths)
    return function_text(head, f"""
{_before(suffix, precision)}
  single = Shape (rb)
  double = Add (single, single)
  triple = Add (double, single)
  quadruple = Add (double, double)
  sizes = Concat <axis = 0> (double, single)
  pg, ph = Split <axis = -1> (p, sizes)
  pi = Shape (ph)
  pj = Expand (rb, pi)
{rounded("ph", "pk")}
  pl = Max (pk, least)
  pm = Sub (pl, offset)
  pn = Cast <to = 1> (pm)
  po = Concat <axis = -1> (pg, pj, pn)
  sigmoid, tanh, magnitude, all = edgernn.GateTables ()
{_CANDIDATE_TABLES}
{_scan(body, "po", lengths=lengths)}
{_after()}""")  # fmt: skip


def _gru_reset_before(suffix: str, precision: Precision, *, lengths: bool) -> str:
    body = f"""
{state_product("hp", "r", "rm", "u", precision)}
  pa = Slice (pt, axis, double, end)
  pb = Slice (pt, double, triple, end)
  a = Add (u, pa)
{rounded("a", "g")}
  ga, gb = Split <axis = -1, num_outputs = 2> (g)
  z = Gather (sigmoid, ga)
  q = Gather (sigmoid, gb)
  va = Sub (hp, offset)
  vb = Mul (q, va)
  vc = Add (vb, lifted)
  v = Div (vc, offset)
{state_product("v", "r2", "rm2", "m", precision)}
  b = Add (m, pb)
{rounded("b", "c")}
{_UPDATE}"""
    head = signature("x, xc, xi, w, wm, wb, r, rm, r2, rm2, h", "y, hk", lengths=lengths)
    return function_text(head, f"""
{_before(suffix, precision)}
{unpacked("r2", precision)}
  single = Shape (rm2)
  double = Add (single, single)
  triple = Add (double, single)
  sigmoid, tanh, magnitude, all = edgernn.GateTables ()
{_CANDIDATE_TABLES}
{_scan(body, "p", lengths=lengths)}
{_after()}""")  # fmt: skip


def _rnn(suffix: str, precision: Precision, *, relu: bool, lengths: bool) -> str:
    body = f"""
{state_product("hp", "r", "rm", "u", precision)}
  a = Add (u, pt)
{rounded("a", "g")}
"""
    if relu:
        tables, unit, inputs = "", "hu", "r, rm, hu, h"
        body += "  ga = Max (g, none)\n  hn = Add (ga, offset)"
    else:
        tables, unit, inputs = """
  sigmoid, tanh, magnitude, all = edgernn.GateTables ()
  states = Add (tanh, offset)""", "state_unit", "r, rm, h"  # fmt: skip
        body += "  hn = Gather (states, g)"
    head = signature(f"x, xc, xi, w, wm, wb, {inputs}", "y, hk", lengths=lengths)
    return function_text(head, f"""
{_before(suffix, precision)}{tables}
{_scan(body, "p", lengths=lengths)}
{_after(unit)}""")  # fmt: skip
