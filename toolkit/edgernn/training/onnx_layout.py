"""Weights of PyTorch's recurrent layers in the layout of ONNX.

Source: ONNX operators LSTM-14, GRU-14, RNN-14. PyTorch orders gates LSTM ``i f g o`` and GRU
``r z n``; ONNX orders them ``i o f c`` and ``z r h``. PyTorch's GRU is ``linear_before_reset=1``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_KINDS = {"LSTM": "lstm", "GRU": "gru", "RNN_TANH": "rnn", "RNN_RELU": "rnn"}
_GATE_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn": (0,)}


def kind_of(layer: nn.RNNBase) -> str:
    """Return ``"lstm"``, ``"gru"`` or ``"rnn"``."""
    return _KINDS[layer.mode]


def onnx_weights(layer: nn.RNNBase, index: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return one layer's weights in ONNX's layout; gradients flow back through it.

    Args:
        layer: ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` with G gates and D directions.
        index: Layer number.

    Returns:
        ``W [D, G*H, I]``, ``R [D, G*H, H]`` and ``B [D, 2*G*H]``, or None without bias.

    Example:
        >>> [list(tensor.shape) for tensor in onnx_weights(nn.GRU(3, 5), 0)]
        [[1, 15, 3], [1, 15, 5], [1, 30]]
    """
    order = _GATE_ORDER[kind_of(layer)]
    suffixes = ["", "_reverse"] if layer.bidirectional else [""]

    def stacked(name: str) -> Tensor:
        return torch.stack([
            torch.cat([gates[gate] for gate in order])
            for suffix in suffixes
            for gates in [getattr(layer, f"{name}_l{index}{suffix}").chunk(len(order))]
        ])  # fmt: skip

    bias = None
    if layer.bias:
        bias = torch.cat([stacked("bias_ih"), stacked("bias_hh")], dim=1)
    return stacked("weight_ih"), stacked("weight_hh"), bias


def onnx_cell_weights(cell: nn.RNNCellBase) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the weights of ``nn.LSTMCell``, ``nn.GRUCell`` or ``nn.RNNCell`` in ONNX's layout.

    Args:
        cell: The cell, with G gates.

    Returns:
        ``W [1, G*H, I]``, ``R [1, G*H, H]`` and ``B [1, 2*G*H]``, or None without bias.

    Example:
        >>> [list(tensor.shape) for tensor in onnx_cell_weights(nn.GRUCell(3, 5))]
        [[1, 15, 3], [1, 15, 5], [1, 30]]
    """
    kinds = {nn.LSTMCell: "lstm", nn.GRUCell: "gru", nn.RNNCell: "rnn"}
    order = _GATE_ORDER[next(kind for base, kind in kinds.items() if isinstance(cell, base))]

    def ordered(weight: Tensor) -> Tensor:
        gates = weight.chunk(len(order))
        return torch.cat([gates[gate] for gate in order])[None]

    bias = None
    if cell.bias:
        bias = torch.cat([ordered(cell.bias_ih), ordered(cell.bias_hh)], dim=1)
    return ordered(cell.weight_ih), ordered(cell.weight_hh), bias
