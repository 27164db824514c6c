"""The suite from the command line, on small networks and one epoch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from helpers.cli import Cli, runner

from edgernn.errors import Interrupted
from edgernn_benchmarks.cells import PARTS, read_journal

BENCH = ("bench", "--suite", "cells", "--quick")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


@pytest.mark.slow
def test_all_parts_are_measured_once(tmp_path: Path, cli: Cli) -> None:
    result, work = tmp_path / "cells.json", tmp_path / "work"
    page, table = tmp_path / "cells.html", tmp_path / "cells.md"
    outputs = ("--json", result, "--work", work, "--report", page, "--markdown", table)
    done = cli(*BENCH, *outputs)
    assert done.code == 0, done.err
    journal = read_journal(result)
    assert {key.partition("/")[0] for key in journal.rows} == set(PARTS)
    assert len(list(journal.under("gradients/"))) == 9
    assert len(list(journal.under("memory/"))) == 3
    assert len(list(journal.under("choice/forecast/"))) == 10
    assert page.read_text().startswith("<!doctype html>")
    assert table.read_text() in done.out
    timed = journal.rows["choice/forecast/timing"]["rows"]
    on_cpu = [row for row in timed if row["target"] == "cpu"]
    assert all(row["samples_ns"] for row in on_cpu)
    counted = [row for row in timed if row["target"] == "cortex-m4"]
    if all(row["available"] for row in counted):  # else the emulator is not on this machine
        flash = {(row["label"], row["precision"]): row["flash_bytes"] for row in counted}
        assert flash["GRU-4", "float32"] < flash["LSTM-4", "float32"]
        assert flash["GRU-4", "int8"] < flash["GRU-4", "float32"]
    else:
        assert all(row["error"] for row in counted if not row["available"])
    before = dict(journal.rows)
    shutil.rmtree(work)  # nothing is trained again for what the file holds
    again = cli(*BENCH, *outputs)
    assert again.code == 0, again.err
    assert read_journal(result).rows == before
    assert len(read_journal(result).sessions) == 1  # the second measured nothing


@pytest.mark.slow
def test_a_stopped_suite_goes_on(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    result, page = tmp_path / "cells.json", tmp_path / "cells.html"
    arguments = (*BENCH, "--part", "gradients", "--json", result, "--work", tmp_path / "work",
                 "--report", page)  # fmt: skip

    def stopped(*arguments: object, **options: object) -> None:
        raise Interrupted("training stopped; 0 epochs are kept")

    with monkeypatch.context() as patch:
        patch.setattr("edgernn.training.loop._train", stopped)
        done = cli(*arguments)
    assert done.code == 7
    kept = json.loads(result.read_text())["rows"]
    assert list(kept) == ["gradients/rnn/plain/seed0", "gradients/rnn/initial/seed0"]
    assert "<svg" in page.read_text()
    assert cli(*arguments).code == 0
    rows = json.loads(result.read_text())["rows"]
    assert len(rows) == 9
    assert {key: rows[key] for key in kept} == kept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--suite", "cell"], "there is no suite 'cell'; the suites are cells"),
        (["--suite"], "there is no suite ''; the suites are cells"),
        (["--suite=cells", "--json", "c.json", "--data", "fsdd"], "not of the form TASK=DIR"),
        (["--suite=cells", "--json", "c.json", "--data", "adding=x"], "no task with data"),
        (["--suite=cells"], "Missing option '--json'"),
        (["--suite=cells", "--json", "c.json", "--part", "all"], "'all' is not one of"),
        (["--suite=cells", "--json", "c.json", "m.onnx"], "unexpected extra argument"),
    ],
)
def test_a_wrong_call_says_what_is_right(
    options: list[str], message: str, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("bench", *options)
    assert done.code == 2
    assert message in done.err
    assert not list(tmp_path.iterdir())


def test_the_suite_has_its_own_help(cli: Cli) -> None:
    own, whole = cli("bench", "--suite", "cells", "--help").out, cli("bench", "--help").out
    assert "bench --suite cells [OPTIONS]" in own
    assert "--part [gradients|memory|choice]" in own
    assert "--suite cells" in whole
    assert "--part" not in whole


def test_results_of_the_whole_suite_are_not_mixed_with_a_trial(tmp_path: Path, cli: Cli) -> None:
    from edgernn_benchmarks.cells import Plan
    from edgernn_benchmarks.cells.journal import open_journal

    result = tmp_path / "cells.json"
    open_journal(result, Plan().settings(), {}).save()
    done = cli(*BENCH, "--json", result, "--work", tmp_path / "work")
    assert done.code == 2
    assert "hidden_size is 32 there, 4 here" in done.err
