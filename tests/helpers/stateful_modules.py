"""PyTorch modules that give their recurrent layers initial states, in every way there is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Learned(nn.Module):
    """Start two LSTM layers from parameters, one of them zero."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(5, 7, 2, batch_first=True)
        self.h0 = nn.Parameter(torch.randn(2, 1, 7))
        self.c0 = nn.Parameter(torch.stack([torch.randn(1, 7), torch.zeros(1, 7)]))

    def forward(self, x: Tensor) -> Tensor:
        states = [s.expand(-1, x.shape[0], -1).contiguous() for s in (self.h0, self.c0)]
        return self.rnn(x, (torch.tanh(states[0]), states[1]))[0]


class Passed(nn.Module):
    """Take and return the states of an LSTM, as a dict; zeros go to a GRU before it."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.GRU(5, 6, batch_first=True)
        self.rnn = nn.LSTM(6, 7, 2, batch_first=True)
        self.head = nn.Linear(7, 3)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> dict[str, Tensor]:
        y, _ = self.front(x, torch.zeros(1, x.shape[0], 6))
        y, (h, c) = self.rnn(y, (h, c))
        return {"logits": self.head(y), "h": h, "cn": c}


class BatchFirst(nn.Module):
    """Keep states as ``[batch, layers, units]``, and return the last output, equal to the last."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 7, 2, batch_first=True)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.rnn(x, state.transpose(0, 1).contiguous())
        return y[:, -1:], state.transpose(0, 1)


class Separate(nn.Module):
    """One state for each of two layers, as ``[batch, units]`` in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.GRU(5, 7, batch_first=True)
        self.b = nn.GRU(7, 7, batch_first=True)

    def forward(self, x: Tensor, states: tuple[Tensor, Tensor]) -> Any:
        y, a = self.a(x, states[0][None])
        y, b = self.b(y, states[1][None])
        return y, (a[0], b[0])


class Computed(nn.Module):
    """Start from a projection of a speaker's vector."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 7, batch_first=True)
        self.first = nn.Linear(4, 7)

    def forward(self, x: Tensor, speaker: Tensor) -> Tensor:
        return self.rnn(x, torch.tanh(self.first(speaker))[None])[0]


class Damped(nn.Module):
    """Halve the state between calls, so that it does not reach the layer as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 7, batch_first=True)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        y, h = self.rnn(x, h * 0.5)
        return y, h * 2


class Again(nn.Module):
    """Call one layer twice and another never."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 5, batch_first=True)
        self.spare = nn.GRU(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(self.rnn(x)[0])[0]


class Step(nn.Module):
    """One step of a decoder that attends to all outputs of an encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(12, 7, batch_first=True)

    def forward(self, x: Tensor, h: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.softmax(memory @ h[0][:, :, None], dim=1)
        context = (weights * memory).sum(1, keepdim=True)
        y, h = self.rnn(torch.cat([x, context], -1), h)
        return y, h


class Translator(nn.Module):
    """An encoder and an attending decoder, on sequences of two lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(5, 7, batch_first=True)
        self.decoder = nn.GRU(3, 7, batch_first=True)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory, h = self.encoder(source)
        y, _ = self.decoder(target, h)
        return y + torch.softmax(y @ memory.transpose(1, 2), -1) @ memory


class TwoPaths(nn.Module):
    """A layer over frequencies within each step, then one over time."""

    def __init__(self) -> None:
        super().__init__()
        self.across = nn.GRU(2, 3, batch_first=True, bidirectional=True)
        self.along = nn.GRU(24, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        batch, time, bands, width = x.shape
        y, _ = self.across(x.reshape(batch * time, bands, width))
        return self.along(y.reshape(batch, time, 24))[0]
