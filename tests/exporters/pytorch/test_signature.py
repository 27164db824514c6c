from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.modules import Conditioned, LastStep, Tagger
from torch import Tensor, nn

from edgernn.contract import Axes
from edgernn.errors import InputError, ModelError
from edgernn_exporters.pytorch.rewiring import recurrent_layers
from edgernn_exporters.pytorch.signature import Request, Signature, first_line, read_signature


def read(module: nn.Module, *args: Any) -> Signature:
    return read_signature(module.eval(), recurrent_layers(module), Request(args))


def test_names_and_axes_are_found() -> None:
    found = read(Conditioned(), torch.zeros(1, 10, 5), torch.zeros(1, 4))
    assert found.input_names == ("x", "speaker")
    assert found.input_axes == (Axes(0, 1), Axes(0, None))
    assert (found.output_names, found.output_axes) == (("y",), (Axes(0, 1),))
    assert [arg.shape[0] for arg in found.args] == [2, 2]
    assert read(LastStep(), torch.zeros(3, 10, 5)).output_axes == (Axes(0, None), Axes(1, None))
    first = read(Tagger("gru", batch_first=False), torch.zeros(10, 1, 5))
    assert (first.input_axes, first.length) == ((Axes(1, 0),), 10)


class Strided(nn.Module):
    """Every second step."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 7, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0][:, ::2]


def test_an_output_at_a_lower_rate_keeps_its_time_axis() -> None:
    assert read(Strided(), torch.zeros(1, 9, 5)).output_axes == (Axes(0, 1),)


class Raising(Tagger):
    """Raise something that no library does."""

    def __init__(self, error: Exception) -> None:
        super().__init__("gru")
        self.error = error

    def forward(self, x: Tensor) -> Any:
        raise self.error


@pytest.mark.parametrize("error", [AssertionError(), KeyError("k"), RuntimeError("one\ntwo")])
def test_whatever_forward_raises_is_told_in_one_line(error: Exception) -> None:
    with pytest.raises(InputError, match=r"Raising fails on example inputs of shapes") as caught:
        read(Raising(error), torch.zeros(1, 9, 5))
    assert first_line(error) in str(caught.value)
    assert "\n" not in str(caught.value)


class Squeezing(Tagger):
    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y[0] if len(x) == 2 else y


def test_an_output_that_changes_its_rank_is_refused() -> None:
    with pytest.raises(ModelError, match="changes its rank"):
        read(Squeezing("gru"), torch.zeros(1, 9, 5))
