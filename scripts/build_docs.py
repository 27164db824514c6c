"""Write docs/cli.md and docs/api.md from the code; a test checks that they are current.

python scripts/build_docs.py
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click

import edgernn
from edgernn import contract, decoding, errors, metadata, pairs, sessions, training
from edgernn.cli import VERBS
from edgernn.cli import edgernn as group
from edgernn.cli.suites import SUITES

DOCS = Path(__file__).parents[1] / "docs"


def cli_page() -> str:
    """Render the help of every verb."""
    context = click.Context(
        group,
        info_name="edgernn",
        max_content_width=88,
        terminal_width=88,
        help_option_names=["-h", "--help"],
    )
    parts = [
        "# Command line\n\nMade by `scripts/build_docs.py` from the code. Progress goes to stderr; "
        "with `--json` a verb prints its result as JSON on stdout.\n",
        _block(group.get_help(context)),
    ]
    commands = {verb: group.get_command(context, verb) for verb in VERBS}
    commands |= {f"bench --suite {name}": command for name, command in SUITES.items()}
    for name, command in commands.items():
        assert command is not None
        inner = click.Context(
            command, info_name=name, parent=context, max_content_width=88, terminal_width=88
        )
        parts.append(f"\n## {name}\n\n{_block(command.get_help(inner))}")
    return "".join(parts)


def api_page() -> str:
    """Render the docstrings of the public names."""
    parts = [
        "# Python API\n\nMade by `scripts/build_docs.py` from the docstrings. Users import one "
        "name, `edgernn`; its attributes load when they are first used.\n"
    ]
    for name in edgernn.__all__:
        parts.append(_entry(f"edgernn.{name}", getattr(edgernn, name)))
    for module, names in (
        (sessions, ("Session", "Stream")),
        (contract, ("Contract", "StateSpec", "StreamSpec", "Axes", "TensorSpec")),
        (metadata, ("Metadata",)),
        (decoding, ("greedy", "beam", "Hypothesis")),
        (pairs, ("Pair", "PairLink")),
        (training, ("to_quantized", "observing", "ranges_of", "to_float")),
        (training, ("QuantLSTM", "QuantGRU", "QuantRNN", "QuantLinear")),
    ):
        for name in names:
            if name not in edgernn.__all__:
                parts.append(_entry(f"{module.__name__}.{name}", getattr(module, name)))
    parts.append(f"\n## Errors\n\n{inspect.getdoc(errors)}\n")
    return "".join(parts)


def _entry(name: str, value: Any) -> str:
    signature = f"{name}{_signature(value)}" if inspect.isfunction(value) else name
    text = f"\n## {name}\n\n{_block(signature)}\n{_block(inspect.getdoc(value) or '')}"
    if inspect.isclass(value):
        for method, member in vars(value).items():
            function = member.fget if isinstance(member, property) else member
            if method.startswith("_") or not inspect.isfunction(function):
                continue
            head = method if isinstance(member, property) else f"{method}{_signature(function)}"
            text += f"\n### {name.rpartition('.')[2]}.{method}\n\n{_block(head)}\n"
            text += _block(inspect.getdoc(function) or "")
    return text


def _signature(function: Any) -> str:
    return str(inspect.signature(function)).replace("'", "")


def _block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```\n"


def main() -> None:
    """Write both pages."""
    (DOCS / "cli.md").write_text(cli_page())
    (DOCS / "api.md").write_text(api_page())


if __name__ == "__main__":
    main()
