"""``edgernn compile``: turn an ONNX file into a C project."""

from __future__ import annotations

from pathlib import Path

import click

from edgernn.cli.options import (
    FILE,
    axis_sizes,
    fix_option,
    human_bytes,
    json_option,
    model_argument,
    print_json,
)


@click.command()
@model_argument("source")
@click.option("-o", "--output", type=FILE, required=True, help="Folder to write.")
@click.option(
    "--target",
    default="native",
    show_default=True,
    help="Processor that the weights are laid out for: native, cortex-m4, cortex-m7, cortex-m55, "
    "riscv32, aarch64, armv7.",
)
@click.option("--name", help="Prefix of all symbols; default: the file's name.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True,
              help="Sequences that advance together.")  # fmt: skip
@click.option("--chunk", type=click.IntRange(min=1), help="Time steps processed at once.")
@click.option(
    "--max-steps", type=click.IntRange(min=1), help="Longest sequence of a model that looks ahead."
)
@fix_option
@json_option
def command(
    source: Path,
    output: Path,
    target: str,
    name: str | None,
    batch: int,
    chunk: int | None,
    max_steps: int | None,
    fixes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Turn SOURCE, an ONNX file, into a C project that builds and tests itself.

    In the folder: cmake -B b && cmake --build b && ctest --test-dir b
    """
    import json

    from edgernn import api

    project = api.compile(
        source, output, target=target, name=name, batch=batch, chunk=chunk, max_steps=max_steps,
        fixed=axis_sizes(fixes),
    )  # fmt: skip
    if as_json:
        print_json(json.loads(project.to_json()))
        return
    click.echo(f"{output}: C for {project.target}, {project.name}_run in {project.name}.h")
    click.echo(
        f"flash {human_bytes(project.weight_bytes)} of weights, RAM "
        f"{human_bytes(project.state_bytes)} of state and {human_bytes(project.scratch_bytes)} of "
        f"scratch; {project.macs_per_step:,} multiply-accumulates a step"
    )
    for node in project.fallback:
        click.echo(f"by emx-onnx-cgen: {node}")
