"""Models exported once for all tests of this folder, because each export takes seconds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.modules import Conditioned, Convolved, LastStep, Tagger, TwoBlocks
from torch import nn

from edgernn_exporters.pytorch.export import Exported, export
from edgernn_runtimes import load

open_cpu = partial(load, target="cpu", threads=1)
Made = tuple[nn.Module, Exported]

RECIPES: dict[str, Callable[[], tuple[nn.Module, tuple[torch.Tensor, ...]]]] = {
    "gru": lambda: (Tagger("gru"), (torch.zeros(1, 10, 5),)),
    "lstm-2": lambda: (
        Tagger("lstm", num_layers=2, batch_first=False, bias=False),
        (torch.zeros(10, 1, 5),),
    ),
    "rnn-both": lambda: (Tagger("rnn", bidirectional=True), (torch.zeros(1, 10, 5),)),
    "two-blocks": lambda: (TwoBlocks(), (torch.arange(11)[None],)),
    "last-step": lambda: (LastStep(), (torch.zeros(1, 10, 5),)),
    "conditioned": lambda: (Conditioned(), (torch.zeros(1, 10, 5), torch.zeros(1, 4))),
    "bare": lambda: (nn.GRU(5, 7, batch_first=True), (torch.zeros(1, 10, 5),)),
    "ahead": lambda: (Convolved((1, 1)), (torch.zeros(1, 10, 5),)),
}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Return what exports a recipe, through the gate, the first time it is asked for."""
    folder = tmp_path_factory.mktemp("exported")
    done: dict[str, Made] = {}

    def make(name: str) -> Made:
        if name not in done:
            torch.manual_seed(0)
            module, args = RECIPES[name]()
            causal = False if name == "ahead" else None
            path: Path = folder / f"{name}.onnx"
            done[name] = (module, export(module, args, path, load=open_cpu, causal=causal))
        return done[name]

    return make
