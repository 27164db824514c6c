"""``edgernn quantize``: quantize an ONNX file."""

from __future__ import annotations

from pathlib import Path

import click

from edgernn.cli.options import FILE, human_bytes, json_option, print_json


@click.command()
@click.argument("source", type=FILE)
@click.option("--precision", default="int8-dynamic", show_default=True)
@click.option("-o", "--output", type=FILE, required=True, help="ONNX file to write.")
@json_option
def command(source: Path, precision: str, output: Path, as_json: bool) -> None:
    """Quantize SOURCE, a float32 ONNX file."""
    from edgernn import api

    result = api.quantize(source, output, precision=precision)
    if as_json:
        print_json({
            "path": str(output), "precision": precision, "layers": list(result.layers),
            "kept": {item.node: item.reason for item in result.kept},
            "source_bytes": result.source_bytes, "bytes": result.bytes,
        })  # fmt: skip
        return
    share = result.bytes / result.source_bytes
    click.echo(
        f"{output}: {precision}, {len(result.layers)} layers, {human_bytes(result.bytes)} "
        f"({share:.0%} of {human_bytes(result.source_bytes)})"
    )
    for item in result.kept:
        click.echo(f"kept float: {item.node}: {item.reason}")
