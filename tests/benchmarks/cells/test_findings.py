from __future__ import annotations

import pytest

from edgernn_benchmarks.cells import Journal, findings
from edgernn_benchmarks.cells.tables import decay, memory_cells, networks, tasks_of


def text_of(journal: Journal, topic: str) -> str:
    return next(item.text for item in findings(journal) if item.topic == topic)


def test_gradients_are_the_geometric_mean_by_steps_back(journal: Journal) -> None:
    root = 10**0.5  # one seed's norms are ten times the other's
    assert decay(journal, "rnn", "plain") == pytest.approx([root, root / 2, root / 4, root / 8])
    assert decay(journal, "lstm", "plain", "c")[1:] == pytest.approx([0.2, 0.3, 0.4])
    assert decay(journal, "gru", "plain", "c") == []
    assert decay(journal, "gru", "initial") == []


def test_all_seeds_must_solve_it(journal: Journal) -> None:
    assert [(item.cell, item.steps, item.solved) for item in memory_cells(journal)] == [
        ("rnn", 50, True), ("rnn", 200, False), ("lstm", 50, True), ("lstm", 200, True),
        ("gru", 50, True), ("gru", 200, True),
    ]  # fmt: skip
    assert memory_cells(journal)[0].epoch_seconds == 2.5
    verdicts = {item.topic: item.holds for item in findings(journal)}
    assert verdicts["Memory of LSTM"] is True
    assert verdicts["Memory of RNN"] is True
    journal.rows["memory/lstm/200/seed1"]["mse"] = 0.02
    journal.rows["memory/rnn/200/seed0"]["mse"] = 0.005
    verdicts = {item.topic: item.holds for item in findings(journal)}
    assert verdicts["Memory of LSTM"] is False
    assert verdicts["Memory of RNN"] is False
    assert "not solved in every run at 200 steps: 0.0010 to 0.020 at 200" in text_of(
        journal, "Memory of LSTM"
    )


def test_networks_hold_each_number_by_precision(journal: Journal) -> None:
    assert tasks_of(journal) == ["keywords"]
    lstm, equal, _ = networks(journal, "keywords")
    assert lstm.values == {"float32": (0.90, 0.92), "int8": (0.90, 0.92)}
    assert lstm.errors == {"cortex-m4, int8": "the image does not fit <here>"}
    assert "int8" not in lstm.flash_bytes
    assert equal.instructions == {"float32": 75.0, "int8": 75.0}
    assert equal.p50_us == {"float32": 7.5, "int8": 7.5}
    assert equal.epoch_seconds == 2.0


def test_only_what_every_seed_shows_is_a_difference(journal: Journal) -> None:
    text = text_of(journal, "keywords, against LSTM-64")
    equal, other = text.split("GRU-76")
    assert "int8 better by 1.0 points in the mean, and in each of 2 runs" in equal
    assert "0.75× of the instructions" in equal
    assert "but not in each run: no difference shown" in other


def test_the_advice_follows_from_quality_and_cost(journal: Journal) -> None:
    assert text_of(journal, "GRU or LSTM, equal hidden size").endswith("Take the GRU.")
    for label, value in (("LSTM-64", 0.99), ("GRU-64", 0.5)):
        for seed in (0, 1):
            journal.rows[f"choice/keywords/{label}/seed{seed}/int8"]["value"] = value
    assert "Take the LSTM for what is like keywords" in text_of(
        journal, "GRU or LSTM, equal hidden size"
    )
    assert "Nothing speaks for either" not in text_of(journal, "GRU or LSTM, equal hidden size")


def test_nothing_is_advised_on_one_seed(journal: Journal) -> None:
    for key in [key for key in journal.rows if key.startswith("choice") and "seed1" in key]:
        del journal.rows[key]
    assert not any(item.topic.startswith("GRU or LSTM") for item in findings(journal))
    assert "in one run, which tells nothing" in text_of(journal, "keywords, against LSTM-64")


def test_nothing_measured_says_nothing() -> None:
    assert findings(Journal(None, {}, [{}], {})) == ()
