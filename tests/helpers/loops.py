"""PyTorch modules with Python loops over time to export."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from edgernn.training import recurrent_cell

Step = Callable[[nn.Module, Tensor], Any]


class Looping(nn.Module):
    """Cells, linear layers and a forward given by the test."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.lstm = nn.LSTMCell(5, 6)
        self.gru = nn.GRUCell(5, 6)
        self.second = nn.GRUCell(6, 6)
        self.rnn = nn.RNNCell(6, 6, nonlinearity="relu")
        self.wide = nn.GRUCell(5 + 3, 6)
        self.cells = nn.ModuleList([nn.LSTMCell(5, 6), nn.LSTMCell(6, 6)])
        self.head = nn.Linear(6, 3)
        self.drop = nn.Dropout(0.5)
        self.norm = nn.LayerNorm(6)
        self.first = nn.Parameter(torch.linspace(-1, 1, 6))
        self._forward = forward

    def forward(self, x: Tensor) -> Any:
        return self._forward(self, x)


def zeros(x: Tensor) -> Tensor:
    return torch.zeros(x.shape[0], 6)


def gru_range(m: Any, x: Tensor) -> Tensor:
    h, outs = zeros(x), []
    for t in range(x.shape[1]):
        h = m.gru(x[:, t], h)
        outs.append(h)
    return torch.stack(outs, dim=1)


def lstm_without_state(m: Any, x: Tensor) -> Tensor:
    state, outs = None, []
    for step in x.unbind(1):
        state = m.lstm(step, state)
        outs.append(m.head(m.drop(state[0])))
    return torch.stack(outs, 1)


def rnn_time_first(m: Any, x: Tensor) -> Tensor:
    h, outs = zeros(x), []
    for _, step in enumerate(x.transpose(0, 1)):
        h = m.rnn(torch.tanh(m.norm(nn.functional.pad(step, (0, 1)))), h)
        outs.append(h)
    return torch.stack(outs).transpose(0, 1)


def split_and_cat(m: Any, x: Tensor) -> Tensor:
    h, outs = x.new_zeros(x.size(0), 6), []
    for step in x.split(1, dim=1):
        h = m.gru(step.squeeze(1), h)
        outs.append(h.unsqueeze(1))
    return torch.cat(outs, dim=1)


def written_in_place(m: Any, x: Tensor) -> Tensor:
    h, y = zeros(x), torch.zeros(x.shape[0], x.shape[1], 3)
    for t in range(x.shape[1]):
        h = m.gru(x[:, t, :], h)
        y[:, t] = m.head(h)
    return y


def two_cells(m: Any, x: Tensor) -> Tensor:
    a, b, outs = zeros(x), zeros(x), []
    for t in range(x.shape[1]):
        a = m.gru(x[:, t], a)
        b = m.second(a, b)
        outs.append(m.head(a + b))
    return torch.stack(outs, 1)


def stacked_by_step(m: Any, x: Tensor) -> Tensor:
    h = [zeros(x) for _ in m.cells]
    c = [zeros(x) for _ in m.cells]
    outs = []
    for t in range(x.shape[1]):
        value = x[:, t]
        for i, cell in enumerate(m.cells):
            h[i], c[i] = cell(value, (h[i], c[i]))
            value = h[i]
        outs.append(value)
    return torch.stack(outs, 1)


def stacked_by_layer(m: Any, x: Tensor) -> Tensor:
    steps = list(x.unbind(1))
    for cell in m.cells:
        state, outs = (zeros(x), zeros(x)), []
        for step in steps:
            state = cell(step, state)
            outs.append(state[0])
        steps = outs
    return torch.stack([m.head(step) for step in steps], 1)


def two_loops(m: Any, x: Tensor) -> dict[str, Tensor]:
    first = gru_range(m, x)
    h, outs = zeros(x), []
    for t in range(x.shape[1]):
        h = m.second(first[:, t], h)
        outs.append(h)
    return {"y": torch.stack(outs, 1), "first": first, "last": h}


def last_only(m: Any, x: Tensor) -> Tensor:
    h = zeros(x)
    for t in range(x.size(1)):
        h = m.gru(x[:, t], h)
    return m.head(h)


def learned_state(m: Any, x: Tensor) -> Tensor:
    h, outs = m.first.expand(x.shape[0], -1), []
    for t in range(x.shape[1]):
        h = m.gru(x[:, t], h)
        outs.append(h)
    return torch.stack(outs, 1)


def feedback(m: Any, x: Tensor) -> Tensor:
    h, y, outs = zeros(x), x.new_zeros(x.shape[0], 3), []
    for t in range(x.shape[1]):
        h = m.wide(torch.cat([x[:, t], y], dim=-1), h)
        y = m.head(h)
        outs.append(y)
    return torch.stack(outs, 1)


def gated(m: Any, x: Tensor) -> Tensor:
    """The state is masked after the cell, so that the operator of ONNX does not fit."""
    h, outs = zeros(x), []
    for t in range(x.shape[1]):
        keep = torch.sigmoid(x[:, t, :1])
        h = keep * m.gru(x[:, t], h) + (1 - keep) * h
        outs.append(h)
    return torch.stack(outs, 1)


def differences(m: Any, x: Tensor) -> Tensor:
    """Each step looks at the input of the step before."""
    h, before, outs = zeros(x), x.new_zeros(x.shape[0], 5), []
    for t in range(x.shape[1]):
        h = m.gru(x[:, t] - before, h)
        before = x[:, t]
        outs.append(h)
    return torch.stack(outs, 1)


def cell_state_out(m: Any, x: Tensor) -> Tensor:
    """The cell state of each step is an output, which the operator of ONNX does not return."""
    state, outs = (zeros(x), zeros(x)), []
    for t in range(x.shape[1]):
        state = m.lstm(x[:, t], state)
        outs.append(state[1])
    return torch.stack(outs, 1)


def backward(m: Any, x: Tensor) -> Tensor:
    h, outs = zeros(x), []
    for t in reversed(range(x.shape[1])):
        h = m.gru(x[:, t], h)
        outs.insert(0, h)
    return torch.stack(outs, 1)


def both_ways(m: Any, x: Tensor) -> Tensor:
    h, behind = zeros(x), []
    for t in range(x.shape[1] - 1, -1, -1):
        h = m.gru(x[:, t], h)
        behind.append(h)
    return torch.cat([gru_range(m, x), torch.stack(behind[::-1], 1)], -1)


def own_choice(m: Any, x: Tensor) -> Tensor:
    """Each step reads what the step before chose, and the first a column of the input."""
    h, outs, chosen = zeros(x), [], x[:, 0, 0]
    for _ in range(x.shape[1]):
        h = m.second(chosen.unsqueeze(1).expand(-1, 6), h)
        outs.append(h)
        chosen = h.argmax(1).to(x.dtype)
    return torch.stack(outs, 1)


def attending(m: Any, x: Tensor) -> Tensor:
    """Each step attends to the whole sequence."""
    memory = nn.functional.pad(x, (0, 1))
    h, outs = zeros(x), []
    for t in range(x.shape[1]):
        weights = torch.softmax((memory @ h.unsqueeze(-1)).squeeze(-1), dim=-1)
        context = (weights.unsqueeze(-1) * memory).sum(1)
        h = m.second(context + nn.functional.pad(x[:, t], (1, 0)), h)
        outs.append(m.head(h))
    return torch.stack(outs, 1)


def computed_state(m: Any, x: Tensor) -> Tensor:
    h, outs = torch.tanh(nn.functional.pad(x[:, 0], (0, 1))), []
    for t in range(x.shape[1]):
        h = m.gru(x[:, t], h)
        outs.append(h)
    return torch.stack(outs, 1)


STREAMING: dict[str, Step] = {
    f.__name__: f
    for f in (
        gru_range, lstm_without_state, rnn_time_first, split_and_cat, written_in_place, two_cells,
        stacked_by_step, stacked_by_layer, two_loops, last_only, learned_state, feedback, gated,
        differences, cell_state_out,
    )
}  # fmt: skip
WHOLE: dict[str, Step] = {f.__name__: f for f in (
    backward, both_ways, own_choice, attending, computed_state
)}  # fmt: skip


@recurrent_cell
class NormLSTMCell(nn.Module):
    """An LSTM cell with layer normalization.

    Source: J. Ba et al., Layer Normalization, 2016.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.input = nn.Linear(inputs, 4 * hidden, bias=False)
        self.hidden = nn.Linear(hidden, 4 * hidden)
        self.norms = nn.ModuleList([nn.LayerNorm(4 * hidden), nn.LayerNorm(4 * hidden)])
        self.norm = nn.LayerNorm(hidden)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Any]:
        h, c = state
        gates = self.norms[0](self.input(x)) + self.norms[1](self.hidden(h))
        i, f, o, g = gates.chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(self.norm(c))
        return h, (h, c)


@recurrent_cell
class SRUCell(nn.Module):
    """A simple recurrent unit.

    Source: T. Lei et al., Simple Recurrent Units for Highly Parallelizable Recurrence, 2018.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.w = nn.Linear(inputs, 3 * hidden)
        self.v = nn.Parameter(torch.linspace(-1, 1, 2 * hidden).view(2, hidden))
        self.skip = nn.Linear(inputs, hidden, bias=False)

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        u, f, r = self.w(x).chunk(3, -1)
        f = torch.sigmoid(f + self.v[0] * c)
        r = torch.sigmoid(r + self.v[1] * c)
        c = f * c + (1 - f) * u
        return r * c + (1 - r) * self.skip(x), c


@recurrent_cell
class MinimalGRUCell(nn.Module):
    """A minimal gated unit.

    Source: G. Zhou et al., Minimal Gated Unit for Recurrent Neural Networks, 2016.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.gate = nn.Linear(inputs + hidden, hidden)
        self.value = nn.Linear(inputs + hidden, hidden)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        if h is None:
            h = x.new_zeros(x.shape[0], self.gate.out_features)
        f = torch.sigmoid(self.gate(torch.cat([x, h], 1)))
        return (1 - f) * h + f * torch.tanh(self.value(torch.cat([x, f * h], 1)))


@recurrent_cell
class IndRNNCell(nn.Module):
    """An independently recurrent cell.

    Source: S. Li et al., Independently Recurrent Neural Network, 2018.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.w = nn.Linear(inputs, hidden)
        self.u = nn.Parameter(torch.linspace(-0.9, 0.9, hidden))

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        return torch.relu(self.w(x) + self.u * h)


class CustomRNN(nn.Module):
    """A loop over a custom cell in a layer of its own, and a linear layer."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.layer = nn.ModuleDict({"cell": kind(5, 6)})
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        cell = self.layer["cell"]
        h: Any = torch.zeros(x.shape[0], 6)
        if isinstance(cell, NormLSTMCell):
            h = (h, h)
        if isinstance(cell, MinimalGRUCell):
            h = None
        outs = []
        for t in range(x.shape[1]):
            result = cell(x[:, t], h)
            y, h = result if isinstance(result, tuple) else (result, result)
            outs.append(y)
        return self.head(torch.stack(outs, dim=1))


CELLS = {c.__name__: c for c in (NormLSTMCell, SRUCell, MinimalGRUCell, IndRNNCell)}


class GivenState(nn.Module):
    """Cells that start from arguments, whose next values are returned beside the output."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([nn.GRUCell(5, 6), nn.GRUCell(6, 6)])
        self.lstm = nn.LSTMCell(6, 4)

    def forward(
        self, x: Tensor, hidden: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        hs, outs = list(hidden), []
        for t in range(x.shape[1]):
            value = x[:, t]
            for i, cell in enumerate(self.cells):
                hs[i] = value = cell(value, hs[i])
            state = self.lstm(value, state)
            outs.append(state[0])
        return torch.stack(outs, 1), torch.stack(hs), state


class Mixed(nn.Module):
    """An nn.GRU, a convolution that looks back, and a loop over a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 6, batch_first=True)
        self.conv = nn.Conv1d(6, 6, 3)
        self.cell = nn.LSTMCell(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x)
        y = self.conv(nn.functional.pad(y.transpose(1, 2), (2, 0))).transpose(1, 2)
        state, outs = None, []
        for t in range(y.shape[1]):
            state = self.cell(y[:, t], state)
            outs.append(state[0])
        return torch.stack(outs, 1)


class Conditioned(nn.Module):
    """A decoder that starts from a vector, which is no state."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Linear(4, 6)
        self.cell = nn.GRUCell(5 + 4, 6)

    def forward(self, x: Tensor, speaker: Tensor) -> Tensor:
        h, outs = torch.zeros(x.shape[0], 6), []
        for t in range(x.shape[1]):
            h = self.cell(torch.cat([x[:, t], torch.tanh(speaker)], 1), h)
            outs.append(h + self.start(speaker))
        return torch.stack(outs, 1)
