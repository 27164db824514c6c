"""``edgernn run``: run a model on a user's file, whole or as a live stream."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgernn.cli.options import (
    FILE,
    allow_fallback_option,
    isa_option,
    json_option,
    load_options,
    mention_unproven,
    model_argument,
    print_json,
    target_option,
    threads_option,
)
from edgernn.errors import UsageError

if TYPE_CHECKING:
    from edgernn.sessions import Arrays, Session


DEFAULT_STEPS = 100


@click.command()
@model_argument("model")
@target_option
@click.option("--inputs", type=FILE, required=True, help="npz with arrays by input name, or a wav.")
@click.option("--outputs", type=FILE, help="npz to write, with arrays by output name.")
@click.option("--stream", is_flag=True, help="Feed the sequence as a live stream.")
@click.option(
    "--encoder", type=FILE, callback=mention_unproven, help="Encoder of MODEL, a decoder."
)
@click.option(
    "--beam", type=click.IntRange(min=1), help="With --encoder: sequences to keep; default: 1."
)
@click.option(
    "--max-steps", type=click.IntRange(min=1), help="With --encoder: most tokens; default: 100."
)
@click.option(
    "--chunk", type=click.IntRange(min=1), help="Time steps of each call of a stream; default: 1."
)
@threads_option
@isa_option
@allow_fallback_option
@json_option
def command(
    model: Path,
    target: str,
    inputs: Path,
    outputs: Path | None,
    stream: bool,
    encoder: Path | None,
    beam: int | None,
    max_steps: int | None,
    chunk: int | None,
    threads: int | None,
    isa: str | None,
    allow_fallback: bool,
    as_json: bool,
) -> None:
    """Run MODEL on a file; a model of a task also takes that task's files, such as a wav.

    With --encoder, MODEL is a decoder: prints the tokens that it finds for each row of the inputs.
    """
    from edgernn import api
    from edgernn.cli.counts import counts_of, render_counts
    from edgernn.cli.inputs import read_inputs
    from edgernn.npz import write_npz
    from edgernn.streaming import run_in_chunks

    if chunk is not None and not stream:
        raise UsageError("--chunk goes with a live stream; add --stream")
    if encoder is not None:
        from edgernn.cli.decode import decode_and_print

        if stream or outputs is not None:
            raise UsageError("--encoder prints tokens; leave --stream and --outputs out")
        pair = api.open_pair(encoder, model, target, **load_options(threads, allow_fallback, isa))
        decode_and_print(pair, inputs, beam or 1, max_steps or DEFAULT_STEPS, as_json)
        return
    if beam is not None or max_steps is not None:
        raise UsageError("--beam and --max-steps are for a decoder; add --encoder")
    session = api.load(model, target, **load_options(threads, allow_fallback, isa))
    given = read_inputs(session, inputs)
    results = run_in_chunks(session, given, chunk or 1) if stream else session.run(given)
    if outputs is not None:
        write_npz(outputs, results)
    answer, counts = _answer(session, results), counts_of(session)
    if as_json:
        print_json({
            "outputs": {name: list(value.shape) for name, value in results.items()},
            "file": None if outputs is None else str(outputs),
            "answer": answer,
            **({} if counts is None else {"emulated": counts}),
        })  # fmt: skip
        return
    for name, value in results.items():
        click.echo(f"{name} {value.dtype} {list(value.shape)}")
    if outputs is not None:
        click.echo(f"written to {outputs}")
    if answer is not None:
        click.echo(f"answer: {answer}")
    if counts is not None:
        click.echo(render_counts(target, counts))


def _answer(session: Session, results: Arrays) -> str | None:
    if session.metadata.task is None:
        return None
    from edgernn.tasks import get_task

    return get_task(session.metadata.task).answer(results)
