from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from edgernn.errors import CheckpointError
from edgernn.files import sha256_of
from edgernn.training import RunInfo, load_run, load_weights, read_run
from edgernn.training.checkpoint import load_last

FILES = {"run.json", "model.safetensors", "last.safetensors", "metrics.jsonl"}
SHORT = {"size": 50, "epochs": 3, "ema_decay": 0.9}
Train = Callable[..., RunInfo]


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def traces(folder: Path) -> dict[str, Any]:
    """Return what must be equal between two runs: everything but the times."""
    names = {path.name for path in folder.iterdir()}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    hashes = {name: sha256_of(folder / name) for name in names if name.endswith("safetensors")}
    return {"names": names, "lines": lines, **hashes}


def kill_at_rename(patch: pytest.MonkeyPatch, countdown: int, after: bool) -> None:
    """Let nothing reach the disk from just before or just after the given rename."""
    rename, unlink, done = Path.replace, Path.unlink, 0

    def replace(path: Path, target: Path) -> Path:
        nonlocal done
        done += 1
        if done < countdown or (done == countdown and after):
            rename(path, target)
        if done >= countdown:
            raise Killed
        return target

    def keep_when_killed(path: Path, missing_ok: bool = False) -> None:
        if done < countdown:
            unlink(path, missing_ok)

    patch.setattr(Path, "replace", replace)
    patch.setattr(Path, "unlink", keep_when_killed)


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory, train_turns: Train) -> dict[str, Any]:
    """The traces of an uninterrupted run."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("short") / "run"
    train_turns(folder, **SHORT)
    return traces(folder)


def test_folder_holds_four_files_that_agree(finished: RunInfo) -> None:
    assert {path.name for path in finished.folder.iterdir()} == FILES
    assert finished.weights is not None
    assert finished.last is not None
    assert sha256_of(finished.folder / "model.safetensors") == finished.parent
    assert sha256_of(finished.folder / "last.safetensors") == finished.last.sha256
    assert finished.last.epoch == finished.epoch == finished.recipe.epochs
    lines = (finished.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "epoch": record.epoch,
            "train_loss": record.train_loss,
            "validation_accuracy": record.validation,
            "learning_rate": record.learning_rate,
            "seconds": record.seconds,
        }
        for record in finished.history
    ]


def test_no_file_holds_a_pickle(finished: RunInfo) -> None:
    for path in finished.folder.glob("*.safetensors"):
        assert path.read_bytes()[8:9] == b"{"
    assert set(load_last(finished.folder)) >= {
        "model.head.weight", "optimizer.exp_avg.head.weight", "optimizer.step.rnn.bias_hh_l0",
    }  # fmt: skip


def test_loaded_network_is_the_best_one(finished: RunInfo, turns: Any) -> None:
    model, run = load_run(finished.folder)
    assert not model.training
    assert run.best is not None
    assert run.best.validation == max(record.validation for record in run.history)

    def execute(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"y": model(torch.from_numpy(inputs["x"])).detach().numpy()}

    task = turns.make_task()
    scores = task.score(execute, task.splits(None)["validation"])
    assert scores["accuracy"] == run.best.validation


def test_weights_fit_a_module_of_the_same_names(finished: RunInfo) -> None:
    model, _ = load_run(finished.folder)
    with torch.no_grad():
        model.head.weight.zero_()
    load_weights(model, finished.folder / "model.safetensors")
    assert model.head.weight.any()


def test_kill_between_any_two_writes_loses_nothing(
    tmp_path: Path, train_turns: Train, short: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = 0
    for countdown in range(1, 100):
        for after in (False, True):
            folder = tmp_path / f"{countdown}-{after}"
            with monkeypatch.context() as patch:
                kill_at_rename(patch, countdown, after)
                try:
                    train_turns(folder, **SHORT)
                except Killed:
                    moments += 1
                else:
                    assert moments > 2 * 3 * len(FILES)  # each file in each of three epochs
                    return
            if (folder / "run.json").exists() and read_run(folder).epoch:
                assert load_run(folder)[1].best is not None
                load_last(folder)
            train_turns(folder, options={"resume": True}, **SHORT)
            assert traces(folder) == short
    pytest.fail("the training never came to its end")


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path, train_turns: Train) -> None:
    changes = {"size": 100, "epochs": 8}
    train_turns(tmp_path / "whole", **changes)
    folder = tmp_path / "run"
    for lines_before_kill in (2, 5):
        options = {**changes, "pause_s": 0.01, "resume": lines_before_kill > 2}
        process = start_turns(folder, options)
        while count_lines(folder) < lines_before_kill:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert lines_before_kill <= read_run(folder).epoch < 8
        load_run(folder)
    train_turns(folder, options={"resume": True}, **changes)
    assert traces(folder) == traces(tmp_path / "whole")


@pytest.mark.parametrize("name", ["model", "last"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is missing"),
        (b"", "not a whole safetensors file"),
        (b"PK\x03\x04 a pickle", "is a pickle.*weights_only=True"),
        ("other", "SHA-256 differs"),
    ],
)
def test_broken_tensor_file_is_noticed(
    tmp_path: Path,
    finished: RunInfo,
    train_turns: Train,
    name: str,
    content: bytes | str | None,
    words: str,
) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    path = folder / f"{name}.safetensors"
    other = {"model": "last", "last": "model"}[name]
    path.unlink()
    if content == "other":
        shutil.copy(folder / f"{other}.safetensors", path)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words):
        load_run(folder) if name == "model" else load_last(folder)
    with pytest.raises(CheckpointError, match=words):
        train_turns(folder, options={"resume": True})


def test_run_of_another_architecture_is_noticed(tmp_path: Path, finished: RunInfo) -> None:
    folder = shutil.copytree(finished.folder, tmp_path / "run")
    text = (folder / "run.json").read_text()
    (folder / "run.json").write_text(text.replace('"hidden_size": 8', '"hidden_size": 9'))
    with pytest.raises(CheckpointError, match=r"head\.weight \[4, 8\] instead of \[4, 9\]"):
        load_run(folder)


def test_run_without_an_epoch_has_no_network(tmp_path: Path, finished: RunInfo) -> None:
    values = json.loads((finished.folder / "run.json").read_text())
    values |= {"history": [], "weights": None, "last": None, "stopped": ""}
    (tmp_path / "run.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="no epoch of this run has ended"):
        load_run(tmp_path)


def start_turns(folder: Path, options: dict[str, Any]) -> subprocess.Popen[str]:
    program = Path(__file__).with_name("turns.py")
    return subprocess.Popen(
        [sys.executable, program, folder, json.dumps(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def count_lines(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0
