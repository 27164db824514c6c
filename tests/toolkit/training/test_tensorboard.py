from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgernn.errors import OutputError
from edgernn.tasks.base import Metric
from edgernn.training import EpochRecord, Progress, log_to_tensorboard

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")

FIRST = EpochRecord(1, 0.5, 0.91, 0.01, 2.0)
SECOND = EpochRecord(2, 0.25, 0.95, 0.001, 3.0)
METRIC = Metric("accuracy", higher_is_better=True)
ENDED = Progress(1, 2, 10, 10, 0.5, METRIC, FIRST, FIRST, 4.0)


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


def test_each_epoch_that_ends_is_logged(tmp_path: Path) -> None:
    with log_to_tensorboard(tmp_path) as on_progress:
        on_progress(replace(ENDED, record=None, best=None, step=3))
        on_progress(ENDED)
        on_progress(replace(ENDED, epoch=2, step=4))  # in the middle of the second
        on_progress(replace(ENDED, epoch=2, record=SECOND))
    assert scalars(tmp_path) == pytest.approx({
        ("loss/train", 1): 0.5, ("loss/train", 2): 0.25,
        ("validation/accuracy", 1): 0.91, ("validation/accuracy", 2): 0.95,
        ("learning_rate", 1): 0.01, ("learning_rate", 2): 0.001,
        ("seconds", 1): 2.0, ("seconds", 2): 3.0,
    })  # fmt: skip


def test_a_continued_run_says_from_where(tmp_path: Path) -> None:
    with log_to_tensorboard(tmp_path) as on_progress:
        on_progress(replace(ENDED, epoch=2, record=SECOND))
    starts = [
        event.step  # type: ignore[attr-defined]
        for event in events(tmp_path)
        if event.HasField("session_log")  # type: ignore[attr-defined]
    ]
    assert starts == [2]


def test_nothing_is_left_where_no_epoch_ended(tmp_path: Path) -> None:
    with log_to_tensorboard(tmp_path / "run"):
        pass
    assert not (tmp_path / "run").exists()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    with (
        log_to_tensorboard(tmp_path / "run") as on_progress,
        pytest.raises(OutputError, match="choose another folder"),
    ):
        on_progress(ENDED)
