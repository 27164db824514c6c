from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState

from edgernn.errors import (
    CheckpointError,
    InputError,
    Interrupted,
    ModelError,
    OutputError,
    UsageError,
)
from edgernn.files import sha256_of
from edgernn.tasks.base import Metric
from edgernn.training import CELLS, ModelConfig, Progress, RunInfo, load_run, read_run
from edgernn.training.schedule import learning_rate

Train = Callable[..., RunInfo]
RESUME = {"resume": True}


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_learns(
    tmp_path: Path, train_turns: Train, cell: str, layers: int, bidirectional: bool
) -> None:
    config = ModelConfig(cell, 2, 12, 4, layers, bidirectional)
    run = train_turns(tmp_path / "run", config=config, epochs=10, dropout=0.0)
    assert run.stopped == "epochs"
    assert run.best is not None
    assert run.best.validation >= 0.65  # chance is 0.25
    assert run.history[-1].train_loss < 0.65 * run.history[0].train_loss
    assert load_run(tmp_path / "run")[1].model == config


def test_same_arguments_give_the_same_bits(
    tmp_path: Path, train_turns: Train, finished: RunInfo
) -> None:
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = train_turns(tmp_path / "again")
    assert torch.equal(torch.get_rng_state(), before)  # the caller's random numbers go on
    assert again.weights == finished.weights
    assert again.last == finished.last
    other = train_turns(tmp_path / "other", options={"seed": 1})
    assert other.parent != finished.parent


@pytest.mark.parametrize(("variable", "threads"), [(None, 1), ("2", 2)])
def test_threads_do_not_depend_on_the_machine(
    tmp_path: Path,
    train_turns: Train,
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    threads: int,
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    seen: set[int] = set()
    torch.set_num_threads(2)

    def look(progress: Progress) -> None:
        seen.add(torch.get_num_threads())

    train_turns(tmp_path / "run", size=25, epochs=1, on_progress=look)
    assert seen == {threads}
    assert torch.get_num_threads() == 2


def test_average_of_the_weights_is_kept(tmp_path: Path, train_turns: Train) -> None:
    plain = train_turns(tmp_path / "plain", epochs=3, size=50)
    averaged = train_turns(tmp_path / "averaged", epochs=3, size=50, ema_decay=0.9)
    assert [r.train_loss for r in plain.history] == [r.train_loss for r in averaged.history]
    assert plain.parent != averaged.parent


@pytest.fixture
def fresh_precision() -> Iterator[None]:
    """Let a test choose the precision, which accelerate fixes for the life of a process."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.usefixtures("fresh_precision")
def test_mixed_precision_trains(tmp_path: Path, train_turns: Train) -> None:
    config = ModelConfig("gru", 2, 12, 4, bidirectional=True)
    changes = {"config": config, "epochs": 8, "dropout": 0.0}
    run = train_turns(tmp_path / "run", options={"precision": "bf16"}, **changes)
    assert run.precision == "bf16"
    assert run.best is not None
    assert run.best.validation > 0.6
    with pytest.raises(UsageError, match="choose fp32, or start a new process"):
        train_turns(tmp_path / "other", options={"precision": "fp32"}, **changes)


@pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has a GPU")
@pytest.mark.usefixtures("fresh_precision")
def test_half_precision_needs_a_gpu(tmp_path: Path, train_turns: Train) -> None:
    with pytest.raises(UsageError, match="fp16 training needs a GPU"):
        train_turns(tmp_path / "run", options={"precision": "fp16"})


def test_stops_when_nothing_gets_better(tmp_path: Path, train_turns: Train) -> None:
    run = train_turns(tmp_path / "run", learning_rate=1e-9, epochs=20, patience=3, size=50)
    assert run.stopped == "patience"
    assert run.best is not None
    values = [record.validation for record in run.history]
    assert run.epoch == values.index(max(values)) + 1 + 3 < 20
    # Of equals the later one is kept, but patience counts from the first.
    assert run.best.epoch == max(n for n, value in enumerate(values, 1) if value == max(values))
    # A finished run is returned as it is.
    again = train_turns(
        tmp_path / "run", learning_rate=1e-9, epochs=20, patience=3, size=50, options=RESUME
    )
    assert again.history == run.history


def test_patience_can_be_asked_for(tmp_path: Path, train_turns: Train) -> None:
    changes = {"learning_rate": 1e-9, "epochs": 20, "patience": 20, "size": 50}
    run = train_turns(tmp_path / "run", options={"patience": 2}, **changes)
    assert run.recipe.patience == read_run(tmp_path / "run").recipe.patience == 2
    values = [record.validation for record in run.history]
    assert (run.stopped, run.epoch) == ("patience", values.index(max(values)) + 1 + 2)


def test_lower_may_be_better(tmp_path: Path, train_turns: Train) -> None:
    metric = Metric("loss", higher_is_better=False)
    run = train_turns(tmp_path / "run", metric=metric)
    assert run.best is not None
    assert run.best.validation == min(record.validation for record in run.history)
    assert run.best.validation < run.history[0].validation
    assert '"validation_loss"' in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_progress_is_reported(tmp_path: Path, train_turns: Train) -> None:
    seen: list[Progress] = []
    run = train_turns(tmp_path / "run", epochs=2, on_progress=seen.append)
    assert [p.record for p in seen if p.epoch_ended] == list(run.history)
    assert {(p.steps, p.epochs) for p in seen} == {(9, 2)}
    assert [p.step for p in seen] == 2 * [*range(1, 10), 9]
    assert seen[-1].seconds_left == 0
    assert seen[-1].loss == run.history[-1].train_loss
    assert seen[-2].loss == pytest.approx(run.history[-1].train_loss)
    assert seen[0].seconds_left is not None
    assert seen[0].seconds_left > 0


def test_schedule_fits_epochs_that_take_examples_more_than_once(
    tmp_path: Path, train_turns: Train
) -> None:
    seen: list[Progress] = []
    run = train_turns(tmp_path / "run", size=50, repeats=3, epochs=4, on_progress=seen.append)
    assert run.steps == 6
    assert max(progress.step for progress in seen) == 6
    last_steps = [(epoch * 6 + 5) / 24 for epoch in range(4)]
    assert [r.learning_rate for r in run.history] == [
        pytest.approx(learning_rate(done, run.recipe.learning_rate)) for done in last_steps
    ]


def test_second_run_does_not_overwrite_the_first(
    tmp_path: Path, finished: RunInfo, train_turns: Train
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    with pytest.raises(UsageError, match=r"already holds a run .* -o, .* --resume"):
        train_turns(folder)
    (folder / "run.json").unlink()
    with pytest.raises(UsageError, match=r"already holds a run \(model\.safetensors"):
        train_turns(folder)
    with pytest.raises(CheckpointError, match=r"run\.json is missing"):
        train_turns(folder, options=RESUME)
    assert sha256_of(folder / "model.safetensors") == finished.parent


def test_resume_without_a_run_starts_one(tmp_path: Path, train_turns: Train) -> None:
    assert train_turns(tmp_path / "run", epochs=1, options=RESUME).epoch == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": {"seed": 1}}, "seed is 0 there, 1 here"),
        ({"config": ModelConfig("lstm", 2, 8, 4)}, "cell is 'gru' there, 'lstm' here"),
        ({"config": ModelConfig("gru", 2, 9, 4)}, "hidden_size is 8 there, 9 here"),
        ({"learning_rate": 0.5}, "learning_rate is 0.02 there, 0.5 here"),
        ({"options": {"epochs": 9}}, "epochs is 6 there, 9 here"),
        ({"options": {"patience": 9}}, "patience is 6 there, 9 here"),
        ({"size": 75}, "data sizes"),
        ({"gain": 2.0}, "another run: data sha256 is [^;]*; resume"),  # the features alone differ
        ({"validation_gain": 2.0}, "another run: data sha256 is [^;]*; resume"),
    ],
)
def test_resume_of_another_run_names_what_differs(
    finished: RunInfo, train_turns: Train, changes: dict[str, Any], words: str
) -> None:
    options = {**RESUME, **changes.get("options", {})}
    before = sha256_of(finished.folder / "run.json")
    with pytest.raises(CheckpointError, match=words):
        train_turns(finished.folder, **{**changes, "options": options})
    assert sha256_of(finished.folder / "run.json") == before


def test_interrupted_by_the_user(tmp_path: Path, train_turns: Train, finished: RunInfo) -> None:
    with pytest.raises(Interrupted, match=r"2 epochs are kept in .*; continue with --resume"):
        train_turns(tmp_path / "run", poison="interrupt")
    assert read_run(tmp_path / "run").history == tuple(
        replace(record, seconds=mine.seconds)
        for record, mine in zip(finished.history, read_run(tmp_path / "run").history, strict=False)
    )
    assert train_turns(tmp_path / "run", options=RESUME).weights == finished.weights


def test_interrupted_before_anything_was_written(
    tmp_path: Path, train_turns: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edgernn.training.loop.check_folder", interrupt)
    with pytest.raises(Interrupted, match="0 epochs are kept"):
        train_turns(tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"poison": "input"}, InputError, "training batch 0 holds a value that is not finite"),
        ({"poison": "size"}, InputError, r"training batch 0 has shape .*, 1\].*time, 2\]"),
        ({"size": 0}, InputError, "the train split is empty"),
        ({"learning_rate": 1e38, "clip_norm": 1e30, "dropout": 0.0}, ModelError,
         "epoch 1: the training diverged; lower the learning rate"),
        ({"loss": "hinge"}, UsageError, "'hinge'; choose one of cross_entropy, "),
        ({"metric": Metric("f1", True)}, UsageError, "measures accuracy, .* metric is f1"),
        ({"config": ModelConfig("gru", 3, 8, 4)}, UsageError, "input_size is 3, .* has 2"),
        ({"config": ModelConfig("gru", 2, 8, 5)}, UsageError, "output_size is 5, .* has 4; use 4"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_explained(
    tmp_path: Path, train_turns: Train, changes: dict[str, Any], error: type, words: str
) -> None:
    with pytest.raises(error, match=words):
        train_turns(tmp_path / "run", **changes)
    assert not list(tmp_path.glob("run/*.safetensors"))


def test_unwritable_folder_is_noticed_before_the_data_are_read(
    tmp_path: Path, train_turns: Train, turns: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns.Turns, "splits", lambda *_: pytest.fail("the data were read"))
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        train_turns(tmp_path / "file" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("there", ["", "new", "new/run"])
def test_data_that_cannot_be_read_leave_nothing_behind(
    tmp_path: Path, train_turns: Train, turns: Any, monkeypatch: pytest.MonkeyPatch, there: str
) -> None:
    def refuse(*_: Any) -> None:
        raise InputError("no such data")

    monkeypatch.setattr(turns.Turns, "splits", refuse)
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match="no such data"):
        train_turns(tmp_path / "new" / "run")
    assert sorted(tmp_path.rglob("*")) == before


def test_empty_data_leave_nothing_behind(tmp_path: Path, train_turns: Train) -> None:
    with pytest.raises(InputError, match="the train split is empty"):
        train_turns(tmp_path / "run", size=0)
    assert not (tmp_path / "run").exists()


def test_full_disk_keeps_what_was_there(
    tmp_path: Path, train_turns: Train, monkeypatch: pytest.MonkeyPatch, finished: RunInfo
) -> None:
    write, epochs = Path.write_bytes, 0

    def fill(path: Path, content: bytes) -> int:
        nonlocal epochs
        epochs += path.name.startswith(".last")
        if epochs == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill)
        with pytest.raises(OutputError, match="no space left"):
            train_turns(tmp_path / "run")
    assert load_run(tmp_path / "run")[1].epoch == 2
    assert train_turns(tmp_path / "run", options=RESUME).weights == finished.weights
