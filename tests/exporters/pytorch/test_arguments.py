from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from edgernn.errors import InputError
from edgernn_exporters.pytorch.arguments import read_arguments
from edgernn_exporters.pytorch.export import export

from .conftest import open_cpu

T = torch.zeros(1, 2)
Pair = namedtuple("Pair", "left right")


class Taking(nn.Module):
    """Give back what forward was called with."""

    def forward(
        self, x: Any, state: Any = None, *rest: Any, scale: float = 1.0, **more: Any
    ) -> Any:
        return x, state, rest, scale, more


@pytest.mark.parametrize(
    ("args", "kwargs", "names"),
    [
        ((T,), {}, ["x"]),
        ((T, (T, T)), {}, ["x", "state_0", "state_1"]),
        ((T, None, T, T), {"scale": 2.0}, ["x", "rest_0", "rest_1"]),
        ((), {"x": T, "state": [T], "mask": T}, ["x", "state_0", "mask"]),
        (({"audio": T, "text": (T, T)},), {}, ["audio", "text_0", "text_1"]),
        ((Pair(T, T), 3), {}, ["left", "right"]),
    ],
)
def test_tensors_are_named_and_put_back(args: Any, kwargs: Any, names: list[str]) -> None:
    module = Taking()
    found = read_arguments(module, args, kwargs)
    assert list(found.names) == names
    got = found.call(module, found.tensors)
    assert str(got) == str(module(*args, **kwargs))


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (T, "tuple of tensors"),
        ((3, None), "tuple of tensors"),
        ((T, pack_sequence([T])), "'state' is a PackedSequence.*lengths"),
        (({"x": np.zeros(3)},), r"'x' is a numpy array.*from_numpy"),
        ((T, torch.zeros(0, 3)), r"'state' has the shape \[0, 3\]"),
    ],
)
def test_arguments_that_a_graph_cannot_take_are_refused(args: Any, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        read_arguments(Taking(), args)


class Nested(nn.Module):
    """Take a dict, a switch and a factor; return nested outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 7, batch_first=True)
        self.speaker = nn.Linear(4, 7)

    def forward(
        self, batch: dict[str, Tensor], loud: bool = False, factor: float = 1.0, other: Any = None
    ) -> Any:
        y = self.rnn(batch["x"])[0] * factor
        if loud and other is None:
            y = y + self.speaker(batch["speaker"])[:, None]
        return {"y": y, "more": (y.argmax(-1), y > 0)}


def test_constants_are_held_and_side_inputs_given_at_every_step(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Nested()
    batch = {"x": torch.zeros(1, 6, 5), "speaker": torch.zeros(1, 4)}
    kwargs = {"batch": batch, "loud": True, "factor": 3.0, "other": None}
    export(module, (), tmp_path / "m.onnx", load=open_cpu, kwargs=kwargs)
    session = open_cpu(tmp_path / "m.onnx")
    assert [spec.name for spec in session.inputs] == ["x", "speaker"]
    assert [spec.name for spec in session.outputs] == ["y", "y1", "y2"]
    x, speaker = torch.randn(2, 9, 5), torch.randn(2, 4)
    stream = session.stream(batch=2)
    parts = [
        stream.step({"x": x[:, t : t + 3].numpy(), "speaker": speaker.numpy()})["y"]
        for t in (0, 3, 6)
    ]
    with torch.no_grad():
        wanted = module({"x": x, "speaker": speaker}, True, 3.0)["y"]
    np.testing.assert_allclose(np.concatenate(parts, 1), wanted, atol=1e-5)
