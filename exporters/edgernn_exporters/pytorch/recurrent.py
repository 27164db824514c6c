"""Keep PyTorch's recurrent layers whole through the ONNX exporter.

``torch.export`` decomposes ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN``: it freezes the time axis of
bidirectional layers and unrolls ``nn.RNN``. Here each layer becomes one call of a custom operator
that carries ONNX's own weight layout, and the operator is translated to one ONNX node.

Source: ONNX operators LSTM-14, GRU-14, RNN-14 (weights: `edgernn.training.onnx_layout`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from onnxscript import opset20 as op
from torch import Tensor, nn

KINDS: dict[type[nn.RNNBase], str] = {nn.LSTM: "lstm", nn.GRU: "gru", nn.RNN: "rnn"}
F = TypeVar("F", bound=Callable[..., Any])

library = torch.library.Library("edgernn", "DEF")  # type: ignore[no-untyped-call]
for _schema in (
    "lstm(Tensor x, Tensor w, Tensor r, Tensor? b, Tensor? lengths, Tensor h, Tensor c,"
    " str direction) -> (Tensor, Tensor, Tensor)",
    "gru(Tensor x, Tensor w, Tensor r, Tensor? b, Tensor? lengths, Tensor h, str direction)"
    " -> (Tensor, Tensor)",
    "rnn(Tensor x, Tensor w, Tensor r, Tensor? b, Tensor? lengths, Tensor h, str direction,"
    " str activation) -> (Tensor, Tensor)",
):
    library.define(_schema)  # type: ignore[no-untyped-call]


def shapes_of(name: str) -> Callable[[F], F]:
    """Register a function that computes the shapes of an operator's results."""
    register: Callable[[F], F] = torch.library.register_fake(name)
    return register


def _output_like(x: Tensor, r: Tensor) -> Tensor:
    """Return an empty ``[T, B, D*H]``, the layout in which PyTorch hands on a sequence."""
    return x.new_empty(x.shape[0], x.shape[1], r.shape[0] * r.shape[2])


@shapes_of("edgernn::lstm")
def _lstm_shapes(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    h: Tensor,
    c: Tensor,
    direction: str,
) -> tuple[Tensor, Tensor, Tensor]:
    return _output_like(x, r), torch.empty_like(h), torch.empty_like(c)


@shapes_of("edgernn::gru")
def _gru_shapes(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    h: Tensor,
    direction: str,
) -> tuple[Tensor, Tensor]:
    return _output_like(x, r), torch.empty_like(h)


@shapes_of("edgernn::rnn")
def _rnn_shapes(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    h: Tensor,
    direction: str,
    activation: str,
) -> tuple[Tensor, Tensor]:
    return _output_like(x, r), torch.empty_like(h)


def _lstm_node(x: Any, w: Any, r: Any, b: Any, lengths: Any, h: Any, c: Any, direction: str) -> Any:
    y, *lasts = op.LSTM(x, w, r, b, lengths, h, c, direction=direction, hidden_size=r.shape[2])
    return (_joined(y, direction), *lasts)


def _gru_node(x: Any, w: Any, r: Any, b: Any, lengths: Any, h: Any, direction: str) -> Any:
    hidden = r.shape[2]
    y, last = op.GRU(
        x, w, r, b, lengths, h, direction=direction, hidden_size=hidden, linear_before_reset=1
    )
    return _joined(y, direction), last


def _rnn_node(
    x: Any, w: Any, r: Any, b: Any, lengths: Any, h: Any, direction: str, activation: str
) -> Any:
    options = {
        "direction": direction,
        "hidden_size": r.shape[2],
        "activations": [activation] * (2 if direction == "bidirectional" else 1),
    }
    y, last = op.RNN(x, w, r, b, lengths, h, **options)
    return _joined(y, direction), last


def _joined(y: Any, direction: str) -> Any:
    """Bring ONNX's ``[T, D, B, H]`` to ``[T, B, D*H]`` without asking for the shape at run time."""
    if direction == "forward":
        return op.Squeeze(y, op.Constant(value_ints=[1]))
    return op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), op.Constant(value_ints=[0, 0, -1]))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.edgernn.lstm.default: _lstm_node,
    torch.ops.edgernn.gru.default: _gru_node,
    torch.ops.edgernn.rnn.default: _rnn_node,
}
