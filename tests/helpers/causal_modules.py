"""PyTorch modules with windows over time in front of a recurrent layer, all of them causal."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class CausalConv(nn.Module):
    """A convolution over the past; pads before itself."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(functional.pad(x, (self.past, 0)))


class Block(nn.Module):
    """A residual block of a temporal convolutional network (Bai et al., 2018): pads and chomps."""

    def __init__(self, width: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.past = (kernel - 1) * dilation
        self.conv1 = nn.Conv1d(width, width, kernel, padding=self.past, dilation=dilation)
        self.conv2 = nn.Conv1d(width, width, kernel, padding=self.past, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv1(x)[:, :, : -self.past].contiguous())
        y = torch.relu(self.conv2(y)[:, :, : -self.past].contiguous())
        return torch.relu(x + y)


class TCN(nn.Module):
    """A temporal convolutional network and a GRU."""

    def __init__(self, inputs: int = 5, width: int = 8) -> None:
        super().__init__()
        self.mix = nn.Conv1d(inputs, width, 1)
        self.blocks = nn.Sequential(Block(width, 3, 1), Block(width, 2, 4))
        self.rnn = nn.GRU(width, 6, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.blocks(self.mix(x.transpose(1, 2)))
        return self.head(self.rnn(y.transpose(1, 2))[0])


class Keywords(nn.Module):
    """Depthwise separable convolutions with batch normalization, an LSTM, the last step's word."""

    def __init__(self, inputs: int = 5, width: int = 8) -> None:
        super().__init__()
        self.depthwise = CausalConv(inputs, inputs, 4, groups=inputs)
        self.pointwise = nn.Conv1d(inputs, width, 1)
        self.norm = nn.BatchNorm1d(width)
        self.front = CausalConv(width, width, 3, dilation=2)
        self.pool = nn.AvgPool1d(2, stride=1)
        self.rnn = nn.LSTM(width, 6, batch_first=True)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.relu(self.norm(self.pointwise(self.depthwise(x.transpose(1, 2)))))
        y = self.pool(functional.pad(self.front(y), (1, 0)))
        y = self.head(self.rnn(y.transpose(1, 2))[0])
        return y, y[:, -1]


class Spectral(nn.Module):
    """Two-dimensional convolutions over time and frequency, as in front of speech models."""

    def __init__(self, bands: int = 8) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((1, 1, 2, 0))  # the bands on both sides, time before only
        self.conv1 = nn.Conv2d(1, 4, 3, stride=(1, 2))
        self.conv2 = nn.Conv2d(4, 6, (2, 3), padding=(1, 1), dilation=(1, 1))
        self.rnn = nn.GRU(6 * (bands // 2), 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Take ``[batch, 1, time, bands]``."""
        y = torch.relu(self.conv1(self.pad(x)))
        y = torch.relu(self.conv2(y)[:, :, :-1])
        return self.rnn(y.transpose(1, 2).flatten(2))[0]


class TokenShift(nn.Module):
    """Each frame mixed with the one before, its change, and the sum so far; then a GRU."""

    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.shift = nn.ZeroPad2d((0, 0, 1, -1))
        self.mixed = nn.Parameter(torch.linspace(0, 1, width))
        self.rnn = nn.GRU(3 * width, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.mixed * x + (1 - self.mixed) * self.shift(x)
        change = functional.pad(x[:, 1:] - x[:, :-1], (0, 0, 1, 0))
        total = torch.tanh(x.cumsum(1) * 0.1)
        return self.rnn(torch.cat([mixed, change, total], -1))[0]
