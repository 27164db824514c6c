"""An encoder and a decoder from PyTorch, as two files that work together on every target."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.cli import runner
from helpers.seq2seq import (
    END,
    START,
    BahdanauDecoder,
    Encoder,
    LstmDecoder,
    LstmEncoder,
    dot_attention,
    plain_beam,
    plain_greedy,
    seeded,
)
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import edgernn
from edgernn.contract import Axes
from edgernn.decoding import beam, greedy
from edgernn.errors import (
    ContractError,
)
from edgernn.npz import write_npz
from edgernn.pairs import PairLink
from edgernn_exporters.inspection import inspect
from edgernn_exporters.onnx_files import read_model, save_model

UNITS = 16
WORDS = (torch.arange(7).remainder(5)[None],)
STEP = (torch.tensor([START]), torch.zeros(1, 7, UNITS), torch.zeros(1, 1, UNITS))
TARGETS = ("cpu", "native")


def write_bahdanau(folder: Path, seed: int = 0, **options: Any) -> tuple[nn.Module, nn.Module]:
    """Write ``encoder.onnx`` and ``decoder.onnx``, and return the modules."""
    encoder, decoder = seeded(Encoder, seed, 1.5), seeded(BahdanauDecoder, seed + 1, 1.5)
    edgernn.export_pair(
        encoder, decoder, WORDS, STEP, folder / "encoder.onnx", folder / "decoder.onnx",
        start=START, end=END, **options,
    )  # fmt: skip
    return encoder, decoder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pair")


@pytest.fixture(scope="module")
def modules(folder: Path) -> tuple[nn.Module, nn.Module]:
    return write_bahdanau(folder)


def opened(folder: Path, target: str = "cpu") -> Any:
    return edgernn.open_pair(folder / "encoder.onnx", folder / "decoder.onnx", target)


def sentences(rows: int, length: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 20, (rows, length)))


@pytest.mark.usefixtures("modules")
def test_the_decoder_says_how_it_goes_with_its_encoder(folder: Path) -> None:
    first, second = inspect(folder / "encoder.onnx"), inspect(folder / "decoder.onnx")
    link = PairLink.from_json(second.metadata.pair, "decoder.onnx")
    assert link == PairLink(
        first.sha256, "token", "logits", {"h": "h"}, {"memory": "memory"}, START, END
    )
    assert [str(spec) for spec in second.inputs] == [
        "token int64 [batch]", f"memory float32 [batch, source, {UNITS}]"
    ]  # fmt: skip
    assert [str(spec) for spec in second.states] == [f"h float32 [1, batch, {UNITS}]"]
    assert [str(spec) for spec in second.outputs] == [
        "logits float32 [batch, 12]", "weights float32 [batch, source]"
    ]  # fmt: skip
    contract = second.metadata.contract
    assert contract is not None
    assert contract.stream.causal
    assert contract.stream.inputs == {"token": Axes(0, None), "memory": Axes(0, None)}
    assert second.operators["GRU"] == 1  # kept whole, so that it can be quantized
    gate = second.metadata.gate
    assert gate is not None
    assert gate["cases"] == 3 * 10 + 10
    assert gate["max_error"] <= gate["tolerance"]


@pytest.mark.usefixtures("modules")
def test_inspect_shows_the_link(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = runner(capsys)("inspect", folder / "decoder.onnx").out
    assert f"decoder of    sha256 {inspect(folder / 'encoder.onnx').sha256}\n" in shown
    assert "starts at the encoder's outputs: h = h\n" in shown
    assert "reads the encoder's outputs: memory = memory\n" in shown
    assert f"tokens go into token, and logits come out, start {START}, end {END}\n" in shown


@pytest.mark.parametrize("target", TARGETS)
def test_greedy_is_that_of_plain_pytorch(
    folder: Path, modules: tuple[nn.Module, nn.Module], target: str
) -> None:
    pair = opened(folder, target)
    for length in (1, 9):
        x = sentences(6, length)
        found = greedy(pair, {"x": x.numpy()}, max_steps=20)
        want = plain_greedy(*modules, x, 20)
        assert [list(item.tokens) for item in found] == want
        assert [item.ended for item in found] == [len(tokens) < 20 for tokens in want]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("width", "penalty"), [(1, 0.0), (3, 0.0), (4, 1.0)])
def test_a_beam_is_that_of_plain_pytorch(
    folder: Path, modules: tuple[nn.Module, nn.Module], target: str, width: int, penalty: float
) -> None:
    x = sentences(4, 9, seed=1)
    found = beam(opened(folder, target), {"x": x.numpy()}, width=width, max_steps=15,
                 length_penalty=penalty)  # fmt: skip
    want = plain_beam(*modules, x, width, 15, penalty)
    for row, expected in zip(found, want, strict=True):
        assert [list(item.tokens) for item in row] == [tokens for tokens, _ in expected]
        scores = [score for _, score in expected]
        np.testing.assert_allclose([item.score for item in row], scores, rtol=1e-4)


@pytest.mark.usefixtures("modules")
def test_a_wider_beam_finds_no_less_likely_sentences_here(folder: Path) -> None:
    pair, x = opened(folder), {"x": sentences(20, 8, seed=2).numpy()}
    single = greedy(pair, x, max_steps=15)
    for row, alone in zip(beam(pair, x, width=6, max_steps=15), single, strict=True):
        assert row[0].log_probability >= alone.log_probability - 1e-9


@pytest.mark.parametrize("precision", ["int8-dynamic", "fp16"])
def test_quantized_halves_are_accepted(
    folder: Path, modules: tuple[nn.Module, nn.Module], tmp_path: Path, precision: str
) -> None:
    small = []
    for name in ("encoder", "decoder"):
        small.append(tmp_path / f"{name}.{precision}.onnx")
        edgernn.quantize(folder / f"{name}.onnx", small[-1], precision=precision)
    assert inspect(small[1]).metadata.pair == inspect(folder / "decoder.onnx").metadata.pair
    x = sentences(5, 9)
    want = plain_greedy(*modules, x, 6)
    for first, second in ((small[0], folder / "decoder.onnx"), (folder / "encoder.onnx", small[1]),
                          small):  # fmt: skip
        pair = edgernn.open_pair(first, second)
        found = greedy(pair, {"x": x.numpy()}, max_steps=6)
        same = sum(list(item.tokens) == tokens for item, tokens in zip(found, want, strict=True))
        assert same >= 3  # of 5; a near tie may go the other way


def test_without_the_gate_both_files_are_unproven_and_go_with_no_other(
    folder: Path, modules: tuple[nn.Module, nn.Module], tmp_path: Path
) -> None:
    write_bahdanau(tmp_path, seed=5, gate=False)
    for name in ("encoder", "decoder"):
        assert inspect(tmp_path / f"{name}.onnx").metadata.unproven is not None
        assert inspect(folder / f"{name}.onnx").metadata.unproven is None
    opened(tmp_path)
    with pytest.raises(
        ContractError, match=r"was exported with the encoder of sha256 \w{12}…, but"
    ):
        edgernn.open_pair(tmp_path / "encoder.onnx", folder / "decoder.onnx")
    with pytest.raises(ContractError, match="names no encoder"):
        edgernn.open_pair(folder / "decoder.onnx", folder / "encoder.onnx")


@pytest.mark.slow
def test_lstm_states_in_tuples_and_other_names(tmp_path: Path) -> None:
    encoder, decoder = seeded(LstmEncoder, 0), seeded(LstmDecoder, 1, 2.0)
    state = (torch.zeros(2, 3, UNITS), torch.zeros(2, 3, UNITS))
    written = edgernn.export_pair(
        encoder, decoder, (torch.zeros(1, 7, 5),),
        (torch.tensor([1, 2, 3]), torch.zeros(3, 7, UNITS), state),
        tmp_path / "encoder.onnx", tmp_path / "decoder.onnx",
        output_names=("memory", "h", "c"), links={"state_0": "h", "state_1": "c"},
    )  # fmt: skip
    assert written.link.states == {"state_0": "h", "state_1": "c"}
    assert written.link.memory == {"memory": "memory"}
    assert written.gate is not None
    x = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        memory, state = encoder(x)
        logits, (h, _) = decoder(torch.tensor([4, 5, 6]), memory, state)
    for target in TARGETS:
        live = opened(tmp_path, target).decode({"x": x.numpy()})
        np.testing.assert_allclose(
            live.step(np.array([4, 5, 6])), torch.log_softmax(logits, 1).numpy(), atol=1e-5
        )
        live.reorder(np.array([2, 2, 0]))
        np.testing.assert_allclose(
            live._stream.state["state_0"], h.numpy()[:, [2, 2, 0]], atol=1e-5
        )


@pytest.mark.slow
def test_tokens_in_columns(tmp_path: Path) -> None:
    encoder, decoder = seeded(Encoder, 3, 1.5), seeded(BahdanauDecoder, 4, 1.5, column=True)
    flat = seeded(BahdanauDecoder, 4, 1.5)
    edgernn.export_pair(
        encoder, decoder, WORDS, (torch.ones(2, 1, dtype=torch.int64), torch.zeros(2, 7, UNITS),
        torch.zeros(1, 2, UNITS)), tmp_path / "encoder.onnx", tmp_path / "decoder.onnx",
        start=START, end=END,
    )  # fmt: skip
    found = inspect(tmp_path / "decoder.onnx")
    assert [str(spec) for spec in (found.inputs[0], found.outputs[0])] == [
        "token int64 [batch, 1]", "logits float32 [batch, 1, 12]"
    ]  # fmt: skip
    x = sentences(3, 5)
    want = plain_greedy(encoder, flat, x, 8)
    for target in TARGETS:
        found_tokens = greedy(opened(tmp_path, target), {"x": x.numpy()}, max_steps=8)
        assert [list(item.tokens) for item in found_tokens] == want


class InputFeeding(nn.Module):
    """A decoder with a state of its own: the last context, which starts at zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.cell = nn.GRUCell(8 + UNITS, UNITS)
        self.head = nn.Linear(2 * UNITS, 12)

    def forward(
        self, token: Tensor, context: Tensor, h: Tensor, memory: Tensor
    ) -> dict[str, Tensor]:
        h = self.cell(torch.cat([self.embedding(token), context], dim=1), h)
        context = dot_attention(h, memory)
        return {"logits": self.head(torch.cat([h, context], dim=1)), "h": h, "context": context}


class FlatEncoder(Encoder):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = super().forward(x)
        return {"memory": found["memory"], "h": found["h"][0]}


@pytest.mark.slow
def test_a_cell_and_a_state_that_starts_at_zeros(tmp_path: Path) -> None:
    encoder, decoder = seeded(FlatEncoder, 0), seeded(InputFeeding, 1)
    written = edgernn.export_pair(
        encoder, decoder, WORDS,
        (torch.tensor([1]), torch.zeros(1, UNITS), torch.zeros(1, UNITS),
         torch.zeros(1, 7, UNITS)), tmp_path / "encoder.onnx", tmp_path / "decoder.onnx",
        start=START,
    )  # fmt: skip
    assert written.link.states == {"h": "h"}
    contract = written.decoder.metadata.contract
    assert contract is not None
    assert {(state.input, state.batch_axis) for state in contract.states} == {
        ("context", 0), ("h", 0)
    }  # fmt: skip
    x = sentences(3, 5)
    a, b = (greedy(opened(tmp_path, target), {"x": x.numpy()}, max_steps=8) for target in TARGETS)
    assert [item.tokens for item in a] == [item.tokens for item in b]


class Packed(Encoder):
    """Packs by a mask, takes the logarithm of a rate, and calls its words tokens."""

    def forward(self, tokens: Tensor, mask: Tensor, rate: Tensor) -> dict[str, Tensor]:
        lengths = mask.sum(1)
        packed = pack_padded_sequence(
            self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False
        )
        memory, last = self.rnn(packed)
        memory, _ = pad_packed_sequence(memory, batch_first=True)
        first = torch.tanh(self.first(last[0]) + torch.log(rate))
        return {"memory": self.memory(memory), "h": first[None]}


@pytest.mark.slow
def test_an_encoder_with_inputs_that_must_be_drawn_as_its_own_gate_does(tmp_path: Path) -> None:
    encoder = seeded(Packed, 0, words=5, bidirectional=False)
    written = edgernn.export_pair(
        encoder, seeded(BahdanauDecoder, 1), WORDS, STEP,
        tmp_path / "encoder.onnx", tmp_path / "decoder.onnx",
        kwargs={"mask": torch.ones_like(WORDS[0]), "rate": torch.full((1, UNITS), 2.0)},
    )  # fmt: skip
    assert written.gate is not None
    assert written.gate.cases == 10


@pytest.mark.usefixtures("modules")
def test_a_decoder_whose_encoder_does_not_fit_any_more_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    model, metadata = read_model(folder / "decoder.onnx")
    assert metadata.pair is not None
    pair = {**metadata.pair, "states": {"h": "memory"}}
    save_model(model, replace(metadata, pair=pair), tmp_path / "decoder.onnx")
    with pytest.raises(ContractError, match="does not fit h"):
        edgernn.open_pair(folder / "encoder.onnx", tmp_path / "decoder.onnx")


def test_run_prints_the_tokens(
    folder: Path,
    modules: tuple[nn.Module, nn.Module],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli = runner(capsys)
    x = sentences(3, 6)
    write_npz(tmp_path / "x.npz", {"x": x.numpy()})
    arguments = ("run", folder / "decoder.onnx", "--encoder", folder / "encoder.onnx",
                 "--inputs", tmp_path / "x.npz", "--max-steps", "5")  # fmt: skip
    told = cli(*arguments)
    assert (told.code, told.err) == (0, "")
    lines = told.out.splitlines()
    for line, tokens in zip(lines, plain_greedy(*modules, x, 5), strict=True):
        assert line.startswith(f"{' '.join(map(str, tokens))} (log-probability -")
        assert line.endswith(", cut off after 5 tokens)") == (len(tokens) == 5)
    rows = json.loads(cli(*arguments, "--beam", "3", "--json").out)["rows"]
    want = plain_beam(*modules, x, 3, 5, 0.0)
    assert [[item["tokens"] for item in row] for row in rows] == [
        [tokens for tokens, _ in row] for row in want
    ]
    assert (
        cli("run", folder / "decoder.onnx", "--inputs", tmp_path / "x.npz", "--beam", "2").code == 2
    )
    assert cli(*arguments, "--stream").code == 2
