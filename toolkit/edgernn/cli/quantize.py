"""``edgernn quantize``: quantize an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgernn.cli.options import (
    FILE,
    data_options,
    data_source,
    encoder_option,
    human_bytes,
    json_option,
    model_argument,
    print_json,
)
from edgernn.cli.search import Auto, auto_options, search_and_report
from edgernn.errors import UsageError

if TYPE_CHECKING:
    from edgernn_exporters.quantization import Quantized


@click.command()
@model_argument("source")
@click.option(
    "--precision",
    default="int8-dynamic",
    show_default=True,
    help="fp16, int8-dynamic, int8, w8a16 or int4.",
)
@click.option("-o", "--output", type=FILE, required=True, help="ONNX file to write.")
@click.option(
    "--calibration",
    metavar="DATA",
    help="What int8, w8a16 and int4 find their ranges on: an npz, recordings, or task:NAME.",
)
@click.option("--samples", type=int, help="Calibration sequences to run. Default: 200.")
@click.option("--method", help="How ranges are chosen: minmax (default), percentile or mse.")
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="PATTERN=PRECISION",
    help="Another precision for the layers of these names, such as 'decoder*=w8a16'; may be given "
    "several times, and the last one that fits counts.",
)
@click.option(
    "--keep", multiple=True, metavar="PATTERN", help="Keep the layers of these names in float32."
)
@encoder_option
@data_options
@auto_options
@json_option
def command(
    source: Path,
    precision: str,
    output: Path,
    calibration: str | None,
    samples: int | None,
    method: str | None,
    layers: tuple[str, ...],
    keep: tuple[str, ...],
    encoder: Path | None,
    data: Path | None,
    download: bool,
    holdout: str | None,
    auto: Auto | None,
    as_json: bool,
) -> None:
    """Quantize SOURCE, a float32 ONNX file.

    A PATTERN that fits no layer lists the names of the layers. --data, --download and --holdout
    say where the data of task:NAME comes from.

    With --auto, the precision of each layer is searched for: the smallest file whose metric drops
    by no more than --max-drop. An interrupted search goes on where it was.
    """
    from edgernn import api

    options: dict[str, Any] = {
        "calibration": calibration, "samples": samples, "method": method, "keep": keep,
        "data": data_source(data, download, holdout), "layers": _by_pattern(layers),
    }  # fmt: skip
    if auto is not None:
        if encoder is not None:
            raise UsageError("--encoder is for decoders, which --auto does not search for")
        search_and_report(source, output, auto, as_json, options)
        return
    result = api.quantize(source, output, precision=precision, encoder=encoder, **options)
    for line in result.notes:
        click.echo(f"note: {line}", err=True)
    if as_json:
        print_json({
            "path": str(output), "precision": result.metadata.precision,
            "layers": dict(result.metadata.layers),
            "kept": {item.node: item.reason for item in result.kept},
            "saturation": {name: dict(shares) for name, shares in result.saturation.items()},
            "source_bytes": result.source_bytes, "bytes": result.bytes,
            "notes": list(result.notes),
        })  # fmt: skip
        return
    _print(result, output, precision)


def _by_pattern(given: Sequence[str]) -> dict[str, str]:
    """Read ``PATTERN=PRECISION``; a pattern given twice moves to the end."""
    layers: dict[str, str] = {}
    for text in given:
        pattern, separator, precision = text.rpartition("=")
        if not separator or not pattern or not precision:
            raise UsageError(
                f"--layer takes PATTERN=PRECISION, such as 'head*=w8a16', not {text!r}"
            )
        layers.pop(pattern, None)
        layers[pattern] = precision
    return layers


def _print(result: Quantized, output: Path, precision: str) -> None:
    share = result.bytes / result.source_bytes
    click.echo(
        f"{output}: {precision}, {len(result.layers)} layers, {human_bytes(result.bytes)} "
        f"({share:.1%} of {human_bytes(result.source_bytes)})"
    )
    for name in result.layers:
        if result.metadata.layers[name] != precision:
            click.echo(f"{result.metadata.layers[name]}: {name}")
    for item in result.kept:
        click.echo(f"kept float: {item}")
    for name, shares in result.saturation.items():
        # Pre-activations are left to --json: beyond their limit, sigmoid and tanh are flat anyway.
        clipped = [item for item in shares.items() if item[0] != "pre_activation"]
        if clipped:
            texts = ", ".join(f"{quantity} {part:.2%}" for quantity, part in clipped)
            click.echo(f"clipped: {name}: {texts}")
