"""Modules with quantized layers, exported: float weights and ranges that give their integers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers.modules import Tagger
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from edgernn.errors import ModelError
from edgernn.integer import (
    INTEGER,
    Ranges,
    cells,
    linear_parameters,
    recurrent_parameters,
)
from edgernn.metadata import Metadata
from edgernn.training import QuantGRU, observing, to_float, to_quantized
from edgernn_exporters.onnx_files import read_model
from edgernn_exporters.pytorch.export import export
from edgernn_exporters.quantization import quantize
from edgernn_runtimes import load

open_cpu = partial(load, target="cpu", threads=1)


def integers_of(path: Path, precision: str, x: np.ndarray) -> np.ndarray:
    """Run the layers of an exported `Tagger` as the numpy definition says, from its file alone."""
    model, metadata = read_model(path)
    ranges = Ranges.from_json(metadata.ranges, str(path))
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    widths = INTEGER[precision]
    sequence = x.transpose(1, 0, 2)
    for node in model.graph.node:
        if node.op_type in ("LSTM", "GRU", "RNN"):
            w, r, b = (weights[name] for name in node.input[1:4])
            found, parts = ranges.of(node.name), []
            for d in range(len(w)):
                made = recurrent_parameters(
                    node.op_type.lower(), w[d], r[d], b[d],
                    found.input_scale(widths.input_bits), widths,
                    largest_cell=found.largest_cell[d] if found.largest_cell else 0.0,
                )  # fmt: skip
                zeros = np.zeros((sequence.shape[1], r.shape[2]), np.int32)
                turn = slice(None, None, -1 if d else 1)
                c = zeros if node.op_type == "LSTM" else None
                y = cells.recurrent(sequence[turn], made, zeros, c)[0][turn]
                parts.append((y * np.float64(made.state_unit)).astype(np.float32))
            sequence = np.concatenate(parts, axis=-1)
        if node.op_type == "MatMul":
            bias = next(weights[n.input[1]] for n in model.graph.node
                        if n.op_type == "Add" and n.input[0] == node.output[0])  # fmt: skip
            scale = ranges.of(node.name).input_scale(widths.input_bits)
            made_linear = linear_parameters(weights[node.input[1]], bias, scale, widths)
            sequence = cells.linear(sequence, made_linear)
    return sequence.transpose(1, 0, 2)


@pytest.mark.parametrize("precision", INTEGER)
@pytest.mark.parametrize(
    ("cell", "layers", "both"), [("gru", 1, False), ("lstm", 2, True), ("rnn", 2, False)]
)
def test_file_gives_the_integers_of_the_module(
    tmp_path: Path, cell: str, layers: int, both: bool, precision: str
) -> None:
    torch.manual_seed(0)
    module = to_quantized(Tagger(cell, num_layers=layers, bidirectional=both), precision)
    with observing(module):
        module(torch.randn(4, 30, 5))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    for _ in range(5):  # away from the weights that the ranges were found with
        optimizer.zero_grad()
        module(torch.randn(4, 30, 5)).square().sum().backward()
        optimizer.step()
    done = export(module, (torch.zeros(1, 10, 5),), tmp_path / "m.onnx", load=open_cpu)
    x = torch.randn(3, 40, 5)
    with torch.no_grad():
        want = module.eval()(x)
        np.testing.assert_array_equal(integers_of(done.path, precision, x.numpy()), want.numpy())
        assert done.gate is not None
        assert done.metadata.precision == "float32"
        floats = to_float(module)(x).numpy()
    np.testing.assert_allclose(open_cpu(done.path).run({"x": x.numpy()})["y"], floats, atol=1e-5)
    assert not np.array_equal(floats, want)


@pytest.mark.parametrize("precision", INTEGER)
@pytest.mark.parametrize(
    ("cell", "options"),
    [
        ("gru", {}),
        ("lstm", {"num_layers": 2, "bidirectional": True}),
        ("lstm", {"bias": False}),
        ("rnn", {"nonlinearity": "relu", "num_layers": 2}),
    ],
)
def test_quantized_file_returns_the_bits_of_the_module(
    tmp_path: Path, cell: str, options: dict[str, Any], precision: str
) -> None:
    torch.manual_seed(0)
    module = to_quantized(Tagger(cell, **options), precision).eval()
    with observing(module):
        module(torch.randn(4, 30, 5))
    model, small = tmp_path / "m.onnx", tmp_path / "q.onnx"
    export(module, (torch.zeros(1, 10, 5),), model, load=open_cpu)
    done = quantize(model, small, precision=precision, load=open_cpu)
    assert not done.kept
    x = 2 * torch.randn(3, 200, 5)
    with torch.no_grad():
        want = module(x).numpy()
    np.testing.assert_array_equal(open_cpu(small).run({"x": x.numpy()})["y"], want)


class Sentences(nn.Module):
    """Bidirectional layer over rows of different lengths, and a head over their last states."""

    def __init__(self, cell: str) -> None:
        super().__init__()
        self.rnn = getattr(nn, cell)(5, 6, bidirectional=True, batch_first=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        y, last = self.rnn(packed)
        h = last[0] if isinstance(last, tuple) else last
        padded = pad_packed_sequence(y, batch_first=True)[0]
        return self.head(torch.cat([h[0], h[1]], dim=-1)), padded


@pytest.mark.parametrize("precision", INTEGER)
@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_packed_sequences_keep_the_bits_of_the_module(
    tmp_path: Path, cell: str, precision: str
) -> None:
    torch.manual_seed(0)
    module = to_quantized(Sentences(cell), precision).eval()
    lengths = torch.tensor([9, 2, 30, 17])
    with observing(module):
        module(torch.randn(4, 30, 5), lengths)
    model, small = tmp_path / "m.onnx", tmp_path / "q.onnx"
    export(module, (torch.zeros(2, 10, 5), torch.tensor([10, 4])), model, load=open_cpu)
    assert not quantize(model, small, precision=precision, load=open_cpu).kept
    x = 2 * torch.randn(4, 30, 5)
    with torch.no_grad():
        want = module(x, lengths)
    got = open_cpu(small).run({"x": x.numpy(), "lengths": lengths.numpy()})
    for have, value in zip(got.values(), want, strict=True):
        np.testing.assert_array_equal(have, value.numpy())


def test_ranges_travel_with_the_other_metadata(tmp_path: Path) -> None:
    module = to_quantized(Tagger("gru"), "int8")
    with observing(module):
        module(torch.randn(4, 30, 5))
    given = Metadata(task="keywords", parent="1" * 64)
    done = export(module, (torch.zeros(1, 10, 5),), tmp_path / "m.onnx", load=None, metadata=given)
    read = read_model(done.path)[1]
    assert (read.task, read.parent) == ("keywords", "1" * 64)
    found = Ranges.from_json(read.ranges, "m.onnx")
    assert (found.method, found.sequences, found.steps) == ("training", 4, 120)
    assert found.precisions == {"rnn.l0": "int8", "head": "int8"}
    assert "low" not in repr(done)  # pages of numbers
    plain = export(to_float(module), (torch.zeros(1, 10, 5),), tmp_path / "f.onnx", load=None)
    assert plain.metadata.ranges is None
    assert [n.name for n in onnx.load(plain.path).graph.node] == [
        n.name for n in onnx.load(done.path).graph.node
    ]


def test_layers_that_were_not_quantized_in_training_stay_float(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 5), Tagger("gru"))
    module[1].rnn = QuantGRU(module[1].rnn, "int4")
    with observing(module):
        module(torch.randn(4, 30, 5))
    model, small = tmp_path / "m.onnx", tmp_path / "q.onnx"
    export(module, (torch.zeros(1, 10, 5),), model, load=None)
    done = quantize(model, small, precision="int4", load=open_cpu)
    assert dict(done.metadata.layers) == {"0": "float32", "1.rnn.l0": "int4", "1.head": "float32"}
    assert {item.reason for item in done.kept} == {"was not quantized in training"}
    assert done.notes == ()
    x = torch.randn(3, 50, 5)
    with torch.no_grad():
        want = module.eval()(x).numpy()
    np.testing.assert_allclose(open_cpu(small).run({"input": x.numpy()})["y"], want, atol=0.02)


def test_other_ranges_and_precisions_than_those_of_the_training_are_noted(tmp_path: Path) -> None:
    module = to_quantized(Tagger("gru"), "int4")
    with observing(module):
        module(torch.randn(4, 30, 5))
    model, small = tmp_path / "m.onnx", tmp_path / "q.onnx"
    done = export(module, (torch.zeros(1, 10, 5),), model, load=None)
    assert quantize(model, small, precision="int4", load=None).notes == ()
    (other,) = quantize(model, small, load=None).notes
    assert other == (
        "rnn.l0, head: trained for int4 and quantized to int8-dynamic, so the integers are not "
        "the ones that were trained; use --precision int4 to get those"
    )
    own = replace(Ranges.from_json(done.metadata.ranges, "m"), method="minmax", precisions={})
    (ranges,) = quantize(model, small, precision="int4", ranges=own, load=None).notes
    assert "the ranges of the calibration replace those from training" in ranges


def test_module_without_ranges_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"QuantGRU has no ranges .*observing"):
        export(to_quantized(nn.GRU(3, 4), "int8"), (torch.zeros(5, 1, 3),), tmp_path / "m.onnx",
               load=None)  # fmt: skip
    assert not list(tmp_path.iterdir())
