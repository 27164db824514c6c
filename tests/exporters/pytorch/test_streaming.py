from __future__ import annotations

from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import torch
from helpers.modules import Tagger, TwoBlocks
from torch import nn

from edgernn.errors import ModelError
from edgernn_exporters.pytorch.outputs import flatten_outputs
from edgernn_exporters.pytorch.rewiring import recurrent_layers
from edgernn_exporters.pytorch.signature import Request, read_signature
from edgernn_exporters.pytorch.streaming import StreamingModule

T = torch.zeros(1)
Pair = namedtuple("Pair", "left right")


def streaming(module: nn.Module, *args: torch.Tensor) -> StreamingModule:
    signature = read_signature(module.eval(), recurrent_layers(module), Request(args))
    return StreamingModule(module, signature)


@pytest.mark.parametrize(
    ("result", "names"),
    [
        (T, ["y"]),
        ((T,), ["y"]),
        ([T, T], ["y0", "y1"]),
        ((T, (T, T)), ["y0", "y1", "y2"]),
        ((T, None), ["y"]),
        ({"logits": T, "state": T}, ["logits", "state"]),
        (OrderedDict(b=T, a=T), ["b", "a"]),
        (Pair(T, T), ["left", "right"]),
        ({"a": (T, T)}, ["y0", "y1"]),
    ],
)
def test_outputs_are_flattened_and_named(result: Any, names: list[str]) -> None:
    found, tensors = flatten_outputs(result)
    assert found == names
    assert len(tensors) == len(names)


@pytest.mark.parametrize("result", [None, 3, {}, (), "text"])
def test_a_result_without_tensor_is_refused(result: Any) -> None:
    with pytest.raises(ModelError, match="without a tensor in it"):
        flatten_outputs(result)


def test_layers_are_found_by_their_path() -> None:
    assert list(recurrent_layers(TwoBlocks())) == ["encoder", "decoder"]
    assert list(recurrent_layers(nn.GRU(2, 3))) == [""]
    shared = nn.Sequential(nn.GRU(2, 2), nn.ReLU())
    shared.append(shared[0])
    assert list(recurrent_layers(shared)) == ["0"]


def test_states_are_named_by_path_letter_and_layer() -> None:
    states = streaming(TwoBlocks(), torch.arange(11)[None]).states
    assert [state.name for state in states] == [
        "encoder.h_l0", "decoder.h_l0", "decoder.c_l0", "decoder.h_l1", "decoder.c_l1"
    ]  # fmt: skip
    both = streaming(nn.GRU(2, 3, bidirectional=True), torch.zeros(5, 1, 2)).states
    assert [state.name for state in both] == ["h_l0"]
    assert both[0].zeros(4).shape == (2, 4, 3)


def test_the_original_module_is_not_touched() -> None:
    module = Tagger("lstm")
    before = set(module.state_dict())
    streaming(module, torch.zeros(1, 6, 5))
    assert set(module.state_dict()) == before
    assert module(torch.zeros(2, 3, 5)).shape == (2, 3, 3)
