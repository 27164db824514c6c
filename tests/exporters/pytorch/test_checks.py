from __future__ import annotations

import pytest
import torch
from helpers.modules import Tagger
from torch import nn

from edgernn.errors import ModelError
from edgernn_exporters.pytorch.checks import unwrapped

# What torch.compile imports uses it, too.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")


def test_wrappers_of_pytorch_are_taken_off() -> None:
    module = Tagger("gru")
    assert unwrapped(module) is module
    assert unwrapped(nn.DataParallel(module)) is module
    assert unwrapped(torch.compile(nn.DataParallel(module))) is module


def test_torchscript_is_refused_by_name() -> None:
    scripted = torch.jit.trace(nn.Linear(5, 5), torch.zeros(1, 5))
    with pytest.raises(ModelError, match=r"the module is TorchScript.*export the nn.Module"):
        unwrapped(scripted)
    with pytest.raises(ModelError, match="layer '0' is TorchScript"):
        unwrapped(nn.Sequential(scripted, nn.GRU(5, 7)))
