"""A small encoder-decoder pair in numpy, behind the session protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec, TensorSpec
from edgernn.metadata import Metadata
from edgernn.pairs import Pair, PairLink, Side
from edgernn.sessions import Array, Arrays

UNITS = 3
LINK = PairLink("", "token", "logits", {"h": "first"}, {"memory": "memory"}, start=0, end=1)
ENCODER = Contract((), StreamSpec(False, {"x": Axes(0, 1)},
                                  {"memory": Axes(0, 1), "first": Axes(1, None)}))  # fmt: skip
DECODER = Contract(
    (StateSpec("h", "h.next", 1),),
    StreamSpec(True, {"token": Axes(0, None), "memory": Axes(0, None)}, {"logits": Axes(0, None)}),
)
FIRST = TensorSpec("first", "float32", (1, "batch", UNITS))
MEMORY = TensorSpec("memory", "float32", ("batch", "source", UNITS))


class Encoder:
    """``x [B, S, U] -> memory = x, first = its mean [1, B, U]``."""

    target = "toy"
    metadata = Metadata(ENCODER)
    inputs = (TensorSpec("x", "float32", ("batch", "time", UNITS)),)
    outputs = (MEMORY, FIRST)
    states: tuple[TensorSpec, ...] = ()

    def run(self, inputs: Mapping[str, Array]) -> Arrays:
        x = inputs["x"]
        return {"memory": x, "first": x.mean(axis=1)[None].astype(np.float32)}

    def stream(self, batch: int = 1) -> Any:
        raise AssertionError("a pair runs its encoder on whole sequences")

    def close(self) -> None:
        pass


class Decoder:
    """A plain recurrent cell whose next state depends on the token and the mean of the memory."""

    target = "toy"
    metadata = Metadata(DECODER)
    inputs = (TensorSpec("token", "int64", ("batch",)), MEMORY)

    def __init__(self, seed: int, tokens: int, scale: float) -> None:
        rng = np.random.default_rng(seed)
        self.tokens = tokens
        self.table = rng.standard_normal((tokens, UNITS)) * scale
        self.mix = rng.standard_normal((UNITS, UNITS)) * scale
        self.head = rng.standard_normal((UNITS, tokens)) * scale
        self.outputs = (TensorSpec("logits", "float32", ("batch", tokens)),)
        self.states = (TensorSpec("h", "float32", (1, "batch", UNITS)),)
        self.batches: list[int] = []

    def cell(self, token: Array, memory: Array, h: Array) -> tuple[Array, Array]:
        h = np.tanh(h @ self.mix + self.table[token] + memory.mean(axis=1))
        return h @ self.head, h

    def run(self, inputs: Mapping[str, Array]) -> Arrays:
        raise AssertionError("a pair runs its decoder step by step")

    def stream(self, batch: int = 1) -> Stream:
        self.batches.append(batch)
        return Stream(self, batch)

    def close(self) -> None:
        pass


class Stream:
    def __init__(self, owner: Decoder, batch: int) -> None:
        self._owner, self._batch = owner, batch
        self.reset()

    def step(self, x: Any) -> Arrays:
        assert x["token"].shape == (self._batch,)
        assert x["token"].dtype == np.int64
        logits, self._h[0] = self._owner.cell(x["token"], x["memory"], self._h[0])
        return {"logits": logits}

    def reset(self) -> None:
        self._h = np.zeros((1, self._batch, UNITS))

    @property
    def state(self) -> Arrays:
        return {"h": self._h.copy()}

    @state.setter
    def state(self, value: Mapping[str, Array]) -> None:
        assert value["h"].shape == self._h.shape
        self._h = value["h"].astype(np.float64)


def toy_pair(
    seed: int = 0, tokens: int = 4, scale: float = 1.5, link: PairLink = LINK
) -> tuple[Pair, Decoder]:
    """Return a pair of random weights, and its decoder."""
    decoder = Decoder(seed, tokens, scale)
    described = Side("decoder", decoder.inputs, decoder.outputs, decoder.states, DECODER)
    link.check(Side("encoder", Encoder.inputs, Encoder.outputs, (), ENCODER), described)
    return Pair(link, Encoder(), described, lambda sizes: decoder), decoder
