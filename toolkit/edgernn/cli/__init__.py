"""The command line: one module for each verb, imported only when it is used."""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib import import_module

import click

from edgernn.errors import EdgernnError

VERBS = {
    "doctor": "Show which targets and tools this machine has",
    "demo": "Train, export, quantize, run and compare on the shipped data",
    "tasks": "List the training tasks",
    "train": "Train a recurrent network for a task",
    "export": "Export a training run or your own module to ONNX",
    "import": "Take in an ONNX file of another program",
    "quantize": "Quantize an ONNX file",
    "compile": "Turn an ONNX file into a C project",
    "inspect": "Show inputs, states, layers and lineage of an ONNX file",
    "run": "Run a model on a file, whole or as a live stream",
    "compare": "Measure how far two models' outputs are apart",
    "evaluate": "Measure a task's metric on a target",
    "bench": "Measure latency, memory, size and accuracy side by side",
    "report": "Make the report page again from a JSON result",
}


_MODULES = {"import": "import_model"}  # where the verb is a word of Python


class _Verbs(click.Group):
    """A group whose commands are imported one at a time, so that ``--help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(
            f"edgernn.cli.{_MODULES.get(cmd_name, cmd_name)}"
        ).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="edgernn")
def edgernn() -> None:
    """Take LSTM, GRU and RNN models from PyTorch to the devices they run on.

    Exit codes: 0 done, 2 usage, 3 bad model or input, 4 target unavailable, 5 accuracy gate
    failed, 6 performance gate failed, 7 interrupted.
    """


def _is_helper_process() -> bool:
    """Tell whether this is one of several training processes, and not the first."""
    return "train" in sys.argv[1:2] and os.environ.get("RANK", "0") != "0"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with the documented code."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that files are cleaned up
    try:
        result = edgernn.main(arguments, prog_name="edgernn", standalone_mode=False)
        sys.stdout.flush()
        code = result if isinstance(result, int) else 0
    except EdgernnError as error:
        if not _is_helper_process():  # those say the same as the main process
            from edgernn.cli.options import printable

            click.echo(f"error: {printable(str(error))}", err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted: nothing was left half-written; run the command again", err=True)
        code = 7
    except BrokenPipeError:  # the reader of a pipe, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
