"""``edgernn run --encoder``: decode with an encoder-decoder pair."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgernn.cli.inputs import read_inputs
from edgernn.cli.options import print_json

if TYPE_CHECKING:
    from edgernn.pairs import Pair


def decode_and_print(pair: Pair, inputs: Path, width: int, max_steps: int, as_json: bool) -> None:
    """Search for each row of the inputs, and print the tokens of the best sequence."""
    from edgernn.decoding import beam

    found = beam(pair, read_inputs(pair.encoder, inputs), width=width, max_steps=max_steps)
    if as_json:
        print_json({"rows": [[asdict(item) for item in row] for row in found]})
        return
    for row in found:
        best = row[0]
        cut = "" if best.ended else f", cut off after {max_steps} tokens"
        click.echo(f"{' '.join(map(str, best.tokens))} (log-probability {best.score:.4f}{cut})")
