from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgernn.errors import UsageError
from edgernn.tasks import get_task
from edgernn.training.config import ModelConfig
from edgernn.training.gradients import initial_gradients, state_gradients

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


def numeric(rnn: nn.RNNBase, x: torch.Tensor, state: str, step: int) -> np.ndarray:
    """Return the largest singular values of ∂h_T/∂state_t ``[B]`` by central differences."""
    rnn = rnn.double()
    with torch.no_grad():
        _, after = rnn(x[:, : step + 1])
        several = isinstance(after, tuple)
        place = int(state == "c")

        def last(change: torch.Tensor) -> torch.Tensor:
            states = list(after) if several else [after]
            states[place] = states[place] + change
            if step + 1 == x.shape[1]:
                return states[0][0]
            _, end = rnn(x[:, step + 1 :], tuple(states) if several else states[0])
            return (end[0] if several else end)[0]

        size = 1e-5
        columns = []
        for unit in range(rnn.hidden_size):
            change = torch.zeros(1, len(x), rnn.hidden_size, dtype=torch.float64)
            change[..., unit] = size
            columns.append((last(change) - last(-change)) / (2 * size))
    return np.linalg.norm(torch.stack(columns, dim=2).numpy(), ord=2, axis=(1, 2))


@given(
    cell=st.sampled_from(sorted(CELLS)),
    hidden=st.integers(1, 5),
    steps=st.integers(1, 6),
    rows=st.integers(1, 3),
    bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_norms_are_those_of_the_numeric_jacobian(
    cell: str, hidden: int, steps: int, rows: int, bias: bool, seed: int
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        rnn = CELLS[cell](2, hidden, batch_first=True, bias=bias)
        x = torch.randn(rows, steps, 2, dtype=torch.float64)
    found = state_gradients(rnn, x.numpy())
    assert set(found) == ({"h", "c"} if cell == "lstm" else {"h"})
    assert next(rnn.parameters()).dtype == torch.float32
    for state, norms in found.items():
        assert norms.shape == (rows, steps)
        for step in range(steps):
            wanted = numeric(rnn, x, state, step)
            np.testing.assert_allclose(norms[:, step], wanted, rtol=1e-5, atol=1e-9)
        rnn.float()


def test_a_relu_network_that_halves_its_state_has_powers_of_a_half() -> None:
    rnn = nn.RNN(1, 3, batch_first=True, nonlinearity="relu")
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(0.5 * torch.eye(3))
        rnn.bias_ih_l0.fill_(1.0)
        rnn.weight_ih_l0.zero_()
        rnn.bias_hh_l0.zero_()
    norms = state_gradients(rnn, np.ones((2, 40, 1)))["h"]
    np.testing.assert_allclose(norms, [0.5 ** np.arange(39, -1, -1)] * 2)


def test_nothing_underflows_over_a_thousand_steps() -> None:
    torch.manual_seed(0)
    norms = state_gradients(nn.RNN(1, 2, batch_first=True), np.zeros((1, 1000, 1)))["h"]
    assert 0 < norms[0, 0] < 1e-50


def test_the_network_at_the_start_follows_from_the_seed_alone() -> None:
    config, recipe = ModelConfig("gru", 2, 4, 1), get_task("adding").recipe
    x = np.ones((1, 5, 2))
    before = torch.get_rng_state()
    one, again = (initial_gradients(config, recipe, 3, x)["h"] for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert torch.equal(before, torch.get_rng_state())
    assert not np.array_equal(one, initial_gradients(config, recipe, 4, x)["h"])
    plain = initial_gradients(config, replace(recipe, memory_steps=0), 3, x)["h"]
    assert plain[0, 0] < one[0, 0]  # which keeps its state at first


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"num_layers": 2}, "2 layers"),
        ({"bidirectional": True}, "two directions"),
        ({"proj_size": 2}, "a projection"),
        ({"batch_first": False}, "the batch second"),
    ],
)
def test_other_layers_are_refused(options: dict[str, int], wrong: str) -> None:
    rnn = nn.LSTM(2, 4, **{"batch_first": True, **options})
    with pytest.raises(UsageError, match=f"has {wrong}; gradients are measured of one layer"):
        state_gradients(rnn, np.zeros((1, 3, 2)))


@pytest.mark.parametrize("shape", [(3, 2), (1, 3, 1), (1, 0, 2)])
def test_other_inputs_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"shape \[rows, steps, 2\], got"):
        state_gradients(nn.GRU(2, 4, batch_first=True), np.zeros(shape))
