"""Float cells that keep every step's state, for the ranges that are found from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_CELLS: dict[str, Callable[..., Tensor]] = {
    "GRU": torch.gru_cell,
    "RNN_TANH": torch.rnn_tanh_cell,
    "RNN_RELU": torch.rnn_relu_cell,
}


def run_float(
    mode: str, x: Tensor, weights: Sequence[Tensor], states: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Run one direction in float32 and return every state, also the cell state of every step.

    Args:
        mode: PyTorch's ``"LSTM"``, ``"GRU"``, ``"RNN_TANH"`` or ``"RNN_RELU"``.
        x: ``[T, B, I]``.
        weights: ``weight_ih``, ``weight_hh`` and, with bias, ``bias_ih``, ``bias_hh``.
        states: Initial states ``[B, H]``.

    Returns:
        ``[T, B, H]`` for each state.
    """
    rows = []
    for step in x:
        if mode == "LSTM":
            states = torch.lstm_cell(step, list(states), *weights)
        else:
            states = (_CELLS[mode](step, states[0], *weights),)
        rows.append(tuple(states))
    return tuple(torch.stack(row) for row in zip(*rows, strict=True))
