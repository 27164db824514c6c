"""The time loop of recurrent functions, with or without lengths of rows.

A function of rows of different lengths takes ``lens``, int32 ``[B]``, as its last input, and has
``Lengths`` in its name. Its loop counts the step ``kp``; a row whose length is not above it keeps
its states and gives 0. So a loop that walks backwards passes the padding first, with the states
that it starts from. A row of length 0 starts from 0, as in ONNX Runtime's operators.
"""

from __future__ import annotations

import onnx

LENGTHS = "Lengths"
"""Part of a function's name, between layer and precision."""

_STANDARD = ("LSTM", "GRU", "RNN")

TEXTS = {
    "Steps": """<reverse> (x, lens) => (first, move, until, some) {
  one = Constant <value_ints = [1]> ()
  none = Constant <value_ints = [0]> ()
  back = Constant <value_ints: ints = @reverse> ()
  steps = Shape <start = 0, end = 1> (x)
  last = Sub (steps, one)
  first = Mul (last, back)
  twice = Add (back, back)
  move = Sub (one, twice)
  wide = Cast <to = 7> (lens)
  until = Unsqueeze (wide, one)
  some = Less (none, until) }"""
}
"""Number of the first step and from one to the next ``[1]``; lengths ``[B, 1]``, and if above 0."""


def named(layer: str, suffix: str, *, lengths: bool) -> str:
    """Return the name of a layer's function, such as ``GRULengthsInt8``."""
    return f"{layer}{LENGTHS if lengths else ''}{suffix}"


def lengths_of(node: onnx.NodeProto) -> str:
    """Return the name of the lengths of an LSTM, GRU or RNN, or of our function of one; else ""."""
    if node.op_type in _STANDARD:
        return str(node.input[4]) if len(node.input) > 4 else ""
    ours = node.op_type.startswith(_STANDARD) and LENGTHS in node.op_type
    return str(node.input[-1]) if ours else ""


def signature(inputs: str, outputs: str, *, lengths: bool) -> str:
    """Return what stands in front of the function's body."""
    return f"<reverse> ({inputs}{', lens' if lengths else ''}) => ({outputs})"


def scan(body: str, sequence: str, output: str, nothing: dict[str, str], *, lengths: bool) -> str:
    """Loop over time from ``h0`` (and ``c0``) to ``h1`` (and ``c1``).

    Args:
        body: Makes ``hn`` of ``hp``, ``cn`` of ``cp`` and the step's ``pt``.
        sequence: What ``pt`` is a step of.
        output: Name for all ``hn``.
        nothing: For each state, ``"h"`` or ``"c"``, the name of a scalar with its 0.
        lengths: True if rows have lengths.
    """
    before, after = "", "  hy = Identity (hn)"
    ends, starts, states, following = (
        ", ".join(f"{letter}{end}" for letter in nothing) for end in "10pn"
    )
    if lengths:
        before = "\n  first, move, until, some = edgernn.Steps <reverse: ints = @reverse> (x, lens)"
        after = f"  valid = Less (kp, until)\n  hy = Where (valid, hn, {nothing['h']})"
        for letter, zero in nothing.items():
            before += f"\n  first_{letter} = Where (some, {letter}0, {zero})"
            after += f"\n  kept_{letter} = Where (valid, {letter}n, {letter}p)"
        after += "\n  kn = Add (kp, move)"
        ends += ", ended"
        starts = ", ".join([*(f"first_{letter}" for letter in nothing), "first"])
        states += ", kp"
        following = ", ".join([*(f"kept_{letter}" for letter in nothing), "kn"])
    return f"""{before}
  {ends}, {output} = Scan <num_scan_inputs = 1, scan_input_directions: ints = @reverse,
    scan_output_directions: ints = @reverse, body = step ({states}, pt) => ({following}, hy) {{
{body}
{after}
  }}> ({starts}, {sequence})"""
