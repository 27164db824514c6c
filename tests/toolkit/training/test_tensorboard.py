from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from edgernn.errors import OutputError, UsageError
from edgernn.tasks.base import Metric, Recipe
from edgernn.training import EpochRecord, ModelConfig, Progress, RunInfo, log_to_tensorboard
from edgernn.training.runs import RUN_FILE, SavedFile

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")

FIRST = EpochRecord(1, 0.5, 0.91, 0.01, 2.0)
SECOND = EpochRecord(2, 0.25, 0.95, 0.001, 3.0)
METRIC = Metric("accuracy", higher_is_better=True)
RECIPE = Recipe(4, 32, 1e-2, 1e-4, 0.1, 1.0, 2, 0.0)
ENDED = Progress(1, 2, 10, 10, 0.5, METRIC, FIRST, FIRST, 4.0)
BOTH = {
    ("loss/train", 1): 0.5, ("loss/train", 2): 0.25,
    ("validation/accuracy", 1): 0.91, ("validation/accuracy", 2): 0.95,
    ("learning_rate", 1): 0.01, ("learning_rate", 2): 0.001,
    ("seconds", 1): 2.0, ("seconds", 2): 3.0,
}  # fmt: skip


def events(folder: Path) -> Iterator[object]:
    """Read the files as the format says: length, its checksum, an event, its checksum."""
    for path in sorted(folder.glob("events.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack_from("<Q", content)
            yield event_pb2.Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    return {
        (value.tag, event.step): value.simple_value
        for event in events(folder)
        for value in event.summary.value  # type: ignore[attr-defined] # made by protobuf
    }


def keep(folder: Path, *history: EpochRecord) -> None:
    """Write what a training keeps at the end of an epoch."""
    folder.mkdir(exist_ok=True)
    count = len(history)
    saved = SavedFile(count, "0" * 64) if history else None
    run = RunInfo(
        folder, "keywords", ModelConfig("gru", 40, 64, 10), RECIPE, seed=0, precision="fp32",
        processes=1, steps=10, data={}, preprocessing={}, labels=(), metric=METRIC,
        history=history, weights=saved, last=saved,
    )  # fmt: skip
    (folder / RUN_FILE).write_text(json.dumps(run.to_json(), default=dict))


def test_each_epoch_that_ends_is_logged(tmp_path: Path) -> None:
    with log_to_tensorboard(tmp_path) as on_progress:
        on_progress(replace(ENDED, record=None, best=None, step=3))
        keep(tmp_path, FIRST)
        on_progress(ENDED)
        on_progress(replace(ENDED, epoch=2, step=4))  # in the middle of the second
        keep(tmp_path, FIRST, SECOND)
        on_progress(replace(ENDED, epoch=2, record=SECOND))
    assert scalars(tmp_path) == pytest.approx(BOTH)
    assert len([event for event in events(tmp_path) if event.summary.value]) == len(BOTH)  # type: ignore[attr-defined]


def test_a_continued_run_is_logged_from_its_first_epoch(tmp_path: Path) -> None:
    keep(tmp_path, FIRST)
    with suppress(KeyboardInterrupt), log_to_tensorboard(tmp_path) as on_progress:
        on_progress(replace(ENDED, epoch=2, step=3))
        keep(tmp_path, FIRST, SECOND)
        raise KeyboardInterrupt  # before the second epoch was reported
    assert scalars(tmp_path).keys() == {name for name in BOTH if name[1] == 1}
    with log_to_tensorboard(tmp_path) as on_progress:
        on_progress(replace(ENDED, epoch=3, step=3, record=SECOND))
    assert scalars(tmp_path) == pytest.approx(BOTH)
    starts = [
        event.step  # type: ignore[attr-defined]
        for event in events(tmp_path)
        if event.HasField("session_log")  # type: ignore[attr-defined]
    ]
    assert set(starts) == {1}


def test_a_finished_run_is_logged_by_the_main_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, FIRST, SECOND)
    monkeypatch.setenv("RANK", "1")
    with log_to_tensorboard(tmp_path):
        pass
    assert scalars(tmp_path) == {}
    monkeypatch.setenv("RANK", "0")
    with log_to_tensorboard(tmp_path):
        pass
    assert scalars(tmp_path) == pytest.approx(BOTH)


def test_nothing_is_left_where_no_epoch_ended(tmp_path: Path) -> None:
    with log_to_tensorboard(tmp_path / "none"):
        pass
    assert not (tmp_path / "none").exists()
    keep(tmp_path / "run")
    with log_to_tensorboard(tmp_path / "run"):
        pass
    assert [item.name for item in (tmp_path / "run").iterdir()] == [RUN_FILE]


def test_a_run_that_fails_is_left_as_it_is(tmp_path: Path) -> None:
    keep(tmp_path, FIRST)
    with pytest.raises(UsageError, match="already"), log_to_tensorboard(tmp_path):
        raise UsageError("there is a run already")
    assert scalars(tmp_path) == {}


def test_a_log_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tensorboardX.SummaryWriter", full)
    keep(tmp_path, FIRST)
    with (
        pytest.raises(OutputError, match="No space left on device; choose another folder"),
        log_to_tensorboard(tmp_path) as on_progress,
    ):
        on_progress(ENDED)
