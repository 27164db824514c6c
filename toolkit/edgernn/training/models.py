"""The networks that edgernn trains: recurrent layers with a linear layer on every time step."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from edgernn.training.config import ModelConfig

_RECURRENT: dict[str, Callable[..., nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class SequenceModel(nn.Module):
    """Map features ``[B, T, F]`` to one output per time step ``[B, T, O]``.

    Attributes:
        dropout: On the recurrent layer's input and output.
        rnn: `torch.nn.LSTM`, `torch.nn.GRU` or `torch.nn.RNN`, batch first.
        head: Linear layer from the hidden state to the outputs.
    """

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.rnn = _RECURRENT[config.cell](
            input_size=config.input_size,
            hidden_size=config.hidden_size,
            num_layers=config.layers,
            bidirectional=config.bidirectional,
            batch_first=True,
            dropout=dropout if config.layers > 1 else 0.0,
        )
        directions = 2 if config.bidirectional else 1
        self.head = nn.Linear(directions * config.hidden_size, config.output_size)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute the outputs of every time step, starting from zero states.

        Args:
            x: Features ``[B, T, F]``.
            lengths: Valid time steps of each row ``[B]``, at least 1. Given them, a bidirectional
                network starts its backward pass at each row's last valid step; a causal one does
                not need them. Outputs beyond a row's length mean nothing.

        Returns:
            Outputs ``[B, T, O]``.
        """
        x = self.dropout(x)
        if lengths is None or not self.rnn.bidirectional:
            hidden, _ = self.rnn(x)
        else:
            packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
            hidden, _ = self.rnn(packed)
            hidden, _ = pad_packed_sequence(hidden, batch_first=True, total_length=x.shape[1])
        outputs: Tensor = self.head(self.dropout(hidden))
        return outputs


def build_model(config: ModelConfig, *, dropout: float = 0.0) -> SequenceModel:
    """Make a network with random weights, drawn from PyTorch's global generator.

    Args:
        config: Cell and sizes.
        dropout: Probability on the input and the output of every recurrent layer; in training
            mode only.

    Example:
        >>> import torch
        >>> model = build_model(ModelConfig("gru", input_size=4, hidden_size=8, output_size=3))
        >>> model(torch.zeros(2, 5, 4)).shape
        torch.Size([2, 5, 3])
    """
    return SequenceModel(config, dropout)
