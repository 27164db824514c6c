"""The suite's results as one self-contained page, and as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from edgernn_benchmarks.cells.findings import findings
from edgernn_benchmarks.cells.journal import SCHEMA, Journal
from edgernn_benchmarks.cells.memory import MOMENTS
from edgernn_benchmarks.cells.plan import BASELINE, PRECISIONS, SCENARIOS
from edgernn_benchmarks.cells.plots import gradients_svg, memory_svg
from edgernn_benchmarks.cells.tables import Network, memory_cells, networks, tasks_of
from edgernn_benchmarks.report_format import NOTHING, duration, number, score, size
from edgernn_benchmarks.report_html import day, environment_facts, figure, read_schema, template

_WHEN = {
    "plain": ("Untrained, PyTorch's biases", "as nn.LSTM and nn.GRU begin"),
    "initial": ("Untrained, biases that keep the state", "as the training begins"),
    "trained": ("Trained", "on the adding problem"),
}
_VERDICT = {True: "holds", False: "does not hold", None: ""}


@dataclass(frozen=True)
class Column:
    """One column of the table of part ``choice``.

    Attributes:
        head: Title.
        show: From the network and the precision to text.
    """

    head: str
    show: Callable[[Network, str], str]


def _quality(network: Network, precision: str) -> str:
    values = network.values.get(precision)
    if not values:
        return NOTHING
    mean = score(statistics.fmean(values), network.metric)
    if len(values) == 1:
        return f"{mean} {network.metric}"
    ends = " to ".join(score(value, network.metric) for value in (min(values), max(values)))
    return f"{mean} {network.metric} ({ends})"


def _seconds(value: float) -> str:
    return f"{number(value)} s"


COLUMNS = (
    Column("recurrent weights", lambda n, _: f"{n.recurrent_parameters:,}"),
    Column("quality", _quality),
    Column("file", lambda n, p: size(n.bytes.get(p))),
    Column("flash", lambda n, p: size(n.flash_bytes.get(p))),
    Column("instructions (emulated) a step", lambda n, p: number(n.instructions.get(p), 4)),
    Column("time of a call", lambda n, p: duration(n.p50_us.get(p))),
    Column("time of an epoch", lambda n, p: _seconds(n.epoch_seconds) if p == "float32" else ""),
)


def page_of_cells(path: Path) -> str | None:
    """Render a file of the suite; None if the file is something else.

    Raises:
        InputError: It is the suite's, but damaged or of another version.
    """
    value = read_schema(path, SCHEMA)
    return None if value is None else to_html(Journal.from_json(value, path))


def to_html(journal: Journal) -> str:
    """Render one self-contained page."""
    env = journal.sessions[-1]
    trial = journal.settings.get("epochs")
    banner = '<p class="banner">A trial: the trainings were cut short.</p>' if trial else ""
    return template().substitute(
        title="LSTM, GRU and RNN, measured",
        subtitle=escape(f"{day(str(env.get('time_utc')))} · {env.get('cpu')} · {env.get('os')}"),
        banner=banner,
        summary="".join(
            f"<div><dt>{escape(item.topic)}</dt><dd>{escape(_said(item.text, item.holds))}</dd>"
            f"</div>"
            for item in findings(journal)
        ),
        table=_choice_table(journal),
        key="Equal hidden size, and equal number of recurrent weights. Quality is the mean of the "
        "seeds, with the least and the most. Flash and instructions: emulated Cortex-M4. Times: "
        "this machine, one thread, networks in turns; of an epoch: wall time, median.",
        figures=_figures(journal),
        environment=environment_facts(env),
        method=_method(journal),
        footer="Made by edgernn bench --suite cells. The raw samples are in its JSON file.",
    )  # fmt: skip


def to_markdown(journal: Journal) -> str:
    """Render the findings and the tables."""
    lines = [
        f"- **{item.topic}**: {_said(item.text, item.holds)}".replace("|", "\\|")
        for item in findings(journal)
    ]
    memory = memory_cells(journal)
    if memory:
        lines += ["", *_rows(_MEMORY_HEADS, _memory_rows(journal), left=1)]
    for task in tasks_of(journal):
        rows = _choice_rows(networks(journal, task))
        lines += ["", f"`{task}`, `{SCENARIOS[task]}`:", ""]
        lines += _rows(["network", *(column.head for column in COLUMNS)], rows, left=1)
    return "\n".join(lines) + "\n"


_MEMORY_HEADS = ("cell", "steps", "error of each seed", "solved", "time of an epoch")


def _memory_rows(journal: Journal) -> list[list[str]]:
    return [
        [
            item.cell.upper(),
            str(item.steps),
            ", ".join(number(error, 2) for error in item.errors),
            "yes" if item.solved else "no",
            _seconds(item.epoch_seconds),
        ]
        for item in memory_cells(journal)
    ]


def _choice_rows(found: Sequence[Network]) -> list[list[str]]:
    return [
        [f"{network.label} {precision}", *(column.show(network, precision) for column in COLUMNS)]
        for network in found
        for precision in PRECISIONS
        if precision in network.values
    ]


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: int) -> list[str]:
    marks = ["---" if index < left else "--:" for index in range(len(heads))]
    return ["| " + " | ".join(cells) + " |" for cells in (heads, marks, *rows)]


def _choice_table(journal: Journal) -> str:
    body = []
    for task in tasks_of(journal):
        found = networks(journal, task)
        span = len(COLUMNS) + 1
        call = f"a call: {SCENARIOS[task]}"
        body.append(f'<tr><th colspan="{span}">{escape(task)}<span>{escape(call)}</span></th></tr>')
        body += [_tr(cells) for cells in _choice_rows(found)]
        for network in found:
            body += [
                f'<tr class="row"><td class="reason" colspan="{span}">'
                f"{escape(f'{network.label} on {where}: {error}')}</td></tr>"
                for where, error in network.errors.items()
            ]
    return _table(["network", *(column.head for column in COLUMNS)], body)


def _figures(journal: Journal) -> str:
    parts = []
    plots = [(moment, gradients_svg(journal, moment)) for moment in MOMENTS]
    if any(plot for _, plot in plots):
        parts.append('<h2>How far back a gradient reaches</h2><div class="plots">')
        parts += [figure(*_WHEN[moment], plot) for moment, plot in plots if plot]
        parts.append("</div>")
    if memory_cells(journal):
        plot = figure("Adding problem", "a point for each seed", memory_svg(journal))
        table = _table(_MEMORY_HEADS, [_tr(cells) for cells in _memory_rows(journal)])
        parts.append(
            f'<h2>What is remembered</h2><div class="plots">{plot}'
            f'<div class="card wide">{table}</div></div>'
        )
    return "".join(parts)


def _table(heads: Sequence[str], body: Sequence[str]) -> str:
    top = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _tr(cells: Sequence[str]) -> str:
    name, *others = cells
    numbers = "".join(f'<td class="num">{escape(cell)}</td>' for cell in others)
    return f'<tr class="row"><td class="name"><b>{escape(name)}</b></td>{numbers}</tr>'


def _method(journal: Journal) -> str:
    used = journal.settings
    real = used.get("real_data") or []
    lines = [
        f"Adding problem: the sum of two marked numbers of a row, mean squared error of the "
        f"exported model on 1000 new rows; who always says 1 has {BASELINE:.3f}. Hidden size "
        f"{used.get('hidden_size')}; the same recipe for every cell and length, but that the gates "
        f"begin by keeping their state for up to as many steps as the rows have.",
        f"Gradients: largest singular value of the Jacobian of the last hidden state by the state "
        f"t steps before, float64, {used.get('gradient_rows')} rows of {used.get('gradient_steps')}"
        f" steps a seed, geometric mean.",
        "LSTM against GRU: the recipe of each task for all networks; int8 is calibrated on the "
        "training data, without training on. Real data: "
        f"{', '.join(real) if real else 'none, generated stand-ins'}.",
    ]
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in lines)}</ul>"


def _said(text: str, holds: bool | None) -> str:
    return text if holds is None else f"{text} The claim {_VERDICT[holds]}."
