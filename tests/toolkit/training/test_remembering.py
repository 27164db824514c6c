from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgernn.errors import UsageError
from edgernn.training import RunInfo, load_run, read_run
from edgernn.training.remembering import recurrent_layer, remember_for

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}


@given(
    cell=st.sampled_from(sorted(CELLS)),
    hidden=st.integers(1, 9),
    layers=st.integers(1, 2),
    bidirectional=st.booleans(),
    steps=st.integers(3, 1000),
)
def test_every_unit_keeps_its_state_for_up_to_so_many_steps(
    cell: str, hidden: int, layers: int, bidirectional: bool, steps: int
) -> None:
    rnn = CELLS[cell](2, hidden, layers, bidirectional=bidirectional)
    before = {name: value.clone() for name, value in rnn.named_parameters()}
    remember_for(rnn, steps)
    for name, value in rnn.named_parameters():
        if name.startswith("weight"):
            assert torch.equal(value, before[name])
            continue
        kept, input_gate = value[hidden : 2 * hidden], value[:hidden]
        if name.startswith("bias_hh"):
            assert (kept == 0).all()
        else:
            assert kept.min() >= 0
            assert kept.max() <= math.log(steps - 1) + 1e-5
            if cell == "lstm":
                assert torch.equal(input_gate, -kept)
        if cell == "gru":
            assert torch.equal(input_gate, before[name][:hidden])
        assert torch.equal(value[2 * hidden :], before[name][2 * hidden :])


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_state_stays_for_about_as_long(cell: str) -> None:
    torch.manual_seed(0)
    rnn = CELLS[cell](1, 64, batch_first=True)
    with torch.no_grad():
        for name, value in rnn.named_parameters():
            if name.startswith("weight_hh"):
                value.zero_()  # so that nothing but the gates acts
    kept = {}
    for steps in (10, 1000):
        remember_for(rnn, steps)
        state = torch.ones(1, 1, 64)
        zeros = torch.zeros(1, 50, 1)
        with torch.no_grad():
            ends = [
                rnn(zeros, (start * torch.zeros_like(state), start * state))[1][1]
                if cell == "lstm"
                else rnn(zeros, start * state)[1]
                for start in (0.0, 1.0)
            ]
        kept[steps] = float((ends[1] - ends[0]).mean())
    assert kept[10] < 0.1
    assert kept[1000] > 0.7


def test_a_plain_network_has_no_gate_to_set() -> None:
    rnn = nn.RNN(2, 4)
    before = [value.clone() for value in rnn.parameters()]
    remember_for(rnn, 100)
    assert all(map(torch.equal, before, rnn.parameters()))


def test_what_cannot_remember_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 3, or 0"):
        remember_for(nn.GRU(2, 4), 2)
    with pytest.raises(UsageError, match="without biases"):
        remember_for(nn.GRU(2, 4, bias=False), 9)
    with pytest.raises(UsageError, match="no recurrent layers of the name rnn"):
        recurrent_layer(nn.Linear(2, 2))


def test_a_training_begins_so_and_says_so(
    tmp_path: Path, train_turns: Callable[..., RunInfo]
) -> None:
    run = train_turns(tmp_path / "run", epochs=1, size=20, learning_rate=1e-6, memory_steps=500)
    assert read_run(run.folder).recipe.memory_steps == 500
    rnn = recurrent_layer(load_run(run.folder)[0])
    update = rnn.get_parameter("bias_ih_l0").detach()[rnn.hidden_size : 2 * rnn.hidden_size]
    assert 0 <= float(update.min()) < float(update.max()) < math.log(500)
    assert float(update.max()) > 2
