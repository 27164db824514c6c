"""Make the recurrent layers of a module read and write explicit states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from edgernn.training.onnx_layout import onnx_weights
from edgernn_exporters.pytorch import projection
from edgernn_exporters.pytorch.packed import Rows, active
from edgernn_exporters.pytorch.subclasses import base_of, replace_forward
from edgernn_exporters.pytorch.uses import Tape, Use


@dataclass(frozen=True)
class StateTensor:
    """Describe one recurrent state of a module.

    Attributes:
        name: Module path, letter and layer, such as ``"encoder.rnn.h_l0"``.
        directions: 2 for a bidirectional layer, else 1.
        hidden_size: Units.
        first: Learned first value ``[D, 1, H]``; None for zeros.
    """

    name: str
    directions: int
    hidden_size: int
    first: Tensor | None = field(default=None, compare=False)

    def zeros(self, batch: int) -> Tensor:
        """Return the initial state ``[D, B, H]``."""
        return torch.zeros(self.directions, batch, self.hidden_size)


def recurrent_layers(module: nn.Module) -> dict[str, nn.RNNBase]:
    """Find the recurrent layers by module path, in order of registration.

    Raises:
        ModelError: A layer is of another kind than nn.LSTM, nn.GRU and nn.RNN.
    """
    found: dict[str, nn.RNNBase] = {}
    for path, layer in module.named_modules():
        if not isinstance(layer, nn.RNNBase):
            continue
        base_of(layer, path)
        found[path] = layer
    return found


def rewire(module: nn.Module, uses: Sequence[Use]) -> tuple[list[StateTensor], Tape]:
    """Replace, in place, the forward of every used layer by one that uses a tape of states.

    Args:
        module: Module whose layers change.
        uses: The calls of its layers in one forward pass.

    Returns:
        The states of the calls that carry one, in the order of ``uses``, and the tape.
    """
    tape = Tape(uses)
    layers = recurrent_layers(module)
    for path in dict.fromkeys(use.path for use in uses):
        layer = layers[path]
        with torch.no_grad():
            for index in range(layer.num_layers):
                _register_weights(layer, index)
        replace_forward(layer, path, _forward_for(tape, path))
    carried = [use for use in uses if use.carried]
    return [state for use in carried for state in _states_of(layers[use.path], use)], tape


def _states_of(layer: nn.RNNBase, use: Use) -> list[StateTensor]:
    directions = 2 if layer.bidirectional else 1
    return [
        StateTensor(
            f"{use.prefix}{letter}_l{index}",
            directions,
            size,
            use.first.get(f"{use.prefix}{letter}_l{index}"),
        )
        for index in range(layer.num_layers)
        for letter, size in _sizes(layer).items()
    ]


def _sizes(layer: nn.RNNBase) -> dict[str, int]:
    """Return the size of each state by letter; a projection is of h alone."""
    if not isinstance(layer, nn.LSTM):
        return {"h": layer.hidden_size}
    return {"h": layer.proj_size or layer.hidden_size, "c": layer.hidden_size}


def _register_weights(layer: nn.RNNBase, index: int) -> None:
    """Add one layer's weights in ONNX's layout, as buffers of the layer."""
    if isinstance(layer, nn.LSTM) and layer.proj_size:
        projection.register_weights(layer, index)
        return
    for letter, weight in zip("WRB", onnx_weights(layer, index), strict=True):
        layer.register_buffer(f"{letter}_l{index}", weight)


def _forward_for(tape: Tape, path: str) -> Any:
    """Make the forward of one recurrent layer, with `nn.GRU.forward`'s signature."""

    def forward(self: nn.RNNBase, input: Any, hx: Any = None) -> tuple[Any, Any]:
        mode = active()
        with mode.trusting():
            if not isinstance(input, PackedSequence):
                return _run(self, tape, path, input, hx)
            data, rows = mode.unwrap(input, f"layer {path!r}")
            sequence, last = _run(self, tape, path, data, hx, rows)
            return mode.wrap_output(sequence, rows), last

    return forward


def _run(
    layer: nn.RNNBase, tape: Tape, path: str, x: Tensor, hx: Any, rows: Rows | None = None
) -> tuple[Tensor, Any]:
    """Run all layers on what `nn.GRU.forward` takes, or on ``[T, B, I]`` with its lengths."""
    use = tape.enter(path)
    batched, batch_first = x.ndim == 3, layer.batch_first and rows is None
    sequence = x.unsqueeze(1) if not batched else x.transpose(0, 1) if batch_first else x
    starts = None if use.carried else _starts(layer, hx, sequence, batched)
    lasts: list[tuple[Tensor, ...]] = []
    for index in range(layer.num_layers):
        sequence, *last = _layer(layer, tape, sequence, rows, use, starts, index)
        lasts.append(tuple(last))
    stacked = tuple(torch.cat(parts) for parts in zip(*lasts, strict=True))
    if not batched:
        output, stacked = sequence.squeeze(1), tuple(last.squeeze(1) for last in stacked)
    else:
        output = sequence.transpose(0, 1) if batch_first else sequence
    return output, stacked if isinstance(layer, nn.LSTM) else stacked[0]


def _starts(layer: nn.RNNBase, hx: Any, x: Tensor, batched: bool) -> dict[str, Tensor]:
    """Return the states ``[L*D, B, H]`` that a call starts from, by letter: given, or zeros."""
    sizes = _sizes(layer)
    if hx is None:
        depth = layer.num_layers * (2 if layer.bidirectional else 1)
        return {letter: x.new_zeros(depth, x.shape[1], size) for letter, size in sizes.items()}
    given = (hx,) if isinstance(hx, Tensor) else hx
    return {
        letter: state if batched else state.unsqueeze(1)
        for letter, state in zip(sizes, given, strict=True)
    }


def _layer(
    layer: nn.RNNBase,
    tape: Tape,
    x: Tensor,
    rows: Rows | None,
    use: Use,
    starts: dict[str, Tensor] | None,
    index: int,
) -> tuple[Tensor, ...]:
    """Run one layer on ``x [T, B, I]``; return ``[T, B, D*H]`` and the last states."""
    letters = list(_sizes(layer))
    names = [f"{use.prefix}{letter}_l{index}" for letter in letters]
    if starts is None:
        first = [tape.take(name) for name in names]
    else:
        own = slice(index * (width := 2 if layer.bidirectional else 1), (index + 1) * width)
        first = [starts[letter][own] for letter in letters]
    y, *lasts = _call(layer, index, x, rows, first)
    if use.carried:
        for name, last in zip(names, lasts, strict=True):
            tape.give(name, last)
    return (y, *lasts)


def _call(
    layer: nn.RNNBase, index: int, x: Tensor, rows: Rows | None, first: Sequence[Tensor]
) -> Sequence[Tensor]:
    """Call the operator of one layer."""
    if isinstance(layer, nn.LSTM) and layer.proj_size:
        return projection.run_projected(layer, index, x, first[0], first[1], rows)
    weights = [getattr(layer, f"{letter}_l{index}") for letter in "WRB"]
    direction = "bidirectional" if layer.bidirectional else "forward"
    lengths = None if rows is None else rows.narrow
    results: Sequence[Tensor]
    if isinstance(layer, nn.LSTM):
        results = torch.ops.edgernn.lstm(x, *weights, lengths, *first, direction)
    elif isinstance(layer, nn.GRU):
        results = torch.ops.edgernn.gru(x, *weights, lengths, *first, direction)
    else:
        activation = {"tanh": "Tanh", "relu": "Relu"}[str(layer.nonlinearity)]
        results = torch.ops.edgernn.rnn(x, *weights, lengths, *first, direction, activation)
    return results
