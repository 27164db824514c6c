"""The page of trainings: their learning curves, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path

from edgernn.errors import UsageError
from edgernn.training.runs import EpochRecord, RunInfo, read_run
from edgernn_benchmarks import svg
from edgernn_benchmarks.report_format import number, score
from edgernn_benchmarks.report_html import environment_facts, figure, template
from edgernn_benchmarks.svg import BOTTOM, LEFT, RIGHT, TOP

_RADIUS = 4.5
_LOG_FROM = 20.0  # ratio of a curve's ends from which its axis is logarithmic
_STOPPED = {
    "epochs": "all epochs done",
    "patience": "no better for {patience} epochs",
    "": "not finished",
}


def page_of_runs(folders: Sequence[Path]) -> str:
    """Read run folders and render their page.

    Raises:
        CheckpointError: A folder holds no run, or a damaged one.
        UsageError: A folder is named twice, the runs are of different tasks, or no epoch of one has
            ended.
    """
    places = [folder.resolve() for folder in folders]
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise UsageError(f"{folder} is named more than once; name each run folder once")
    runs = {_label(folder, folders): read_run(folder) for folder in folders}
    for label, run in runs.items():
        if not run.history:
            raise UsageError(
                f"{label}: no epoch of this run has ended; make the report when one has"
            )
    tasks = sorted({run.task for run in runs.values()})
    if len(tasks) > 1:
        raise UsageError(
            f"the runs are of the tasks {', '.join(tasks)}, whose metrics cannot be compared; make "
            f"a report for each"
        )
    return to_html(runs)


def to_html(runs: dict[str, RunInfo]) -> str:
    """Render one self-contained page; every name from outside is escaped.

    Args:
        runs: Of one task, by the names to show; of each at least one epoch has ended.
    """
    first = next(iter(runs.values()))
    done = sum(run.epoch for run in runs.values())
    running = [label for label, run in runs.items() if not run.stopped]
    names = escape(", ".join(running))
    return template().substitute(
        title=escape(f"Training: {next(iter(runs))}" if len(runs) == 1 else "Trainings"),
        subtitle=escape(f"task {first.task} · {done} epochs"),
        banner=f'<p class="banner">Not finished: {names}.</p>' if running else "",
        summary="".join(
            f"<div><dt>{escape(label)}</dt><dd>{escape(_in_words(run))}</dd></div>"
            for label, run in runs.items()
        ),
        table=_table(runs),
        key="Validation is of the weights that are kept; the training loss is with dropout and "
        "augmentation, so it can be the higher one.",
        figures=_figures(runs),
        environment=_environment(runs),
        method=_method(runs),
        footer="Made by edgernn report from the runs' run.json.",
    )


def curve_svg(
    runs: dict[str, RunInfo],
    title: str,
    value: Callable[[EpochRecord], float],
    *,
    mark_best: bool = False,
) -> str:
    """Plot a value of every epoch, a curve for each run.

    Args:
        runs: By name.
        title: Of the vertical axis.
        value: What is plotted.
        mark_best: Put a circle on the epoch whose weights are kept.
    """
    values = [value(record) for run in runs.values() for record in run.history]
    last = max(run.epoch for run in runs.values())
    log = min(values) > 0 and max(values) / min(values) > _LOG_FROM
    x = svg.Scale(1, max(last, 2), LEFT + 6, RIGHT - 6)
    y = svg.spread(values, BOTTOM - 6, TOP + 6, log=log, pad=0.04)
    title += " (log scale)" if log else ""
    parts = [
        svg.x_axis(x, "epoch", [(tick, f"{tick:g}") for tick in x.ticks() if tick == int(tick)]),
        svg.y_axis(y, title, [(tick, f"{tick:.3g}") for tick in y.ticks()]),
    ]
    told = []
    for index, (label, run) in enumerate(runs.items()):
        css = svg.colour(index)
        points = [(x(record.epoch), y(value(record))) for record in run.history]
        parts.append(svg.path(points, f"curve {css}"))
        if mark_best and run.best is not None:
            cx, cy = points[run.best.epoch - 1]
            parts.append(
                f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="{_RADIUS}" class="bubble {css}"/>'
            )
        ends = f"{number(value(run.history[0]))} to {number(value(run.history[-1]))}"
        told.append(f"{label}: {ends} in {run.epoch} epochs")
    return svg.figure("".join(parts), f"{title} by epoch. {'; '.join(told)}")


def _label(folder: Path, folders: Sequence[Path]) -> str:
    """Name a run by its folder's last name, or the whole where two end alike."""
    name = folder.resolve().name
    alike = [other for other in folders if other.resolve().name == name]
    return name if len(alike) == 1 else str(folder)


def _network(run: RunInfo) -> str:
    model = run.model
    words = f"{model.cell.upper()} {model.hidden_size}"
    words += f" × {model.layers}" if model.layers > 1 else ""
    words += ", both directions" if model.bidirectional else ""
    return words + (f", {run.qat.precision} while training" if run.qat is not None else "")


def _in_words(run: RunInfo) -> str:
    best = run.best
    assert best is not None
    better = "higher" if run.metric.higher_is_better else "lower"
    stopped = _STOPPED.get(run.stopped, run.stopped).format(patience=run.recipe.patience)
    return (
        f"{_network(run)}: validation {run.metric.name} "
        f"{score(best.validation, run.metric.name)} ({better} is better) in epoch {best.epoch} of "
        f"{run.epoch}; {stopped}."
    )


def _table(runs: dict[str, RunInfo]) -> str:
    metric = next(iter(runs.values())).metric
    heads = ("run", f"best {metric.name}", "in epoch", "epochs", "last training loss",
             "time of an epoch", "whole time")  # fmt: skip
    body = []
    for index, (label, run) in enumerate(runs.items()):
        best = run.best
        assert best is not None
        seconds = [record.seconds for record in run.history]
        loss = run.history[-1].train_loss
        cells = [
            (score(best.validation, metric.name), best.validation),
            (str(best.epoch), best.epoch),
            (str(run.epoch), run.epoch),
            (number(loss), loss),
            (f"{number(statistics.median(seconds))} s", statistics.median(seconds)),
            (f"{number(sum(seconds) / 60)} min", sum(seconds)),
        ]
        shown = "".join(
            f'<td class="num" data-label="{escape(head)}" data-value="{value:.9g}">{words}</td>'
            for head, (words, value) in zip(heads[1:], cells, strict=True)
        )
        swatch = f'<span class="swatch {svg.colour(index)}"></span>'
        body.append(
            f'<tr class="row"><td class="name" data-value="{escape(label)}">{swatch}'
            f"<b>{escape(label)}</b><small>{escape(_network(run))}</small></td>{shown}</tr>"
        )
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _figures(runs: dict[str, RunInfo]) -> str:
    metric = next(iter(runs.values())).metric
    better = "higher" if metric.higher_is_better else "lower"
    validation = curve_svg(runs, metric.name, lambda record: record.validation, mark_best=True)
    plots = (
        ("Validation", f"{better} is better; the circle is what is kept", validation),
        ("Training loss", "", curve_svg(runs, "loss", lambda record: record.train_loss)),
        ("Learning rate", "at the end of each epoch",
         curve_svg(runs, "learning rate", lambda record: record.learning_rate)),
    )  # fmt: skip
    legend = "".join(
        f'<li><span class="swatch {svg.colour(index)}"></span>{escape(label)}</li>'
        for index, label in enumerate(runs)
    )
    cards = "".join(figure(*plot) for plot in plots)
    return (
        f'<h2>Learning curves</h2><ul class="legend">{legend}</ul><div class="plots">{cards}</div>'
    )


def _environment(runs: dict[str, RunInfo]) -> str:
    packages = {
        f"{name} ({label})" if len(runs) > 1 else name: version
        for label, run in runs.items()
        for name, version in run.versions.items()
    }
    if len({tuple(run.versions.items()) for run in runs.values()}) == 1:
        packages = dict(next(iter(runs.values())).versions)
    return environment_facts({"packages": packages})


def _method(runs: dict[str, RunInfo]) -> str:
    lines = []
    for label, run in runs.items():
        recipe = ", ".join(
            f"{name.replace('_', ' ')} {value:g}" for name, value in asdict(run.recipe).items()
        )
        sizes = ", ".join(f"{count:,} {name}" for name, count in run.data["sizes"].items())
        lines.append(
            f"{label}: {recipe}; seed {run.seed}, {run.precision}, {run.processes} "
            f"process{'es' if run.processes > 1 else ''}, {run.steps} steps an epoch; {sizes}."
        )
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in lines)}</ul>"
