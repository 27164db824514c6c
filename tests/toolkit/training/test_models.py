from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.training import CELLS, ModelConfig, build_model

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(CELLS), st.integers(1, 3), st.booleans(), LENGTHS, st.integers(0, 2**31))
def test_padding_changes_nothing(
    cell: str, layers: int, both: bool, lengths: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    model = build_model(ModelConfig(cell, 3, 4, 2, layers, both)).eval()
    x = torch.randn(len(lengths), max(lengths) + 2, 3)  # the padding is not even zero
    with torch.no_grad():
        together = model(x, torch.tensor(lengths))
        assert together.shape == (len(lengths), x.shape[1], 2)
        for row, length in enumerate(lengths):
            alone = model(x[row : row + 1, :length])
            torch.testing.assert_close(together[row, :length], alone[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_without_lengths_the_padding_leaks_backwards(cell: str) -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(cell, 3, 4, 2, 1, True)).eval()
    x = torch.randn(1, 6, 3)
    assert not torch.allclose(model(x)[:, :3], model(x, torch.tensor([3]))[:, :3])


def test_dropout_works_in_training_only() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig("gru", 3, 4, 2, layers=2), dropout=0.5)
    x = torch.randn(2, 5, 3)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_weights_carry_the_names_of_torch() -> None:
    names = set(build_model(ModelConfig("lstm", 3, 4, 2)).state_dict())
    assert names == {
        "rnn.weight_ih_l0", "rnn.weight_hh_l0", "rnn.bias_ih_l0", "rnn.bias_hh_l0",
        "head.weight", "head.bias",
    }  # fmt: skip
