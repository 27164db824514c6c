from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.errors import UsageError
from edgernn.tasks.base import END, PADDING
from edgernn.training import CELLS, ModelConfig, build_model
from edgernn.training.translation import TranslationModel

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


SYMBOLS = {"kind": "text", "embedding_size": 3}
TRANSLATION = {"kind": "translation", "bidirectional": True, "embedding_size": 3}


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(CELLS), st.booleans(), LENGTHS, st.integers(0, 2**31))
def test_a_sentence_is_judged_without_its_padding(
    cell: str, both: bool, lengths: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    model = build_model(ModelConfig(cell, 7, 4, 2, 1, both, **SYMBOLS)).eval()
    x = torch.randint(7, (len(lengths), max(lengths) + 2))
    with torch.no_grad():
        together = model(x, torch.tensor(lengths))
        assert together.shape == (len(lengths), 2)
        for row, length in enumerate(lengths):
            alone = model(x[row : row + 1, :length], torch.tensor([length]))
            torch.testing.assert_close(together[row], alone[0], rtol=1e-5, atol=1e-6)


def test_covariates_change_a_forecast_through_the_recurrent_layers_alone() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig("gru", 26, 4, 24, kind="forecast")).eval()
    x = torch.randn(2, 5, 26)
    plain = model(x)
    torch.testing.assert_close(plain, x[..., :24])  # nothing is learned: the day before
    torch.nn.init.normal_(model.head.weight)
    other = x.clone()
    other[:, 2, 24:] += 1
    changed = (model(other) - model(x)).abs().amax(dim=(0, 2))
    assert changed.gt(0).tolist() == [False, False, True, True, True]


def test_a_forecast_follows_the_level_and_begins_with_the_day_before() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig("gru", 48, 4, 48, kind="forecast")).eval()
    x = torch.randn(2, 5, 48)
    torch.testing.assert_close(model(x), x)  # its last layers begin as zeros
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    level = torch.tensor([3.0, -2.0]).repeat(24)  # one for each of two variables
    torch.testing.assert_close(model(x + level), model(x) + level, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(model(x), x)


def test_a_language_network_sees_no_later_symbol() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig("lstm", 9, 4, 9, kind="language", embedding_size=3)).eval()
    x = torch.randint(9, (2, 6))
    other = x.clone()
    other[:, 4:] = (x[:, 4:] + 1) % 9
    torch.testing.assert_close(model(other)[:, :4], model(x)[:, :4])
    assert not torch.allclose(model(other)[:, 4], model(x)[:, 4])


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (ModelConfig("gru", 24, 4, 48, kind="forecast"), "24 hours of every variable, .* not 24"),
        (ModelConfig("gru", 48, 4, 47, kind="forecast"), "24 hours of every variable, .* not 48"),
        (ModelConfig("gru", 48, 4, 48, 1, True, "forecast"), "forecast .* leave bidirectional out"),
        (ModelConfig("gru", 9, 4, 9, 1, True, "language", 3), "language .* bidirectional out"),
        (ModelConfig("lstm", 9, 4, 9, **TRANSLATION), "one bidirectional GRU"),
        (ModelConfig("gru", 9, 4, 9, 2, **TRANSLATION), "one bidirectional GRU"),
    ],
)
def test_a_network_that_cannot_be_is_refused(config: ModelConfig, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build_model(config)


def test_a_translation_is_written_as_it_was_learned() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig("gru", 9, 16, 9, **TRANSLATION)).eval()
    assert isinstance(model, TranslationModel)
    x, lengths = torch.tensor([[3, 4, 5, 6], [7, 3, 0, 0]]), torch.tensor([4, 2])
    targets = torch.tensor([[4, 5, 6, END], [8, END, PADDING, PADDING]])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        logits = model(x, lengths, targets)
        torch.nn.functional.cross_entropy(
            logits.transpose(1, 2), targets, ignore_index=PADDING
        ).backward()
        optimizer.step()
    with torch.no_grad():
        written = model.predict(x, lengths)
        assert written[:, :3].tolist() == [[4, 5, 6], [8, PADDING, PADDING]]
        assert (written[:, 3:] == PADDING).all()
        alone = model(x[1:, :2], lengths[1:], targets[1:, :2])
        torch.testing.assert_close(model(x, lengths, targets)[1:, :2], alone, rtol=1e-4, atol=1e-4)
