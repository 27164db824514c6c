"""``edgernn demo``: the whole chain on the shipped data, as the commands a user would type."""

from __future__ import annotations

import shlex
import time
from pathlib import Path

import click

from edgernn.cli.options import FILE
from edgernn.errors import OutputError

TASK = "keywords"


@click.command()
@click.option(
    "-o", "--output", type=FILE, default=Path("demo"), show_default=True, help="Folder to write."
)
@click.option("--epochs", type=click.IntRange(min=1), default=40, show_default=True)
def command(output: Path, epochs: int) -> None:
    """Train a keyword spotter, export, quantize, compile and measure it; ends with a report page.

    A demo that was stopped goes on where it was.
    """
    started = time.monotonic()
    from edgernn.tasks import get_task

    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(f"cannot make folder {output}: {reason}; choose another -o") from None
    wav = get_task(TASK).sample(output)
    run, model, small = output / "run", output / "kw.onnx", output / "kw.int8.onnx"
    report = output / "report.html"
    for arguments in (
        ["train", TASK, "--cell", "gru", "--hidden", "64", "--epochs", str(epochs),
         "--resume", "-o", run],
        ["export", run, "-o", model],
        ["quantize", model, "--precision", "int8", "--calibration", f"task:{TASK}", "-o", small],
        ["inspect", small],
        ["run", model, "--inputs", wav],
        ["run", small, "--inputs", wav, "--stream", "--chunk", "1", "--outputs", output / "y.npz"],
        ["compare", model, small, "--inputs", wav],
        ["evaluate", model],
        ["evaluate", small],
        ["compile", small, "--target", "cortex-m4", "-o", output / "kw"],
        ["bench", model, small, *_targets(),
         "--scenario", "step", "--scenario", "sequence:100", "--duration", "2", "--inputs", wav,
         "--json", output / "report.json", "--report", report],
    ):  # fmt: skip
        _run([str(item) for item in arguments])
    click.echo(f"\ndone in {time.monotonic() - started:.0f} s; open {report}")


def _targets() -> list[str]:
    """Return the options for what the report compares: emulation only where it is installed."""
    from edgernn_runtimes import probe

    names = ["cpu", "cuda", "native"]
    if probe("cortex-m4").available:
        names.append("cortex-m4")
    return [text for name in names for text in ("--target", name)]


def _run(arguments: list[str]) -> None:
    from edgernn.cli import edgernn

    click.echo(click.style(f"\n$ edgernn {shlex.join(arguments)}", bold=True))
    edgernn.main(arguments, prog_name="edgernn", standalone_mode=False)
