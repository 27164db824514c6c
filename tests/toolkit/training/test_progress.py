from __future__ import annotations

import io

import pytest

from edgernn.tasks.base import Metric
from edgernn.training import EpochRecord, Progress, show_progress

FIRST = EpochRecord(1, 0.5, 0.91, 0.01, 2.0)
METRIC = Metric("accuracy", higher_is_better=True)
MIDWAY = Progress(2, 3, 5, 10, 0.25, METRIC, FIRST, FIRST, 75.4)
START = Progress(1, 3, 1, 10, 1.5, METRIC, None, None, None)
ENDED = Progress(1, 3, 10, 10, 0.5, METRIC, FIRST, FIRST, 4.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_one_line_per_epoch_where_no_terminal_is() -> None:
    stream = io.StringIO()
    with show_progress(stream) as on_progress:
        for progress in (START, ENDED, MIDWAY):
            on_progress(progress)
    assert stream.getvalue() == (
        "epoch 1/3  loss 0.5000  validation accuracy 0.9100 (best 0.9100)  0:04 left\n"
    )


def test_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with show_progress(stream) as on_progress:
        for progress in (START, ENDED, MIDWAY):
            on_progress(progress)
    shown = stream.getvalue()
    assert "epoch 2/3" in shown
    assert "0.9100" in shown
    assert "1:15" in shown
