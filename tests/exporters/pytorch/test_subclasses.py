"""Subclasses of nn.LSTM, nn.GRU and nn.RNN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgernn.errors import ModelError
from edgernn_exporters.pytorch.export import export
from edgernn_runtimes import load

from .conftest import open_cpu

X = (torch.zeros(1, 10, 5),)


class Named(nn.GRU):
    """Nothing but another name and constructor."""

    def __init__(self, size: int) -> None:
        super().__init__(size, 7, batch_first=True)


class Loud(nn.LSTM):
    """A forward around the parent's."""

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        y, last = super().forward(x / 2, hx)
        return y * 2, last


class Louder(Loud):
    """A forward around one that is around the parent's."""

    def forward(self, x: Tensor, hx: Any = None) -> Any:
        return super().forward(torch.tanh(x), hx)


class Started(nn.GRU):
    """A learned initial state of its own, which the caller does not see."""

    def __init__(self, *sizes: int, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self.start = nn.Parameter(torch.linspace(-1, 1, self.hidden_size))

    def forward(self, x: Tensor, hx: Tensor | None = None) -> Any:
        return super().forward(x, self.start.expand(1, x.shape[0], -1).contiguous())


class Own(nn.GRU):
    """A forward that has nothing to do with the parent's."""

    def forward(self, x: Tensor, hx: Tensor | None = None) -> Any:
        return torch.cumsum(x, 1), x[:, -1][None]


class Around(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.rnn = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


@pytest.mark.parametrize(
    "layer",
    [
        Named(5), Loud(5, 7, batch_first=True), Louder(5, 7, num_layers=2, batch_first=True),
        Started(5, 7, batch_first=True),
    ],
    ids=lambda layer: type(layer).__name__,
)  # fmt: skip
@pytest.mark.parametrize("bare", [False, True])
def test_a_subclass_is_exported(tmp_path: Path, layer: nn.RNNBase, bare: bool) -> None:
    kind, module = type(layer), layer if bare else Around(layer)
    exported = export(module, X, tmp_path / "a.onnx", load=open_cpu)
    assert exported.gate is not None
    assert type(layer) is kind
    assert "forward" not in vars(layer)
    x = np.random.default_rng(0).standard_normal((3, 40, 5)).astype(np.float32)
    session = load(exported.path, "cpu")
    got = session.run({session.inputs[0].name: x})[session.outputs[0].name]
    with torch.no_grad():
        want = layer(torch.from_numpy(x))[0].numpy()
    np.testing.assert_allclose(got, want, atol=2e-6)


def test_a_subclass_that_computes_by_itself_is_refused(tmp_path: Path) -> None:
    module = Around(Own(5, 5, batch_first=True))
    with pytest.raises(ModelError, match=r"'rnn' is a Own.*super\(\).forward.*nn.GRU itself"):
        export(module, X, tmp_path / "a.onnx", load=None)
    assert list(tmp_path.iterdir()) == []


def test_a_recurrent_layer_of_another_kind_is_refused(tmp_path: Path) -> None:
    module = Around(nn.RNNBase("GRU", 5, 7, batch_first=True))
    with pytest.raises(ModelError, match="'rnn' is a RNNBase"):
        export(module, X, tmp_path / "a.onnx", load=None)
