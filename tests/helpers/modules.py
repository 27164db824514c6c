"""PyTorch modules to export."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

CELLS: dict[str, type[nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Tagger(nn.Module):
    """Recurrent layers and a linear layer: one output for each time step."""

    def __init__(self, cell: str, inputs: int = 5, hidden: int = 7, **options: Any) -> None:
        super().__init__()
        options.setdefault("batch_first", True)
        self.rnn = CELLS[cell](inputs, hidden, **options)
        self.head = nn.Linear(hidden * (2 if self.rnn.bidirectional else 1), 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


class TwoBlocks(nn.Module):
    """Embedding, causal convolution, GRU, layer norm, residual LSTM; a dict of outputs."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, width)
        self.encoder = nn.GRU(width, width, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.decoder = nn.LSTM(width, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, 4)

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        encoded = self.norm(self.encoder(self.embedding(ids))[0])
        decoded = encoded + self.decoder(encoded)[0]
        return {"logits": self.head(decoded), "last": decoded[:, -1]}


class Convolved(nn.Module):
    """A convolution over time before a GRU, which looks back, ahead, or at whole windows."""

    def __init__(self, padding: tuple[int, int]) -> None:
        super().__init__()
        self.padding = padding
        self.conv = nn.Conv1d(5, 6, 3)
        self.rnn = nn.GRU(6, 7, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        padded = nn.functional.pad(x.transpose(1, 2), self.padding)
        return self.rnn(self.conv(padded).transpose(1, 2))[0]


class Pooled(nn.Module):
    """A mean over time, which no step knows."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 7, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0].mean(dim=1)


class Positioned(nn.Module):
    """A value for each position in the sequence, which no step knows."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 7, batch_first=True)
        self.table = nn.Parameter(torch.randn(2000, 7))

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0] + self.table[: x.shape[1]]


class LastStep(nn.Module):
    """A tuple of the last step's output and the state, neither with a time axis."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 7, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, (_, c) = self.rnn(x)
        return y[:, -1], c


class Conditioned(nn.Module):
    """Two inputs: a sequence, and one vector for all of it."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(5, 7, nonlinearity="relu", batch_first=True)
        self.speaker = nn.Linear(4, 7)

    def forward(self, x: Tensor, speaker: Tensor) -> Tensor:
        return torch.tanh(self.rnn(x)[0] + self.speaker(speaker)[:, None])


class Deciding(nn.Module):
    """Return logits, the largest of them, and whether it is sure: float, integer and truth."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 7, batch_first=True)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y, _ = self.rnn(x)
        return {"logits": y, "best": y.argmax(-1), "sure": y.amax(-1) > 0.2}
