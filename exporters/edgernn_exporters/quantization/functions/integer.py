"""ONNX functions for the layers of ``int8``, ``w8a16`` and ``int4``: integer arithmetic.

They return exactly the integers of docs/numerics.md, which `edgernn.integer.cells` defines in
numpy. A function's name is that of the layer and the precision, such as ``GRUW8A16``. One call is
one direction of one layer; with G gates in ONNX's order:

=========  ================  ==============================================================
value      shape             meaning
=========  ================  ==============================================================
x          [T, B, I]         sequence; any leading axes for a linear layer
xc, xi     [I] or [1]        what input becomes 0, and units in 1
w          [I, G*H]          input weights
wm, wb     [G*H]             their multipliers, and biases; in units of a pre-activation
r, rm      [H, G*H], [G*H]   recurrent weights and their multipliers
rb         [H]               GRU, linear_before_reset=1: recurrent bias of the candidate
r2, rm2    [H, H], [H]       GRU, linear_before_reset=0: recurrent weights of the candidate
cu         [2]               LSTM: 2^(15-F) and 2^(13-F) for F fractional bits of c
hu         [1]               relu RNN: value of one unit of h
h, c       [1, B, H]         states in, int16
lens       [B]               steps of each row, int32, where the name has ``Lengths``
y          [T, B, H]         sequence out, float32
hk, ck     [1, B, H]         states out, int16
=========  ================  ==============================================================

Weights are bytes with zero point 128, or 4-bit numbers with zero point 8. Attribute ``reverse`` is
``[1]`` for a layer that walks backwards in time, else ``[0]``.

Convolutions take ``x [N, C, …]``, ``w [O, C/g, …]``, and ``wm`` and ``wb`` as ``[O, 1, …]``.
Embeddings take a table ``w [V, E]`` with one scale ``ws [V]`` for each row.

Inside, numbers that are divided carry an offset (2^15 for states, 2^30 for products), because only
the division of numbers that are not negative is a floor in every runtime.
"""

from __future__ import annotations

from edgernn.integer import INTEGER, Precision
from edgernn_exporters.quantization.functions import recurrent
from edgernn_exporters.quantization.functions.products import product, quantized_input, unpacked
from edgernn_exporters.quantization.functions.tables import TEXTS as _TABLES
from edgernn_exporters.quantization.functions.text import function_text

SUFFIXES = {"int8": "Int8", "w8a16": "W8A16", "int4": "Int4"}
"""Last part of a function's name, by precision."""


def _linear(precision: Precision) -> str:
    return function_text("(x, xc, xi, w, wm, wb) => (y)", f"""
{unpacked("w", precision)}
{quantized_input(precision)}
{product("q", "w", "s", precision)}
  f = DequantizeLinear <axis = -1> (s, wm)
  y = Add (f, wb)""")  # fmt: skip


_CONVOLUTION = ("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
_KINDS = {"auto_pad": "string", "group": "int"}


def _convolution(precision: Precision) -> str:
    handed_on = ", ".join(f"{name}: {_KINDS.get(name, 'ints')} = @{name}" for name in _CONVOLUTION)
    operator = f"ConvInteger <{handed_on}>"
    signature = f"<{', '.join(_CONVOLUTION)}> (x, xc, xi, w, wm, wb) => (y)"
    return function_text(signature, f"""
{unpacked("w", precision)}
{quantized_input(precision)}
{product("q", "w", "s", precision, operator)}
  e0 = Cast <to = 1> (s)
  f = Mul (e0, wm)
  y = Add (f, wb)""")  # fmt: skip


def _embedding(precision: Precision) -> str:
    w, middle = ("w", "half_byte") if precision.weight_bits == 8 else ("w8", "half_nibble")
    return function_text("(ids, w, ws) => (y)", f"""
{unpacked("w", precision)}
  a = Gather ({w}, ids)
  b = Cast <to = 1> (a)
  c = Sub (b, {middle})
  s = Gather (ws, ids)
  t = Unsqueeze (s, end)
  y = Mul (c, t)""")  # fmt: skip


def _texts() -> dict[str, str]:
    texts = dict(_TABLES)
    for name, suffix in SUFFIXES.items():
        precision = INTEGER[name]
        texts |= {
            f"Linear{suffix}": _linear(precision),
            f"Conv{suffix}": _convolution(precision),
            **recurrent.texts(suffix, precision, lengths=False),
            **recurrent.texts(suffix, precision, lengths=True),
        }
        if precision.input_bits == 8:
            texts[f"Embedding{suffix}"] = _embedding(precision)
    return texts


TEXTS = _texts()
