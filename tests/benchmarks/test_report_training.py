"""The page of learning curves, from runs that are written down here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.cli import Cli, runner
from helpers.page import Page

from edgernn.errors import CheckpointError, UsageError
from edgernn.tasks.base import Metric, Recipe
from edgernn.training import EpochRecord, ModelConfig, RunInfo
from edgernn.training.runs import RUN_FILE, SavedFile
from edgernn_benchmarks import Report
from edgernn_benchmarks.report_training import curve_svg, page_of_runs, to_html

HISTORY = tuple(
    EpochRecord(epoch, 8.0 / epoch**2, value, 0.01 / epoch, 1.5)
    for epoch, value in enumerate((0.5, 0.9, 0.875, 0.8), 1)
)
RUN = RunInfo(
    folder=Path("runs/kw"),
    task="keywords",
    model=ModelConfig("gru", 40, 64, 10, layers=2),
    recipe=Recipe(4, 32, 1e-2, 1e-4, 0.1, 1.0, 2, 0.0),
    seed=7,
    precision="fp32",
    processes=1,
    steps=75,
    data={"folder": None, "holdout": None, "sizes": {"train": 2400}, "sha256": "0" * 64},
    preprocessing={},
    labels=(),
    metric=Metric("accuracy", higher_is_better=True),
    history=HISTORY,
    stopped="patience",
    weights=SavedFile(2, "1" * 64),
    last=SavedFile(4, "2" * 64),
    versions={"torch": "2.13.0"},
)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


def words(html: str) -> str:
    page = Page(html)
    assert page.open == []
    return " ".join(" ".join(page.words).split())


def written(folder: Path, run: RunInfo) -> Path:
    folder.mkdir(parents=True)
    (folder / RUN_FILE).write_text(json.dumps(run.to_json(), default=dict))
    return folder


def test_the_page_says_how_the_training_went(tmp_path: Path) -> None:
    text = words(page_of_runs([written(tmp_path / "kw", RUN)]))
    assert "GRU 64 × 2: validation accuracy 90.00 % (higher is better) in epoch 2 of 4" in text
    assert "no better for 2 epochs" in text
    assert "learning rate 0.01" in text
    assert "seed 7, fp32, 1 process, 75 steps an epoch; 2,400 train" in text
    assert "torch 2.13.0" in text
    assert "Not finished" not in text


def test_runs_lie_side_by_side_under_names_that_differ(tmp_path: Path) -> None:
    other = replace(RUN, model=replace(RUN.model, cell="lstm"), stopped="")
    folders = [written(tmp_path / name / "kw", run) for name, run in (("a", RUN), ("b", other))]
    html = page_of_runs(folders)
    text = words(html)
    assert all(str(folder) in text for folder in folders)
    assert f"Not finished: {folders[1]}." in text
    assert html.count("<polyline") == 2 * 3


def test_a_run_is_named_once(tmp_path: Path) -> None:
    kept = written(tmp_path / "kw", RUN)
    with pytest.raises(UsageError, match="named more than once"):
        page_of_runs([kept, tmp_path / "kw" / ".." / "kw"])


def test_run_json_stands_for_its_folder(tmp_path: Path, cli: Cli) -> None:
    kept, other = (written(tmp_path / name, RUN) for name in ("kw", "other"))
    assert cli("report", kept / RUN_FILE, other).code == 0
    assert "kw" in (kept / "report.html").read_text()
    done = cli("report", kept, kept / RUN_FILE)
    assert (done.code, f"{kept} is named more than once" in done.err) == (2, True)


def test_what_is_no_run_is_named(tmp_path: Path, report: Report, cli: Cli) -> None:
    kept, result = written(tmp_path / "kw", RUN), tmp_path / "a.json"
    report.save_json(result)
    for sources in ((result, result), (kept, result)):
        done = cli("report", *sources)
        assert (done.code, f"{result} is no run folder" in done.err) == (2, True)
    done = cli("report", tmp_path / "missing")
    assert (done.code, "or run folders of edgernn train" in done.err) == (3, True)
    report.save_json(tmp_path / RUN_FILE)  # a benchmark's, whatever its name
    assert cli("report", tmp_path / RUN_FILE, "-o", tmp_path / "page.html").code == 0


def test_the_circle_is_on_the_epoch_that_is_kept() -> None:
    plot = curve_svg({"kw": RUN}, "accuracy", lambda record: record.validation, mark_best=True)
    points = plot.split('<polyline points="')[1].split('"')[0].split()
    x, y = points[1].split(",")
    assert f'<circle cx="{x}" cy="{y}"' in plot
    assert min(points, key=lambda point: float(point.split(",")[1])) == points[1]


@pytest.mark.parametrize(("ends", "log"), [((8.0, 7.0), False), ((100.0, 0.1), True)])
def test_a_wide_range_is_shown_by_its_logarithm(ends: tuple[float, float], log: bool) -> None:
    history = tuple(replace(HISTORY[0], epoch=at, train_loss=end) for at, end in enumerate(ends, 1))
    run = replace(RUN, history=history)
    plot = curve_svg({"kw": run}, "loss", lambda record: record.train_loss)
    assert ("log scale" in plot) is log


def test_one_epoch_is_enough() -> None:
    run = replace(RUN, history=HISTORY[:1], weights=SavedFile(1, "1" * 64))
    assert "in epoch 1 of 1" in words(to_html({"kw": run}))


def test_names_are_escaped() -> None:
    html = to_html({"<b>&": RUN})
    assert "<b>&amp;" not in html
    assert "&lt;b&gt;&amp;" in html


def test_what_cannot_be_shown_is_said(tmp_path: Path) -> None:
    kept = written(tmp_path / "kw", RUN)
    other = written(tmp_path / "other", replace(RUN, task="forecast"))
    empty = written(tmp_path / "empty", replace(RUN, history=(), weights=None, last=None))
    with pytest.raises(UsageError, match="tasks forecast, keywords"):
        page_of_runs([kept, other])
    with pytest.raises(UsageError, match="no epoch of this run has ended"):
        page_of_runs([empty])
    with pytest.raises(CheckpointError, match="holds no run"):
        page_of_runs([tmp_path])
