"""``edgernn run``: run a model on a user's file, whole or as a live stream."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgernn.cli.options import (
    FILE,
    allow_fallback_option,
    encoder_option,
    isa_option,
    json_option,
    load_options,
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
@click.option("--inputs", type=FILE, help="npz with arrays by input name, or a file of the task.")
@click.option("--text", help="Sentence instead of --inputs, for models of tasks that take one.")
@click.option("--outputs", type=FILE, help="npz to write, with arrays by output name.")
@click.option("--stream", is_flag=True, help="Feed the sequence as a live stream.")
@encoder_option
@click.option(
    "--beam", type=click.IntRange(min=1), help="Of a decoder: sequences to keep; default: 1."
)
@click.option(
    "--max-steps",
    type=click.IntRange(min=1),
    help="Most tokens of a decoder, or characters to go on with; default: 100.",
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
    inputs: Path | None,
    text: str | None,
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

    Where MODEL is the decoder of a pair, prints what it finds for each row of the inputs.
    """
    from edgernn import api
    from edgernn.cli.counts import counts_of, render_counts
    from edgernn.cli.inputs import read_inputs, read_text
    from edgernn.npz import write_npz
    from edgernn.pairs import lone_decoder
    from edgernn.streaming import run_in_chunks

    if chunk is not None and not stream:
        raise UsageError("--chunk goes with a live stream; add --stream")
    if (inputs is None) == (text is None):
        raise UsageError("give the model either a file with --inputs or a sentence with --text")

    def read(session: Session) -> Arrays:
        if text is not None:
            return read_text(session, text)
        assert inputs is not None
        return read_inputs(session, inputs)

    options = load_options(threads, allow_fallback, isa)
    if (encoder := encoder or api.encoder_of(model)) is not None:
        from edgernn.cli.decode import decode_and_print

        if stream or outputs is not None:
            raise UsageError("a decoder's tokens are printed; leave --stream and --outputs out")
        pair = api.open_pair(encoder, model, target, **options)
        given = read(pair.encoder)
        decode_and_print(pair, given, beam or 1, max_steps or DEFAULT_STEPS, as_json)
        return
    if beam is not None:
        raise UsageError("--beam is for a decoder; add --encoder")
    session = api.load(model, target, **options)
    if text is not None and session.metadata.pair is not None:
        raise lone_decoder(str(model))
    if text is not None and (further := _go_on(session, text, max_steps or DEFAULT_STEPS)):
        print_json({"text": text + further}) if as_json else click.echo(text + further)
        return
    if max_steps is not None:
        raise UsageError("--max-steps is for a decoder, or a model that goes on with --text")
    given = read(session)
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
    metadata = session.metadata
    if metadata.task is None or metadata.preprocessing is None:
        return None
    from edgernn.tasks import get_task

    return get_task(metadata.task).answer(results, metadata.preprocessing)


def _go_on(session: Session, text: str, count: int) -> str | None:
    """Return what the model writes behind a text, or None if its task is another."""
    if session.metadata.task is None:
        return None
    from edgernn.tasks import get_task
    from edgernn.tasks.base import WritesOn

    task = get_task(session.metadata.task)
    return task.go_on(session, text, count=count) if isinstance(task, WritesOn) else None
