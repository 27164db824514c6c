"""Make the recurrent layers of a module read and write explicit states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from edgernn.errors import ModelError
from edgernn.training.onnx_layout import onnx_weights
from edgernn_exporters.pytorch.recurrent import KINDS


@dataclass(frozen=True)
class StateTensor:
    """Describe one recurrent state of a module.

    Attributes:
        name: Module path, letter and layer, such as ``"encoder.rnn.h_l0"``.
        directions: 2 for a bidirectional layer, else 1.
        hidden_size: Units.
    """

    name: str
    directions: int
    hidden_size: int

    def zeros(self, batch: int) -> Tensor:
        """Return the initial state ``[D, B, H]``."""
        return torch.zeros(self.directions, batch, self.hidden_size)


def recurrent_layers(module: nn.Module) -> dict[str, nn.RNNBase]:
    """Find the recurrent layers by module path, in order of registration.

    Raises:
        ModelError: A layer cannot be exported yet, with the reason.
    """
    found: dict[str, nn.RNNBase] = {}
    for path, layer in module.named_modules():
        if not isinstance(layer, nn.RNNBase):
            continue
        if type(layer) not in KINDS:
            raise ModelError(
                f"layer {path!r} is a {type(layer).__name__}, a subclass of a recurrent layer "
                f"whose own forward would be lost; use nn.LSTM, nn.GRU or nn.RNN itself"
            )
        if layer.proj_size:
            raise ModelError(
                f"layer {path!r} has proj_size={layer.proj_size}, for which ONNX has no "
                f"attribute; use proj_size=0 followed by nn.Linear"
            )
        found[path] = layer
    return found


class Tape:
    """Carry states into the recurrent layers and their next values out of them."""

    def __init__(self) -> None:
        self._given: dict[str, Tensor] = {}
        self._next: dict[str, Tensor] = {}

    def start(self, states: dict[str, Tensor]) -> None:
        """Lay out the states of one forward pass."""
        self._given, self._next = states, {}

    def take(self, name: str) -> Tensor:
        """Return a state before the pass."""
        if name in self._next:
            raise ModelError(
                f"the layer of state {name!r} is called more than once in one forward pass, so "
                f"its state is ambiguous; give each use a layer of its own"
            )
        return self._given[name]

    def give(self, name: str, value: Tensor) -> None:
        """Keep a state after the pass."""
        self._next[name] = value

    def finish(self, names: Sequence[str]) -> list[Tensor]:
        """Return the states after the pass, and forget them."""
        if missing := [name for name in names if name not in self._next]:
            raise ModelError(
                f"forward did not reach the layers of states {missing}; remove unused recurrent "
                f"layers from the module, then export again"
            )
        values = [self._next[name] for name in names]
        self._given, self._next = {}, {}
        return values


def rewire(module: nn.Module) -> tuple[list[StateTensor], Tape]:
    """Replace, in place, the forward of every recurrent layer by one that uses a tape of states."""
    tape = Tape()
    states: list[StateTensor] = []
    for path, layer in recurrent_layers(module).items():
        prefix = f"{path}." if path else ""
        letters = "hc" if KINDS[type(layer)] == "lstm" else "h"
        directions = 2 if layer.bidirectional else 1
        for index in range(layer.num_layers):
            with torch.no_grad():
                weights = onnx_weights(layer, index)
            for letter, weight in zip("WRB", weights, strict=True):
                layer.register_buffer(f"{letter}_l{index}", weight)
            states += [
                StateTensor(f"{prefix}{letter}_l{index}", directions, layer.hidden_size)
                for letter in letters
            ]
        layer.forward = MethodType(_forward_for(tape, path, prefix), layer)
    return states, tape


def _forward_for(tape: Tape, path: str, prefix: str) -> Any:
    """Make the forward of one recurrent layer, with `nn.GRU.forward`'s signature."""

    def forward(self: nn.RNNBase, x: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        if isinstance(x, PackedSequence):
            raise ModelError(
                f"layer {path!r} gets a PackedSequence, which has no fixed graph; call the module "
                f"with padded tensors for export"
            )
        if hx is not None:
            raise ModelError(
                f"layer {path!r} is given its initial state by the module; leave it out, and the "
                f"exported model gets the state as input {prefix}h_l0 and so on by itself"
            )
        if x.ndim != 3:
            raise ModelError(
                f"layer {path!r} gets an input of rank {x.ndim}; export needs a batch axis"
            )
        sequence = x.transpose(0, 1) if self.batch_first else x
        lasts: list[tuple[Tensor, ...]] = []
        for index in range(self.num_layers):
            sequence, *last = _layer(self, tape, sequence, prefix, index)
            lasts.append(tuple(last))
        output = sequence.transpose(0, 1) if self.batch_first else sequence
        stacked = tuple(torch.cat(parts) for parts in zip(*lasts, strict=True))
        return output, stacked if isinstance(self, nn.LSTM) else stacked[0]

    return forward


def _layer(layer: nn.RNNBase, tape: Tape, x: Tensor, prefix: str, index: int) -> tuple[Tensor, ...]:
    """Run one layer on ``x [T, B, I]``; return ``[T, B, D*H]`` and the last states."""
    weights = [getattr(layer, f"{letter}_l{index}") for letter in "WRB"]
    direction = "bidirectional" if layer.bidirectional else "forward"
    h_name, c_name = f"{prefix}h_l{index}", f"{prefix}c_l{index}"
    h = tape.take(h_name)
    lasts: tuple[Tensor, ...]
    if isinstance(layer, nn.LSTM):
        y, *lasts_list = torch.ops.edgernn.lstm(x, *weights, h, tape.take(c_name), direction)
        lasts = tuple(lasts_list)
        tape.give(c_name, lasts[1])
    elif isinstance(layer, nn.GRU):
        y, last = torch.ops.edgernn.gru(x, *weights, h, direction)
        lasts = (last,)
    else:
        activation = {"tanh": "Tanh", "relu": "Relu"}[str(layer.nonlinearity)]
        y, last = torch.ops.edgernn.rnn(x, *weights, h, direction, activation)
        lasts = (last,)
    tape.give(h_name, lasts[0])
    return (y, *lasts)
