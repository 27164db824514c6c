"""Python loops over cells, exported through the gate: whole, in chunks and step by step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers.loops import (
    CELLS,
    STREAMING,
    WHOLE,
    Conditioned,
    CustomRNN,
    GivenState,
    Looping,
    Mixed,
)
from torch import nn

from edgernn.contract import Contract
from edgernn.streaming import run_in_chunks
from edgernn_exporters.pytorch.export import Exported, export

from .conftest import open_cpu

X = (torch.zeros(1, 10, 5),)
OPERATORS = {"LSTM", "GRU", "RNN", "Scan"}


def exported(module: nn.Module, path: Path, args: Any = X, **options: Any) -> Exported:
    torch.manual_seed(0)
    result = export(module, args, path, load=open_cpu, **options)
    assert result.gate is not None
    onnx.checker.check_model(onnx.load(path), full_check=True)
    return result


def contract_of(result: Exported) -> Contract:
    assert result.metadata.contract is not None
    return result.metadata.contract


def recurrent(path: Path) -> list[str]:
    """Return the recurrent operators of a file."""
    return [node.op_type for node in onnx.load(path).graph.node if node.op_type in OPERATORS]


@pytest.mark.parametrize(
    ("name", "operators", "states"),
    [
        ("gru_range", ["GRU"], ["gru.h"]),
        ("lstm_without_state", ["LSTM"], ["lstm.h", "lstm.c"]),
        ("rnn_time_first", ["RNN"], ["rnn.h"]),
        ("split_and_cat", ["GRU"], ["gru.h"]),
        ("written_in_place", ["GRU"], ["gru.h"]),
        ("two_cells", ["GRU", "GRU"], ["gru.h", "second.h"]),
        ("stacked_by_step", ["LSTM", "LSTM"], ["cells.0.h", "cells.0.c", "cells.1.h", "cells.1.c"]),
        (
            "stacked_by_layer",
            ["LSTM", "LSTM"],
            ["cells.0.h", "cells.0.c", "cells.1.h", "cells.1.c"],
        ),
        ("two_loops", ["GRU", "GRU"], ["gru.h", "second.h"]),
        ("last_only", ["GRU"], ["gru.h"]),
        ("learned_state", ["GRU"], ["gru.h"]),
        ("feedback", ["Scan"], ["head.last", "wide.h"]),
        ("gated", ["Scan"], ["gru.h"]),
        ("differences", ["Scan", "GRU"], ["last", "gru.h"]),
        ("cell_state_out", ["Scan"], ["lstm.h", "lstm.c"]),
    ],
)
def test_loops_become_operators_that_stream(
    tmp_path: Path, name: str, operators: list[str], states: list[str]
) -> None:
    result = exported(Looping(STREAMING[name]), tmp_path / "a.onnx")
    contract = contract_of(result)
    assert contract.stream.causal
    assert recurrent(result.path) == operators
    assert [state.input for state in contract.states] == states
    assert [state.output for state in contract.states] == [f"{state}.next" for state in states]
    assert all(state.batch_axis == 1 for state in contract.states)


@pytest.mark.parametrize("name", WHOLE)
def test_loops_that_need_the_whole_sequence(tmp_path: Path, name: str) -> None:
    causal = False if name == "attending" else None  # its state streams, what it looks at does not
    result = exported(Looping(WHOLE[name]), tmp_path / "a.onnx", causal=causal)
    assert not contract_of(result).stream.causal
    if name != "attending":
        culprit = "last" if name == "own_choice" else "gru.h"
        assert f"whole sequences only: '{culprit}'" in result.notes[0]


@pytest.mark.parametrize("name", CELLS)
def test_custom_cells_become_scans_that_stream(tmp_path: Path, name: str) -> None:
    module = CustomRNN(CELLS[name])
    result = exported(module, tmp_path / "a.onnx")
    several = name == "NormLSTMCell"
    states = [f"layer.cell.{state}" for state in (("state0", "state1") if several else ("h",))]
    assert [state.input for state in contract_of(result).states] == states
    assert recurrent(result.path) == ["Scan"]
    session = open_cpu(result.path)
    x = np.random.default_rng(0).standard_normal((3, 23, 5)).astype(np.float32)
    with torch.no_grad():
        wanted = module.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(session.run({"x": x})["y"], wanted, atol=2e-6)
    for chunk in (1, 4):
        np.testing.assert_allclose(run_in_chunks(session, {"x": x}, chunk)["y"], wanted, atol=2e-6)


def test_a_learned_first_state_is_in_the_file(tmp_path: Path) -> None:
    module = Looping(STREAMING["learned_state"])
    result = exported(module, tmp_path / "a.onnx")
    state = contract_of(result).states[0]
    weights = {tensor.name: tensor for tensor in onnx.load(result.path).graph.initializer}
    first = onnx.numpy_helper.to_array(weights[state.init])
    np.testing.assert_array_equal(first.ravel(), module.first.detach().numpy())


@pytest.mark.slow
def test_arguments_that_loops_start_from_are_states(tmp_path: Path) -> None:
    args = (X[0], torch.zeros(2, 1, 6), (torch.zeros(1, 4), torch.zeros(1, 4)))
    axes = {"hidden": (None, "batch", None)}
    result = exported(GivenState(), tmp_path / "a.onnx", args, axes=axes)
    contract = contract_of(result)
    assert [state.input for state in contract.states] == ["hidden", "state_0", "state_1"]
    assert list(contract.stream.outputs) == ["y"]
    assert recurrent(result.path) == ["GRU", "GRU", "LSTM"]


def test_a_loop_beside_layers_and_convolutions(tmp_path: Path) -> None:
    result = exported(Mixed(), tmp_path / "a.onnx")
    assert {state.input for state in contract_of(result).states} == {
        "rnn.h_l0", "cell.h", "cell.c", "conv.cache",
    }  # fmt: skip


def test_a_second_input_without_time_is_used_in_every_step(tmp_path: Path) -> None:
    result = exported(Conditioned(), tmp_path / "a.onnx", (X[0], torch.zeros(1, 4)))
    assert [state.input for state in contract_of(result).states] == ["cell.h"]
    assert contract_of(result).stream.inputs["speaker"].time is None


def test_nodes_have_the_names_of_the_cells_and_layers(tmp_path: Path) -> None:
    result = exported(Looping(STREAMING["two_cells"]), tmp_path / "a.onnx")
    names = {node.name for node in onnx.load(result.path).graph.node}
    assert {"gru", "second", "head"} <= names


def test_the_module_is_left_as_it_was(tmp_path: Path) -> None:
    module = CustomRNN(CELLS["IndRNNCell"])
    exported(module, tmp_path / "a.onnx")
    assert not any("forward" in vars(part) for part in module.modules())
    assert not dict(module.named_buffers())


def test_the_same_module_gives_the_same_bytes(tmp_path: Path) -> None:
    module = Looping(STREAMING["feedback"])
    first = exported(module, tmp_path / "a.onnx").path.read_bytes()
    assert exported(module, tmp_path / "b.onnx").path.read_bytes() == first


class Inline(nn.Module):
    """A recurrence without any cell."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.u = nn.Linear(5, 6), nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, outs = torch.zeros(x.shape[0], 6), []
        for t in range(x.shape[1]):
            h = torch.tanh(self.w(x[:, t]) + self.u(h))
            outs.append(h)
        return torch.stack(outs, 1)


def test_a_loop_without_a_cell_is_rolled_too(tmp_path: Path) -> None:
    result = exported(Inline(), tmp_path / "a.onnx")
    assert recurrent(result.path) == ["Scan"]
    assert len(contract_of(result).states) == 1


def test_modules_without_loops_are_traced_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces: list[object] = []
    original: Callable[..., Any] = torch.export.export
    monkeypatch.setattr(
        torch.export, "export", lambda *a, **k: traces.append(1) or original(*a, **k)
    )
    exported(nn.GRU(5, 6, batch_first=True), tmp_path / "a.onnx")
    assert len(traces) <= 1
