"""Quantized layers whose rows may have lengths of their own, and what to feed them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from helpers.graphs import Floats, draw_parameters, normal, recurrent_model
from helpers.quantized import ranges_for, rewritten

from edgernn.integer import INTEGER

CELLS: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("lstm", {}),
    "gru": ("gru", {"linear_before_reset": 1}),
    "gru-reset-before": ("gru", {}),
    "rnn": ("rnn", {}),
    "rnn-relu": ("rnn", {"activations": ["Relu"]}),
}
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
PRECISIONS = ("int8-dynamic", *INTEGER)


def quantized_layer(
    name: str,
    precision: str,
    direction: str,
    sizes: tuple[int, int],
    seed: int,
    lengths: Sequence[int] | None = None,
) -> onnx.ModelProto:
    """Make a random layer of ``sizes``, inputs and units; lengths are a constant ``lens``."""
    cell, attributes = CELLS[name]
    count = DIRECTIONS[direction]
    if "activations" in attributes:
        attributes = {"activations": attributes["activations"] * count}
    inputs, hidden = sizes
    parameters = draw_parameters(cell, inputs=inputs, hidden=hidden, directions=count, seed=seed)
    extra = None if lengths is None else {4: ("lens", np.array(lengths, np.int32))}
    model = recurrent_model(cell, parameters, direction=direction, extra_inputs=extra, **attributes)
    assert not rewritten(model, precision, ranges=ranges_for(["cell"])).kept
    return model


def draw_feeds(
    name: str, direction: str, sizes: tuple[int, int], time: int, batch: int, seed: int
) -> dict[str, Floats]:
    """Draw x and first states."""
    inputs, hidden = sizes
    feeds = {"x": normal(seed, time, batch, inputs)}
    for place, letter in enumerate("hc" if name == "lstm" else "h"):
        shape = (DIRECTIONS[direction], batch, hidden)
        feeds[letter] = np.abs(normal(seed + place + 1, *shape, scale=0.4))
    return feeds
