"""Ranges of a decoder, run on known tokens from what its encoder reads."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.seq2seq import END, START, BahdanauDecoder, Encoder, seeded
from torch import Tensor, nn

import edgernn
from edgernn.errors import ContractError, InputError, UsageError
from edgernn.npz import write_npz
from edgernn_exporters.calibration import calibrate, calibrate_file, read_sequences
from edgernn_exporters.inspection import inspect
from edgernn_runtimes import load

open_cpu = partial(load, target="cpu", threads=1)
UNITS, STEPS = 16, 40


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module, nn.Module]:
    folder = tmp_path_factory.mktemp("pair")
    encoder, decoder = seeded(Encoder, 3, 1.5), seeded(BahdanauDecoder, 4, 1.5)
    step = (torch.tensor([START]), torch.zeros(1, 7, UNITS), torch.zeros(1, 1, UNITS))
    edgernn.export_pair(
        encoder, decoder, (torch.arange(7).remainder(5)[None],), step,
        folder / "encoder.onnx", folder / "decoder.onnx", start=START, end=END,
    )  # fmt: skip
    return folder, encoder, decoder


def sentences(rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(rows)
    tokens = rng.integers(3, 12, (rows, STEPS))
    tokens[:, 0] = START
    return {"x": rng.integers(0, 20, (rows, 5 + rows)), "token": tokens}


def seen(encoder: nn.Module, decoder: nn.Module, given: dict[str, np.ndarray]) -> list[Tensor]:
    """Return what goes into the decoder's recurrent layer, in PyTorch."""
    found: list[Tensor] = []
    hook = decoder.rnn.register_forward_hook(lambda _, inputs, __: found.append(inputs[0]))
    with torch.no_grad():
        read = encoder(torch.from_numpy(given["x"]))
        h = read["h"]
        for tokens in torch.from_numpy(given["token"]).T:
            h = decoder(tokens, read["memory"], h)["h"]
    hook.remove()
    return found


def test_the_ranges_are_those_of_the_given_tokens_after_what_was_read(
    pair: tuple[Path, nn.Module, nn.Module],
) -> None:
    folder, *modules = pair
    data = [sentences(2), sentences(3)]
    ranges = calibrate(
        folder / "decoder.onnx", data, encoder=folder / "encoder.onnx", load=open_cpu
    )
    assert (ranges.sequences, ranges.steps) == (5, 5 * STEPS)
    (name,) = [layer for layer in ranges.layers if "rnn" in layer]
    rows = torch.cat([x.flatten(0, 1) for given in data for x in seen(*modules, given)])
    np.testing.assert_allclose(ranges.layers[name].low, rows.amin(0), atol=1e-5)
    np.testing.assert_allclose(ranges.layers[name].high, rows.amax(0), atol=1e-5)


def test_a_file_of_sentences_makes_an_integer_decoder(
    tmp_path: Path, pair: tuple[Path, nn.Module, nn.Module]
) -> None:
    folder = pair[0]
    write_npz(tmp_path / "data.npz", sentences(4))
    small = tmp_path / "decoder.int8.onnx"
    made = edgernn.quantize(
        folder / "decoder.onnx", small, precision="int8", calibration=tmp_path / "data.npz",
        encoder=folder / "encoder.onnx",
    )  # fmt: skip
    assert "rnn.l0" in made.layers
    given = sentences(4)
    logits = []
    for decoder in (folder / "decoder.onnx", small):
        live = edgernn.open_pair(folder / "encoder.onnx", decoder).decode({"x": given["x"]})
        logits.append(np.stack([live.step(tokens) for tokens in given["token"].T]))
    want, have = np.exp(logits[0]), np.exp(logits[1])
    assert 0 < np.abs(have - want).max() < 0.1


def test_what_is_missing_is_named(tmp_path: Path, pair: tuple[Path, nn.Module, nn.Module]) -> None:
    folder, encoder, _ = pair
    run = partial(calibrate, folder / "decoder.onnx", load=open_cpu)
    whole = sentences(2)
    with pytest.raises(UsageError, match=r"is the decoder of a pair, .* name that"):
        run([whole])
    beside = {"encoder": folder / "encoder.onnx"}
    with pytest.raises(InputError, match=r"sequence 0: .*'token', integers"):
        run([{"x": whole["x"]}], **beside)
    with pytest.raises(InputError, match="'token' has 3 rows, the encoder's inputs have 2"):
        run([{"x": whole["x"], "token": sentences(3)["token"]}], **beside)
    for wrong in (-1, 12):
        tokens = whole["token"].copy()
        tokens[1, 5:] = wrong
        with pytest.raises(InputError, match="the decoder knows 0 to 11; give sequences of diff"):
            run([{"x": whole["x"], "token": tokens}], **beside)
    other = tmp_path / "other.onnx"
    edgernn.export(encoder, (torch.arange(6).remainder(5)[None],), other)
    with pytest.raises(ContractError, match="was exported with the encoder of"):
        run([whole], encoder=other)
    with pytest.raises(ContractError, match="no decoder of a pair"):
        calibrate(folder / "encoder.onnx", [whole], encoder=other, load=open_cpu)


def test_sentences_of_a_file_are_drawn_together(
    tmp_path: Path, pair: tuple[Path, nn.Module, nn.Module]
) -> None:
    metadata = inspect(pair[0] / "decoder.onnx").metadata
    whole = sentences(6)
    write_npz(tmp_path / "data.npz", whole)
    (found,) = read_sequences(tmp_path / "data.npz", metadata, samples=2)
    rows = [int((whole["x"] == row).all(axis=1).argmax()) for row in found["x"]]
    assert len(set(rows)) == 2
    np.testing.assert_array_equal(found["token"], whole["token"][rows])


def test_kept_ranges_are_those_of_one_encoder(
    tmp_path: Path, pair: tuple[Path, nn.Module, nn.Module]
) -> None:
    folder = pair[0]
    for name in ("encoder.onnx", "decoder.onnx"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    write_npz(tmp_path / "data.npz", sentences(3))
    run = partial(calibrate_file, tmp_path / "decoder.onnx", tmp_path / "data.npz", load=open_cpu)
    first = run(encoder=tmp_path / "encoder.onnx")
    small = tmp_path / "encoder.fp16.onnx"
    edgernn.quantize(tmp_path / "encoder.onnx", small, precision="fp16")
    assert run(encoder=small) != first  # not taken from the file beside the decoder
    with pytest.raises(UsageError, match="name that"):
        run()
