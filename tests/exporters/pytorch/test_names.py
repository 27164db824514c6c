from __future__ import annotations

from pathlib import Path

import onnx
import torch
from helpers.modules import Conditioned, Convolved, Tagger, TwoBlocks
from torch import Tensor, nn

from edgernn.training import observing, to_quantized
from edgernn_exporters.pytorch.export import export


class Repeating(nn.Module):
    """A block of layers that is used twice, one of its layers shared with another place."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 5, batch_first=True)
        self.block = nn.Sequential(nn.Linear(5, 5), nn.ReLU(), nn.Linear(5, 5, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.block(self.block(self.rnn(x)[0]))


def names_in(path: Path) -> dict[str, str]:
    kinds = ("LSTM", "GRU", "RNN", "MatMul", "Gemm", "Conv")
    return {n.name: n.op_type for n in onnx.load(path).graph.node if n.op_type in kinds}


def test_nodes_have_the_names_of_layers(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    x = torch.zeros(1, 10, 5)
    for module, args, names in (
        (Tagger("lstm", num_layers=2, bidirectional=True), (x,),
         {"rnn.l0": "LSTM", "rnn.l1": "LSTM", "head": "MatMul"}),
        (TwoBlocks(), (torch.arange(11)[None],),
         {"encoder.l0": "GRU", "decoder.l0": "LSTM", "decoder.l1": "LSTM", "head": "MatMul"}),
        (Conditioned(), (x, torch.zeros(1, 4)), {"rnn.l0": "RNN", "speaker": "Gemm"}),
        (Convolved((2, 0)), (x,), {"conv": "Conv", "rnn.l0": "GRU"}),
        (nn.GRU(5, 7, batch_first=True), (x,), {"l0": "GRU"}),
        (Repeating(), (x,), {"rnn.l0": "GRU", "block.0": "MatMul", "block.2": "MatMul",
                             "block.0#2": "MatMul", "block.2#2": "MatMul"}),
    ):  # fmt: skip
        export(module, args, path, load=None)
        assert names_in(path) == names


def test_each_use_of_a_layer_has_its_ranges(tmp_path: Path) -> None:
    module = to_quantized(Repeating(), "int8")
    with observing(module):
        module(torch.randn(3, 9, 5))
    done = export(module, (torch.zeros(1, 10, 5),), tmp_path / "m.onnx", load=None)
    assert done.metadata.ranges is not None
    layers = done.metadata.ranges["layers"]
    assert set(layers) == set(names_in(done.path))
    assert layers["block.0#2"] == layers["block.0"] != layers["block.2"]
