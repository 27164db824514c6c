"""``edgernn quantize --auto``: its options, and the search behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from edgernn.cli.limits import COUNT, SHARE, SIZE, TIME
from edgernn.cli.options import FILE, print_json
from edgernn.cli.progress import progress_bar
from edgernn.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_DROP = 0.005

_OPTIONS = (
    click.option("--auto", is_flag=True, help="Search for the precision of each layer."),
    click.option(
        "--max-drop",
        type=SHARE,
        metavar="SHARE",
        help="--auto: largest loss of the task's metric on its validation split: points of an "
        "accuracy, or the relative increase of an error. Default: 0.5%.",
    ),
    click.option(
        "--max-flash",
        type=SIZE,
        metavar="SIZE",
        help="--auto: largest size of the constants in generated C, such as 64k (64,000 bytes) "
        "or 64Ki.",
    ),
    click.option(
        "--max-ram",
        type=SIZE,
        metavar="SIZE",
        help="--auto: largest state and scratch memory of generated C.",
    ),
    click.option(
        "--max-latency",
        type=TIME,
        metavar="TIME",
        help="--auto: longest time of one step on --target, such as 50us.",
    ),
    click.option(
        "--max-instructions",
        type=COUNT,
        metavar="N",
        help="--auto: most instructions of one step on an emulated --target.",
    ),
    click.option(
        "--target",
        help="--auto: what flash and RAM are for, and where a limited latency is measured. "
        "Default: native.",
    ),
    click.option("--task", help="--auto: whose data decides. Default: the one named in the file."),
    click.option(
        "--candidate",
        "candidates",
        multiple=True,
        metavar="PRECISION",
        help="--auto: a precision to choose from, once per precision; float32 always is one. "
        "Default: int4, int8, w8a16, int8-dynamic.",
    ),
    click.option(
        "--trials",
        type=click.IntRange(min=0),
        help="--auto: choices of several layers to measure at most. Default: 64.",
    ),
    click.option("--seed", type=click.IntRange(min=0), help="--auto: of the search. Default: 0."),
    click.option("--report", type=FILE, help="--auto: file for the report page."),
)


@dataclass(frozen=True)
class Auto:
    """Hold the values of the options above; None where one was not given."""

    max_drop: float | None
    max_flash: int | None
    max_ram: int | None
    max_latency: float | None
    max_instructions: int | None
    target: str | None
    task: str | None
    candidates: tuple[str, ...]
    trials: int | None
    seed: int | None
    report: Path | None

    def given(self) -> dict[str, Any]:
        """Return the arguments of `edgernn.api.search` that were given."""
        values = {
            "max_drop": self.max_drop, "max_flash": self.max_flash, "max_ram": self.max_ram,
            "max_latency_us": self.max_latency, "max_instructions": self.max_instructions,
            "target": self.target, "task": self.task, "trials": self.trials, "seed": self.seed,
            "precisions": self.candidates or None,
        }  # fmt: skip
        return {name: value for name, value in values.items() if value is not None}


def auto_options(command: F) -> F:
    """Add the options of a search; the command gets them as ``auto``, None without ``--auto``."""

    @wraps(command)
    def with_auto(*args: Any, **values: Any) -> Any:
        wanted = values.pop("auto")
        mine = {name: values.pop(name) for name in Auto.__dataclass_fields__}
        unused = [name for name, value in mine.items() if value not in (None, ())]
        if unused and not wanted:
            name = unused[0].replace("candidates", "candidate").replace("_", "-")
            raise UsageError(f"--{name} belongs to a search; add --auto")
        if wanted and _was_given("precision"):
            raise UsageError(
                "--precision and --auto exclude each other; say what to choose from with "
                "--candidate"
            )
        return command(*args, auto=Auto(**mine) if wanted else None, **values)

    for option in reversed(_OPTIONS):
        with_auto = option(with_auto)
    return with_auto  # type: ignore[return-value] # click calls it with the same arguments


def _was_given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is not None and source is not ParameterSource.DEFAULT


def search_and_report(
    source: Path, output: Path, auto: Auto, as_json: bool, options: Mapping[str, Any]
) -> None:
    """Search, print the result, and fail if nothing keeps the limits.

    Args:
        source: The float file.
        output: The file to write.
        auto: Values of the options.
        as_json: Print JSON instead of tables.
        options: Further arguments of `edgernn.api.search`.
    """
    from edgernn import api
    from edgernn.cli.search_tables import print_search
    from edgernn.files import check_writable, write_text
    from edgernn_exporters.search import require_precisions

    if auto.candidates:
        require_precisions(auto.candidates)  # now, not after the calibration
    for path in (output, auto.report):
        if path is not None:
            check_writable(path)  # now, not after minutes of measuring
    with progress_bar("preparing") as on_progress:
        result = api.search(source, output, on_progress=on_progress, **auto.given(), **options)
    if as_json:
        print_json(result.to_json())
    else:
        print_search(result, output)
    if auto.report is not None:
        from edgernn_benchmarks.report_search import to_html

        write_text(auto.report, to_html(result))
        click.echo(f"written to {auto.report}", err=as_json)
    result.require_chosen()
