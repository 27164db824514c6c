"""Choose the tokens of an encoder-decoder pair: greedy and beam search, on any target.

Example:
    >>> from edgernn.decoding import beam
    >>> pair = edgernn.open_pair("encoder.onnx", "decoder.onnx", target="native")
    >>> beam(pair, {"x": sentence}, width=4, max_steps=50)[0][0].tokens
    (17, 4, 211)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgernn.errors import UsageError
from edgernn.pairs import PairLink
from edgernn.sessions import Array


@dataclass(frozen=True)
class Hypothesis:
    """One sequence that was found.

    Attributes:
        tokens: Without the first and the last one that mark start and end.
        log_probability: Sum over all tokens, the end among them.
        score: What hypotheses are ranked by: the logarithm over ``count ** length_penalty``, where
            ``count`` is the number of tokens, the end among them.
        ended: False if it was cut off after the most steps.
    """

    tokens: tuple[int, ...]
    log_probability: float
    score: float
    ended: bool


class Decodes(Protocol):
    """A live batch of sequences, as `edgernn.pairs.Decoding` is one."""

    rows: int

    def step(self, tokens: Array) -> Array:
        """Advance by one token of each row; return log-probabilities ``[rows, tokens]``."""
        ...

    def reorder(self, rows: Array) -> None:
        """Let row ``i`` go on from the state of row ``rows[i]``."""
        ...


class Opens(Protocol):
    """What makes one, as `edgernn.pairs.Pair` does."""

    link: PairLink

    def decode(self, inputs: Mapping[str, Array], copies: int = 1) -> Decodes:
        """Run the encoder; ``copies`` rows follow each other for each row of the inputs."""
        ...


def greedy(
    pair: Opens,
    inputs: Mapping[str, Array],
    *,
    max_steps: int,
    start: int | None = None,
    end: int | None = None,
) -> list[Hypothesis]:
    """Take the likeliest token at each step.

    Args:
        pair: See `edgernn.open_pair`.
        inputs: Of the encoder, any number of rows.
        max_steps: Most tokens of a sequence, the end among them.
        start: Token to begin with; None for the one in the file.
        end: Token that ends a sequence; None for the one in the file, if it names one.

    Returns:
        One for each row.

    Raises:
        UsageError: There is no token to begin with, or ``max_steps`` is below 1.
        InputError: The inputs do not fit.

    Example:
        >>> greedy(pair, {"x": sentence}, max_steps=50)[0].tokens
        (17, 4, 211)
    """
    start, end = _tokens(pair.link, start, end)
    _require_positive("max_steps", max_steps)
    live = pair.decode(inputs)
    rows = np.arange(live.rows)
    last = np.full(live.rows, start)
    found: list[list[int]] = [[] for _ in rows]
    total, ended = np.zeros(live.rows), np.zeros(live.rows, bool)
    for _ in range(max_steps):
        step = live.step(last)
        last = step.argmax(axis=1)
        total += np.where(ended, 0.0, step[rows, last])
        for row in rows[~ended]:
            if last[row] == end:
                ended[row] = True
            else:
                found[row].append(int(last[row]))
        if ended.all():
            break
    return [
        Hypothesis(tuple(tokens), float(sum_), float(sum_), bool(done))
        for tokens, sum_, done in zip(found, total, ended, strict=True)
    ]


def beam(
    pair: Opens,
    inputs: Mapping[str, Array],
    *,
    width: int,
    max_steps: int,
    length_penalty: float = 0.0,
    start: int | None = None,
    end: int | None = None,
) -> list[list[Hypothesis]]:
    """Keep the ``width`` likeliest sequences at each step.

    A row is done when ``width`` of its sequences have ended, each among the ``width`` likeliest of
    its step. With a width of 1 that is `greedy`.

    Args:
        pair: See `edgernn.open_pair`.
        inputs: Of the encoder, any number of rows; the decoder runs ``width`` times as many.
        width: Sequences kept for each row.
        max_steps: Most tokens of a sequence, the end among them.
        length_penalty: Exponent of the length in `Hypothesis.score`: 0 ranks by probability, which
            favours short sequences; 1 by the mean of each token's logarithm.
        start: See `greedy`.
        end: See `greedy`.

    Returns:
        For each row up to ``width`` sequences, the best first.

    Raises:
        UsageError, InputError: As `greedy`; or ``width`` is below 1.
    """
    start, end = _tokens(pair.link, start, end)
    _require_positive("max_steps", max_steps)
    _require_positive("width", width)
    live = pair.decode(inputs, width)
    beams = [_Beam(width, start, end, length_penalty) for _ in range(live.rows // width)]
    for _ in range(max_steps):
        step = live.step(np.concatenate([beam.last for beam in beams]))
        parents = [
            beam.advance(step[row * width : (row + 1) * width]) + row * width
            for row, beam in enumerate(beams)
        ]
        if all(beam.done for beam in beams):
            break
        live.reorder(np.concatenate(parents))
    return [beam.best() for beam in beams]


class _Beam:
    """The sequences of one row of the inputs."""

    def __init__(self, width: int, start: int, end: int | None, penalty: float) -> None:
        self._width, self._end, self._penalty = width, end, penalty
        self._tokens: list[tuple[int, ...]] = [()] * width
        self._total = np.full(width, -np.inf)
        self._total[0] = 0.0  # all begin alike: only one of them counts
        self._ended: list[Hypothesis] = []
        self.last = np.full(width, start)

    @property
    def done(self) -> bool:
        return len(self._ended) >= self._width or not np.isfinite(self._total).any()

    def advance(self, step: Array) -> Array:
        """Take the log-probabilities ``[width, tokens]``; return which sequence each goes on."""
        parents = np.zeros(self._width, np.int64)
        if self.done:
            return parents
        values = (self._total[:, None] + step).ravel()
        tokens: list[tuple[int, ...]] = [()] * self._width
        total = np.full(self._width, -np.inf)
        kept = 0
        for rank, index in enumerate(_largest(values, 2 * self._width)):  # half may be ends
            parent, token = divmod(int(index), step.shape[1])
            if token == self._end:
                if rank < self._width:
                    self._ended.append(self._hypothesis(parent, float(values[index]), True))
            elif kept < self._width:
                parents[kept], self.last[kept] = parent, token
                tokens[kept] = (*self._tokens[parent], token)
                total[kept] = values[index]
                kept += 1
        self._tokens, self._total = tokens, total
        return parents

    def best(self) -> list[Hypothesis]:
        found = list(self._ended)
        if not self.done:
            found += [
                self._hypothesis(index, float(total), False)
                for index, total in enumerate(self._total)
                if np.isfinite(total)
            ]
        return sorted(found, key=lambda item: -item.score)[: self._width]

    def _hypothesis(self, parent: int, total: float, ended: bool) -> Hypothesis:
        tokens = self._tokens[parent]
        count = len(tokens) + ended
        return Hypothesis(tokens, total, total / count**self._penalty, ended)


def _largest(values: Array, count: int) -> Array:
    """Return the places of the largest finite values in order, the first of equal ones first."""
    places = np.flatnonzero(np.isfinite(values))
    if len(places) > count:
        least = np.partition(values[places], -count)[-count]
        places = places[values[places] >= least]
    order: Array = places[np.argsort(-values[places], kind="stable")][:count]
    return order


def _tokens(link: PairLink, start: int | None, end: int | None) -> tuple[int, int | None]:
    start = link.start if start is None else start
    if start is None:
        raise UsageError(
            "the decoder's file names no token to begin with; give start, or export with start=…"
        )
    return start, link.end if end is None else end


def _require_positive(name: str, value: int) -> None:
    if value < 1:
        raise UsageError(f"{name} must be at least 1, got {value}")


def as_symbols(rows: Sequence[Sequence[int]]) -> Array:
    """Put sequences of tokens into one array ``[rows, longest]``, filled up with -1."""
    longest = max([1, *map(len, rows)])
    symbols = np.full((len(rows), longest), -1, np.int64)
    for row, tokens in zip(symbols, rows, strict=True):
        row[: len(tokens)] = tokens
    return symbols
