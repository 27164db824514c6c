from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence

from edgernn.errors import ModelError
from edgernn_exporters.pytorch.outputs import flatten_outputs

T = torch.zeros(1, 2)
Pair = namedtuple("Pair", "logits hidden")


@dataclass
class Result:
    logits: Tensor
    hidden: tuple[Tensor, Tensor]
    loss: Tensor | None = None


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (T, ["y"]),
        ((T,), ["y"]),
        ((T, None, [T]), ["y0", "y1"]),
        ({"logits": T, "hidden": {"h": T, "c": T}}, ["logits", "h", "c"]),
        (Pair(T, T), ["logits", "hidden"]),
        (Result(T, (T, T)), ["logits", "y1", "y2"]),
    ],
)
def test_outputs_keep_the_names_that_they_have(result: Any, names: list[str]) -> None:
    found, tensors = flatten_outputs(result)
    assert found == names
    assert all(tensor is T for tensor in tensors)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (None, "returned NoneType without a tensor .* return a tensor, or a tuple or dict"),
        ((T, pack_sequence([T])), r"returns a PackedSequence.*pad_packed_sequence\(...\)\[0\]"),
    ],
)
def test_results_without_tensors_are_refused(result: Any, expected: str) -> None:
    with pytest.raises(ModelError, match=expected):
        flatten_outputs(result)
