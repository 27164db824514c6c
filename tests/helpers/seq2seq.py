"""Small encoder-decoder models in PyTorch, and plain searches over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

START, END = 1, 2


class Encoder(nn.Module):
    """``x [B, S] of token ids -> memory [B, S, H], h [1, B, H]``."""

    def __init__(self, words: int = 20, units: int = 16, bidirectional: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 8)
        self.rnn = nn.GRU(8, units, batch_first=True, bidirectional=bidirectional)
        width = units * (2 if bidirectional else 1)
        self.memory = nn.Linear(width, units)
        self.first = nn.Linear(width, units)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        sequence, last = self.rnn(self.embedding(x))
        joined = torch.cat(tuple(last), dim=1)
        return {"memory": self.memory(sequence), "h": torch.tanh(self.first(joined))[None]}


class BahdanauDecoder(nn.Module):
    """Additive attention over the memory, then one step of a GRU (Bahdanau et al., 2015)."""

    def __init__(self, tokens: int = 12, units: int = 16, column: bool = False) -> None:
        super().__init__()
        self.column = column
        self.embedding = nn.Embedding(tokens, 8)
        self.query, self.key = nn.Linear(units, units, bias=False), nn.Linear(units, units)
        self.energy = nn.Linear(units, 1, bias=False)
        self.rnn = nn.GRU(8 + units, units, batch_first=True)
        self.head = nn.Linear(2 * units, tokens)

    def forward(self, token: Tensor, memory: Tensor, h: Tensor) -> dict[str, Tensor]:
        energy = self.energy(torch.tanh(self.query(h[-1])[:, None] + self.key(memory)))
        weights = torch.softmax(energy, dim=1)  # [B, S, 1]
        context = (weights * memory).sum(dim=1, keepdim=True)
        embedded = self.embedding(token)
        embedded = embedded if self.column else embedded[:, None]
        output, h = self.rnn(torch.cat([embedded, context], dim=2), h)
        logits = self.head(torch.cat([output, context], dim=2))
        logits = logits if self.column else logits[:, 0]
        return {"h": h, "logits": logits, "weights": weights[:, :, 0]}


def dot_attention(query: Tensor, memory: Tensor) -> Tensor:
    """Return the mean ``[B, H]`` of memory ``[B, S, H]``, weighted by its likeness to the query."""
    weights = torch.softmax(torch.bmm(memory, query[:, :, None]), dim=1)
    return (weights * memory).sum(dim=1)


class LstmDecoder(nn.Module):
    """Two LSTM layers whose state is a nested tuple; dot-product attention; a tuple as result."""

    def __init__(self, tokens: int = 12, units: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, units)
        self.rnn = nn.LSTM(units, units, num_layers=2)
        self.head = nn.Linear(2 * units, tokens)

    def forward(
        self, token: Tensor, memory: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        output, state = self.rnn(self.embedding(token)[None], state)
        query = output[0]
        context = dot_attention(query, memory)
        return self.head(torch.cat([query, context], dim=1)), state


class LstmEncoder(nn.Module):
    """``x [B, S, F] -> memory [B, S, H], (h, c) [2, B, H] each``."""

    def __init__(self, features: int = 5, units: int = 16) -> None:
        super().__init__()
        self.rnn = nn.LSTM(features, units, num_layers=2, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        memory, state = self.rnn(x)
        return memory, state


def seeded(build: Callable[..., nn.Module], seed: int, gain: float = 1.0, **options: Any) -> Any:
    """Make a module of random weights, larger by ``gain`` so that its choices are clear."""
    torch.manual_seed(seed)
    module = build(**options).eval()
    with torch.no_grad():
        for value in module.parameters():
            value.mul_(gain)
        if isinstance(getattr(module, "head", None), nn.Linear):
            module.head.bias[END] += gain  # so that sequences end
    return module


@torch.no_grad()
def plain_greedy(encoder: nn.Module, decoder: nn.Module, x: Tensor, steps: int) -> list[list[int]]:
    """Decode each row by itself with `BahdanauDecoder`."""
    found = []
    for row in x:
        encoded, tokens, last = encoder(row[None]), [], START
        h = encoded["h"]
        while len(tokens) < steps:
            result = decoder(torch.tensor([last]), encoded["memory"], h)
            last, h = int(result["logits"].argmax()), result["h"]
            if last == END:
                break
            tokens.append(last)
        found.append(tokens)
    return found


@torch.no_grad()
def plain_beam(
    encoder: nn.Module, decoder: nn.Module, x: Tensor, width: int, steps: int, penalty: float
) -> list[list[tuple[list[int], float]]]:
    """Decode each row and each hypothesis by itself, as the text books write it."""
    found = []
    for row in x:
        encoded = encoder(row[None])
        live: list[tuple[list[int], float, Tensor]] = [([], 0.0, encoded["h"])]
        ended: list[tuple[list[int], float]] = []
        for _ in range(steps):
            candidates = []
            for tokens, total, h in live:
                last = torch.tensor([tokens[-1] if tokens else START])
                result = decoder(last, encoded["memory"], h)
                for token, value in enumerate(torch.log_softmax(result["logits"][0].double(), 0)):
                    candidates.append(([*tokens, token], total + float(value), result["h"]))
            candidates.sort(key=lambda item: -item[1])
            ended += [
                (tokens[:-1], total / len(tokens) ** penalty)
                for tokens, total, _ in candidates[:width]
                if tokens[-1] == END
            ]
            live = [item for item in candidates if item[0][-1] != END][:width]
            if len(ended) >= width:
                live = []
                break
        ended += [(tokens, total / len(tokens) ** penalty) for tokens, total, _ in live]
        found.append(sorted(ended, key=lambda item: -item[1])[:width])
    return found
