"""``edgernn run --encoder``: decode with an encoder-decoder pair."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from edgernn.cli.options import print_json
from edgernn.decoding import as_symbols

if TYPE_CHECKING:
    from edgernn.pairs import Pair
    from edgernn.sessions import Arrays


def decode_and_print(pair: Pair, inputs: Arrays, width: int, max_steps: int, as_json: bool) -> None:
    """Search for each row of the inputs, and print the best sequence in the task's words."""
    from edgernn.decoding import beam

    found = beam(pair, inputs, width=width, max_steps=max_steps)
    metadata, answer = pair.encoder.metadata, None
    if metadata.task is not None and metadata.preprocessing is not None:
        from edgernn.tasks import get_task

        symbols = as_symbols([row[0].tokens for row in found])
        answer = get_task(metadata.task).answer({"y": symbols}, metadata.preprocessing)
    if as_json:
        rows = [[asdict(item) for item in row] for row in found]
        print_json({"rows": rows} if answer is None else {"rows": rows, "answer": answer})
        return
    if answer is not None:
        click.echo(answer)
        return
    for row in found:
        best = row[0]
        cut = "" if best.ended else f", cut off after {max_steps} tokens"
        click.echo(f"{' '.join(map(str, best.tokens))} (log-probability {best.score:.4f}{cut})")
