"""Pairs that cannot be exported: every refusal names the argument and the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.seq2seq import START, BahdanauDecoder, Encoder, seeded
from torch import Tensor

import edgernn
from edgernn.contract import Axes
from edgernn.errors import AccuracyGateError, ContractError, InputError, ModelError, UsageError
from edgernn_exporters.pytorch.decoder import read_step

UNITS = 16
WORDS = (torch.arange(7).remainder(5)[None],)
STEP = (torch.tensor([START]), torch.zeros(1, 7, UNITS), torch.zeros(1, 1, UNITS))
OUTPUTS = {"memory": Axes(0, 1), "h": Axes(1, None)}


@pytest.mark.parametrize(
    ("args", "links", "expected"),
    [
        (STEP, {"h": "last"}, "links names 'h': 'last'"),
        (STEP, {"k": "h"}, "links names 'k': 'h'"),
        ((torch.tensor([1.0]), *STEP[1:]), {}, "one token of each row"),
        ((torch.ones(1, 2, dtype=torch.int64), *STEP[1:]), {}, "one token of each row"),
        (STEP[:2], {}, "fails on arguments of the shapes"),
        ((*STEP[:2], torch.zeros(1, 1, 5)), {}, "fails on arguments of the shapes"),
    ],
)
def test_arguments_and_links_that_do_not_fit_are_refused(
    args: tuple[Tensor, ...], links: dict[str, str], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        read_step(seeded(BahdanauDecoder, 0), args, OUTPUTS, links)


class Other(BahdanauDecoder):
    """Returns what a decoder should not."""

    kind = ""

    def forward(self, token: Tensor, memory: Tensor, h: Tensor) -> Any:
        found = super().forward(token, memory, h)
        return {
            "no logits": {"h": found["h"], "weights": found["weights"][:, None, None]},
            "swapped": (found["logits"], found["h"], found["weights"]),
            "too many": (found["logits"], found["h"], found["h"], found["h"]),
            "nothing": None,
        }[self.kind]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("no logits", r"logits are \[batch, tokens\]"),
        ("swapped", "the next value of 'memory' would have the shape"),
        ("too many", "returns 3 tensors after the logits, but takes only"),
        ("nothing", "without a tensor"),
    ],
)
def test_decoders_that_return_something_else_are_refused(kind: str, expected: str) -> None:
    decoder = seeded(Other, 1)
    decoder.kind = kind
    with pytest.raises(ModelError, match=expected):
        read_step(decoder, STEP, OUTPUTS, {})


def test_what_is_not_returned_is_memory_and_must_come_from_the_encoder() -> None:
    class Renamed(BahdanauDecoder):
        def forward(self, token: Tensor, memory: Tensor, h: Tensor) -> Any:
            found = super().forward(token, memory, h)
            return {"logits": found["logits"], "state": found["h"]}

    step = read_step(seeded(Renamed, 1), STEP, OUTPUTS, {})
    assert (step.states, step.memory, step.outputs) == ((), ("memory", "h"), ("logits", "state"))
    with pytest.raises(InputError, match=r"argument 'h' of Renamed is neither .* links={'h': …}"):
        read_step(seeded(Renamed, 1), STEP, {"memory": Axes(0, 1)}, {})


def test_tokens_and_paths_that_cannot_be_are_refused_at_once(tmp_path: Path) -> None:
    both = seeded(Encoder, 0), seeded(BahdanauDecoder, 1)
    path = tmp_path / "a.onnx"
    with pytest.raises(UsageError, match="give two paths"):
        edgernn.export_pair(*both, WORDS, STEP, path, path)
    with pytest.raises(UsageError, match="start is -1"):
        edgernn.export_pair(*both, WORDS, STEP, path, tmp_path / "b.onnx", start=-1)
    assert list(tmp_path.iterdir()) == []


def test_tokens_that_the_logits_do_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="end is token 12, but 'logits' are of 12 tokens"):
        edgernn.export_pair(seeded(Encoder, 0), seeded(BahdanauDecoder, 1), WORDS, STEP,
                            tmp_path / "a.onnx", tmp_path / "b.onnx", start=11, end=12,
                            gate=False)  # fmt: skip
    assert list(tmp_path.iterdir()) == []


class Hidden(BahdanauDecoder):
    """Keeps something of the sequence outside of the states."""

    def forward(self, token: Tensor, memory: Tensor, h: Tensor) -> dict[str, Tensor]:
        found = super().forward(token, memory, h)
        self.seen = getattr(self, "seen", 0) + 1
        found["logits"] = found["logits"] * (1 + self.seen % 7)
        return found


@pytest.mark.slow
def test_the_gate_refuses_what_is_not_the_same_function(tmp_path: Path) -> None:
    with pytest.raises(AccuracyGateError, match="output 'logits' is off by"):
        edgernn.export_pair(seeded(Encoder, 0), seeded(Hidden, 1), WORDS, STEP,
                            tmp_path / "a.onnx", tmp_path / "b.onnx")  # fmt: skip
    assert list(tmp_path.iterdir()) == []
