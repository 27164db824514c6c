from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn.errors import CheckpointError, UsageError
from edgernn.training import CELLS, ModelConfig, TrainOptions

SIZES = st.integers(1, 10_000)


@given(st.sampled_from(CELLS), SIZES, SIZES, SIZES, SIZES, st.booleans())
def test_json_round_trip(cell: str, i: int, h: int, o: int, layers: int, both: bool) -> None:
    config = ModelConfig(cell, i, h, o, layers, both)
    assert ModelConfig.from_json(json.loads(json.dumps(config.to_json())), "run.json") == config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cell": "qrnn"}, "cell 'qrnn' .* lstm, gru, rnn"),
        ({"hidden_size": 0}, "hidden_size is 0; .* at least 1"),
        ({"layers": 1.5}, "layers is 1.5"),
        ({"input_size": True}, "input_size is True"),
        ({"output_size": -1}, "output_size is -1"),
        ({"bidirectional": "no"}, "bidirectional is 'no'"),
        ({"kind": "poem"}, "kind 'poem' .* sequence, forecast, text, language"),
        ({"kind": "text"}, "embedding_size is 0; .* at least 1"),
        ({"embedding_size": 3}, "embedding_size is 3, but a sequence network takes features"),
    ],
)
def test_bad_value_is_named(changes: dict[str, Any], words: str) -> None:
    values = {"cell": "gru", "input_size": 2, "hidden_size": 8, "output_size": 4, "layers": 1}
    values |= {"bidirectional": False, "kind": "sequence", "embedding_size": 0, **changes}
    with pytest.raises(UsageError, match=words):
        ModelConfig(**values)
    with pytest.raises(CheckpointError, match=f"run.json: {words}"):
        ModelConfig.from_json(values, "run.json")


@pytest.mark.parametrize("values", [None, [], {"cell": "gru"}])
def test_incomplete_json_is_refused(values: object) -> None:
    with pytest.raises(CheckpointError, match="must have exactly the keys"):
        ModelConfig.from_json(values, "run.json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**32}, "seed 4294967296 is too large"),
        ({"epochs": 0}, "epochs is 0"),
        ({"patience": 0}, "patience is 0; .* at least 1"),
        ({"precision": "fp8"}, "precision 'fp8' .* fp32, bf16, fp16"),
    ],
)
def test_bad_option_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        TrainOptions(Path("run"), **changes)
