from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgernn.contract import Axes
from edgernn.errors import InputError, ModelError
from edgernn_exporters.pytorch.axes import resized
from edgernn_exporters.pytorch.rewiring import recurrent_layers
from edgernn_exporters.pytorch.signature import Request, Signature, read_signature


def read(module: nn.Module, *args: Any, **options: Any) -> Signature:
    return read_signature(module.eval(), recurrent_layers(module), Request(args, **options))


class Calling(nn.Module):
    """Layers, and a forward given by the test."""

    def __init__(self, forward: Any, **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._forward = forward

    def forward(self, *xs: Tensor) -> Any:
        return self._forward(self, *xs)


@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 4),
    time=st.integers(1, 6),
    width=st.integers(1, 6),
    batch_first=st.booleans(),
    seed=st.integers(0, 3),
)
def test_axes_are_found_at_any_sizes(
    batch: int, time: int, width: int, batch_first: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    module = nn.GRU(width, 3, batch_first=batch_first)
    shape = (batch, time, width) if batch_first else (time, batch, width)
    found = read(module, torch.zeros(shape))
    places = Axes(0, 1) if batch_first else Axes(1, 0)
    assert found.input_axes == (places,)
    assert found.output_axes == (places, Axes(1, None))


def test_layouts_in_front_of_the_recurrent_layers() -> None:
    image = Calling(
        lambda m, x: m.rnn(m.conv(x).permute(2, 0, 1, 3).flatten(2))[0],
        conv=nn.Conv2d(1, 2, (1, 3)), rnn=nn.GRU(12, 5),
    )  # fmt: skip
    found = read(image, torch.zeros(1, 1, 20, 8))
    assert (found.input_axes, found.output_axes) == ((Axes(0, 2),), (Axes(1, 0),))
    channels = Calling(
        lambda m, x: m.rnn(m.conv(x).transpose(1, 2))[0].transpose(1, 2),
        conv=nn.Conv1d(8, 6, 1), rnn=nn.GRU(6, 5, batch_first=True),
    )  # fmt: skip
    assert read(channels, torch.zeros(1, 8, 20)).output_axes == (Axes(0, 2),)
    strided = Calling(
        lambda m, x: m.rnn(m.conv(x).transpose(1, 2))[0],
        conv=nn.Conv1d(8, 6, 3, stride=2, padding=1), rnn=nn.GRU(6, 5, batch_first=True),
    )  # fmt: skip
    assert read(strided, torch.zeros(1, 8, 20)).input_axes == (Axes(0, 2),)
    ids = Calling(lambda m, x: m.rnn(m.e(x))[0], e=nn.Embedding(9, 4), rnn=nn.GRU(4, 5))
    assert read(ids, torch.zeros(7, 1, dtype=torch.int64)).input_axes == (Axes(1, 0),)


def test_several_inputs_each_have_their_layout() -> None:
    module = Calling(
        lambda m, x, mask, speaker, other: (
            m.rnn(x * mask.T[..., None])[0] + m.speaker(speaker) + other.permute(2, 0, 1)
        ),
        rnn=nn.GRU(5, 4), speaker=nn.Linear(3, 4),
    )  # fmt: skip
    shapes = [(10, 1, 5), (1, 10), (1, 3), (1, 4, 10)]
    found = read(module, *map(torch.ones, shapes))
    assert found.input_axes == (Axes(1, 0), Axes(0, 1), Axes(0, None), Axes(0, 2))


def test_what_a_decoder_attends_to_has_a_length_of_its_own() -> None:
    def attend(m: Any, x: Tensor, memory: Tensor, valid: Tensor) -> Tensor:
        y = m.rnn(x)[0]
        scores = (y @ memory.transpose(1, 2)).masked_fill(~valid[:, None], -1e4)
        attended: Tensor = y + torch.softmax(scores, -1) @ memory
        return attended

    module = Calling(attend, rnn=nn.GRU(5, 4, batch_first=True))
    for steps in (6, 9):  # equal to the length of the memory by chance
        args = torch.ones(1, steps, 5), torch.ones(1, 9, 4), torch.ones(1, 9, dtype=torch.bool)
        found = read(module, *args)
        assert found.input_dims == (
            ("batch", "time", None), ("batch", "xs_1_1", None), ("batch", "xs_1_1"),
        )  # fmt: skip


def test_axes_can_be_said() -> None:
    module = nn.GRU(5, 3)
    x = torch.zeros(4, 1, 5)
    said = read(module, x, axes={"input": ("time", "batch", None)})
    assert said.input_axes == (Axes(1, 0),)
    assert read(module, x, axes={"input": ("time", None, None)}).batch is None
    assert resized(x, ("time", "batch", None), {"batch": 2, "time": 3}).shape == (3, 2, 5)


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ({"y": ("batch",)}, r"names the input 'y', but forward takes \['input'\]"),
        ({"input": ("batch", "time")}, r"2 axes, but the example has the shape \[4, 1, 5\]"),
        ({"input": ("batch", "batch", None)}, "one size twice"),
        ({"input": ("batch", None, "time")}, "forward fails on .*axes="),
    ],
)
def test_axes_that_do_not_fit_are_refused(axes: Any, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        read(nn.GRU(5, 3), torch.zeros(4, 1, 5), axes=axes)


def test_a_fixed_length_is_refused() -> None:
    module = Calling(
        lambda m, x: m.head(m.rnn(x)[0].flatten(1)),
        rnn=nn.GRU(5, 3, batch_first=True), head=nn.Linear(24, 2),
    )  # fmt: skip
    with pytest.raises(ModelError, match=r"time axis was not found.*axes=.*--axes xs_0=batch,time"):
        read(module, torch.zeros(1, 8, 5))
