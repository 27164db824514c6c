"""Options and small helpers that several verbs share."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgernn.errors import UsageError
from edgernn.tasks.base import DataSource

F = TypeVar("F", bound=Callable[..., Any])

FILE = click.Path(path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
target_option = click.option(
    "--target", default="cpu", show_default=True, help="Where to run; see edgernn doctor."
)
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of the engine; default: its choice."
)
allow_fallback_option = click.option(
    "--allow-fallback",
    is_flag=True,
    help="Target cuda: let operators run on the processor that would not run on the GPU.",
)

isa_option = click.option(
    "--isa",
    help="Target native: avx2 or portable; emulated targets: portable. Default: the best.",
)


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Return text with characters that control a terminal escaped, for names in foreign files."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def model_argument(name: str, **settings: Any) -> Callable[[F], F]:
    """Add an argument for model files; one that nothing has proven is mentioned on stderr."""
    return click.argument(name, type=FILE, callback=mention_unproven, **settings)


def mention_unproven(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """Mention, as the callback of an option for model files, those that nothing has proven."""
    from edgernn.model_props import read_metadata

    for path in dict.fromkeys(value if isinstance(value, tuple) else (value,)):
        metadata = None if path is None else read_metadata(path)
        if metadata is not None and metadata.unproven is not None:
            click.echo(f"warning: {path} is unproven: {metadata.unproven}", err=True)
    return value


def encoder_option(command: F) -> F:
    """Add ``--encoder``."""
    option = click.option(
        "--encoder",
        type=FILE,
        callback=mention_unproven,
        help="Encoder of MODEL, a decoder; default: NAME.encoder.onnx beside it.",
    )
    return option(command)


def data_options(command: F) -> F:
    """Add ``--data``, ``--download`` and ``--holdout``."""
    for option in (
        click.option(
            "--holdout", metavar="NAME", help="Group kept for testing, such as a speaker."
        ),
        click.option("--download", is_flag=True, help="Fetch the real data from their origin."),
        click.option("--data", type=FILE, metavar="DIR", help="Folder with the real data."),
    ):
        command = option(command)
    return command


def data_source(data: Path | None, download: bool, holdout: str | None) -> DataSource:
    """Turn the values of `data_options` into a `DataSource`."""
    return DataSource(folder=data, download=download, holdout=holdout)


def load_options(
    threads: int | None = None, allow_fallback: bool = False, isa: str | None = None
) -> dict[str, Any]:
    """Leave options out that were not given, because not every target takes them."""
    options: dict[str, Any] = {} if threads is None else {"threads": threads}
    if isa is not None:
        options["isa"] = isa
    if allow_fallback:
        options["allow_fallback"] = True
    return options


def is_main_process() -> bool:
    """Tell whether this is the process that prints; accelerate numbers the others from 1."""
    return os.environ.get("RANK", "0") == "0"


def print_json(value: Any) -> None:
    """Print plain values to stdout; a NaN or infinity is an error of ours."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def human_bytes(count: int) -> str:
    """Render a size, such as ``74.6 kB`` (1000 bytes)."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def fix_option(command: F) -> F:
    """Add ``--fix``; `axis_sizes` reads it."""
    option = click.option(
        "--fix", "fixes", multiple=True, metavar="NAME=SIZE", help="Size of a dynamic axis."
    )
    return option(command)


def axis_sizes(fixes: tuple[str, ...]) -> dict[str, int]:
    """Read ``NAME=SIZE``.

    Raises:
        UsageError: A text is something else.
    """
    sizes = {}
    for text in fixes:
        name, _, size = text.partition("=")
        if not name or not size.isdecimal() or int(size) < 1:
            raise UsageError(f"--fix {text!r} is not of the form NAME=SIZE, such as time=100")
        sizes[name] = int(size)
    return sizes
