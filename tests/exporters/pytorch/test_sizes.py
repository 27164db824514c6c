"""Modules that take a size with ``len`` keep it open."""

from __future__ import annotations

import builtins
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from edgernn_exporters.pytorch.export import export
from edgernn_exporters.pytorch.sizes import open_len

from .conftest import open_cpu


class Counting(nn.Module):
    """A batch size by ``len``, in front of a layer and of a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 6, batch_first=True)
        self.cell = nn.GRUCell(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(x, x.new_zeros(1, len(x), 6))
        h, outputs = y.new_zeros(len(y), 4), []
        for t in range(y.shape[1]):
            h = self.cell(y[:, t], h)
            outputs.append(h.view(len(x), 2, 2))
        return torch.stack(outputs, dim=1)


class Only(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 6, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0].reshape(len(x), -1, 3, 2)


@pytest.mark.parametrize("module", [Only(), Counting()], ids=["layer", "loop"])
def test_the_batch_stays_dynamic(tmp_path: Path, module: nn.Module) -> None:
    result = export(module, (torch.zeros(1, 8, 5),), tmp_path / "a.onnx", load=open_cpu)
    assert result.gate is not None  # which ran other batch sizes


def test_len_is_what_it_was() -> None:
    before = builtins.len
    with open_len():
        assert len([1, 2]) == len(torch.zeros(2, 3)) == 2
        with pytest.raises(TypeError, match="0-d tensor"):
            len(torch.tensor(1.0))
        with pytest.raises(TypeError, match="has no len"):
            len(3)  # type: ignore[arg-type]
    assert builtins.len is before
