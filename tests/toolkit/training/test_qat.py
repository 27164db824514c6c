"""Quantization-aware training of the small task, from a finished run to a loaded network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgernn.errors import CheckpointError, Interrupted, UsageError
from edgernn.integer import Ranges
from edgernn.training import (
    ModelConfig,
    QuantGRU,
    RunInfo,
    TrainOptions,
    load_run,
    ranges_of,
    read_run,
)
from edgernn.training.checkpoint import WEIGHTS
from edgernn.training.learner import runner
from edgernn.training.qat import qat_recipe

Train = Callable[..., RunInfo]
CPU = torch.device("cpu")


def qat(parent: RunInfo, **more: Any) -> dict[str, Any]:
    return {"qat": "int4", "parent": parent.folder, **more}


@pytest.fixture(scope="module")
def quantized(
    tmp_path_factory: pytest.TempPathFactory, train_turns: Train, finished: RunInfo
) -> RunInfo:
    torch.set_num_threads(1)
    return train_turns(tmp_path_factory.mktemp("qat") / "run", options=qat(finished, epochs=4))


def test_trains_on_from_the_parent_as_integers(
    quantized: RunInfo, finished: RunInfo, turns: Any
) -> None:
    assert quantized.epoch == 4
    assert quantized.recipe == replace(qat_recipe(finished.recipe), epochs=4)
    assert quantized.history[0].train_loss < finished.history[0].train_loss
    network, run = load_run(quantized.folder)
    assert isinstance(network.rnn, QuantGRU)
    assert (network.rnn.precision, network.head.precision) == ("int4", "int4")
    # The validation was that of the integers.
    task = turns.make_task()
    split = task.splits(quantized.source)["validation"]
    assert run.best is not None
    assert task.score(runner(network, CPU), split)["accuracy"] == run.best.validation
    before = load_run(finished.folder)[0]
    assert not torch.equal(network.rnn.weight_hh_l0, before.rnn.weight_hh_l0)


def test_the_data_are_prepared_as_the_parent_has_them(
    tmp_path: Path, train_turns: Train, finished: RunInfo, turns: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    asked = []
    original = turns.Turns.splits

    def splits(self: Any, source: Any, preprocessing: Any = None) -> Any:
        asked.append(preprocessing)
        return original(self, source, preprocessing)

    monkeypatch.setattr(turns.Turns, "splits", splits)
    train_turns(tmp_path / "run", options=qat(finished, epochs=1))
    assert asked == [read_run(finished.folder).preprocessing]


def test_run_says_what_was_quantized(quantized: RunInfo, finished: RunInfo) -> None:
    info = read_run(quantized.folder).qat
    assert info is not None
    assert (info.precision, info.folder) == ("int4", str(finished.folder))
    assert info.parent == finished.parent
    found = Ranges.from_json(info.ranges, "run.json")
    assert found == ranges_of(load_run(quantized.folder)[0])
    assert (found.method, found.sequences) == ("training", 220)
    values = json.loads((quantized.folder / "run.json").read_text())
    assert values["qat"] == json.loads(json.dumps(asdict(info), default=dict))
    assert read_run(finished.folder).qat is None


def test_resumed_is_the_same_as_uninterrupted(
    tmp_path: Path, train_turns: Train, quantized: RunInfo, finished: RunInfo
) -> None:
    options = qat(finished, epochs=4)
    with pytest.raises(Interrupted, match="2 epochs are kept"):
        train_turns(tmp_path / "run", options=options, poison="interrupt")
    resumed = train_turns(tmp_path / "run", options={**options, "resume": True})
    assert (resumed.weights, resumed.last) == (quantized.weights, quantized.last)
    assert read_run(resumed.folder).qat == read_run(quantized.folder).qat
    with pytest.raises(CheckpointError, match=r"qat is 'int4' there, 'int8' here"):
        train_turns(tmp_path / "run", options={**options, "qat": "int8", "resume": True})
    with pytest.raises(CheckpointError, match=r"qat is 'int4' there, None here"):
        train_turns(tmp_path / "run", options={"resume": True, "epochs": 4})


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_padded_batches_of_bidirectional_networks(
    tmp_path: Path, train_turns: Train, cell: str
) -> None:
    config = ModelConfig(cell, 2, 8, 4, layers=2, bidirectional=True)
    parent = train_turns(tmp_path / "float", config=config, epochs=4, ema_decay=0.5)
    options = {"qat": "int8", "parent": parent.folder, "epochs": 1}
    run = train_turns(tmp_path / "run", config=config, options=options)
    assert parent.best is not None
    assert run.best is not None
    assert run.best.validation > parent.best.validation - 0.1
    assert run.recipe.ema_decay == 0.5
    assert run.qat is not None
    assert run.qat.ranges is not None
    assert list(run.qat.ranges["layers"]) == ["rnn.l0", "rnn.l1", "head"]


def test_goes_on_from_a_quantized_run(
    tmp_path: Path, train_turns: Train, quantized: RunInfo
) -> None:
    run = train_turns(tmp_path / "run", options={**qat(quantized, epochs=1), "qat": "w8a16"})
    assert run.qat is not None
    assert (run.qat.parent, run.qat.precision) == (quantized.parent, "w8a16")


def test_what_does_not_go_together_is_refused(
    tmp_path: Path, train_turns: Train, finished: RunInfo
) -> None:
    with pytest.raises(UsageError, match=r"needs two options.*--from"):
        TrainOptions(tmp_path, qat="int8")
    with pytest.raises(UsageError, match=r"needs two options.*--qat"):
        TrainOptions(tmp_path, parent=finished.folder)
    with pytest.raises(UsageError, match="qat 'int5' is not known"):
        TrainOptions(tmp_path, qat="int5", parent=finished.folder)
    with pytest.raises(UsageError, match="does not go with precision 'bf16'"):
        TrainOptions(tmp_path, precision="bf16", qat="int8", parent=finished.folder)
    other = ModelConfig("lstm", 2, 8, 4)
    with pytest.raises(UsageError, match=r"architecture of .* is .*'gru'.*'lstm'"):
        train_turns(tmp_path / "run", config=other, options=qat(finished))
    with pytest.raises(CheckpointError, match="holds no run"):
        train_turns(tmp_path / "run", options=qat(replace(finished, folder=tmp_path)))
    folder = shutil.copytree(finished.folder, tmp_path / "parent")
    (folder / f"{WEIGHTS}.safetensors").unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        train_turns(tmp_path / "run2", options=qat(replace(finished, folder=folder)))
    assert not (tmp_path / "run").exists()
