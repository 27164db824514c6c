"""``edgernn inspect``: show what an ONNX file is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgernn.cli.options import FILE, human_bytes, json_option, print_json

if TYPE_CHECKING:
    from edgernn_exporters.inspection import Inspection

_LONGEST = 60


@click.command()
@click.argument("path", type=FILE)
@json_option
def command(path: Path, as_json: bool) -> None:
    """Show inputs, outputs, states, recurrent layers, precision, size and lineage of PATH."""
    from edgernn import api

    found = api.inspect(path)
    if as_json:
        print_json(found.to_json())
        return
    meta = found.metadata
    lines = [
        ("file", f"{path}, {human_bytes(found.bytes)}, opset {found.opset}, {found.producer}"),
        ("precision", f"{meta.precision}, {found.parameters:,} parameters{_trained(found)}"),
        *(("input", str(spec)) for spec in found.inputs),
        *(("output", str(spec)) for spec in found.outputs),
        *(("state", text) for text in _states(found)),
    ]
    if meta.contract is None:
        lines.append(("streaming", "no state contract: whole sequences only"))
    else:
        causal = meta.contract.stream.causal
        lines.append(("streaming", "yes, causal" if causal else "no, looks at later inputs"))
    for layer in found.layers:
        attributes = ", ".join(f"{key}={value}" for key, value in layer.attributes.items())
        shown = f" ({attributes})" if attributes else ""
        size = f"{layer.input_size} -> {layer.hidden_size}, {human_bytes(layer.weight_bytes)}"
        within = f", within {layer.within}" if layer.within else ""
        lines.append(("layer", f"{layer.operator} {size}{shown}{within}"))
    if meta.layers:
        lines.append(("layers", ", ".join(f"{name} {kind}" for name, kind in meta.layers.items())))
    elif found.names:
        use = "for --layer and --keep of edgernn quantize"
        lines.append(("layers", f"{', '.join(found.names)} ({use})"))
    lines.append(("operators", ", ".join(f"{n} {op}" for op, n in found.operators.items())))
    if meta.precision != "float32":
        lines.append(
            ("", "names of quantized layers are functions in the file, of standard operators")
        )
    if meta.task:
        lines.append(("task", meta.task))
    if meta.preprocessing:
        values = ", ".join(f"{key}={_short(value)}" for key, value in meta.preprocessing.items())
        lines.append(("preprocessing", values))
    if meta.gate:
        lines.append(("gate", ", ".join(f"{key} {value}" for key, value in meta.gate.items())))
    if meta.pair:
        lines += _pair(found)
    if meta.unproven:
        lines.append(("unproven", meta.unproven))
    if meta.parent:
        lines.append(("made from", f"sha256 {meta.parent}"))
    lines.append(("sha256", found.sha256))
    if meta.tools:
        lines.append(("tools", ", ".join(f"{name} {v}" for name, v in sorted(meta.tools.items()))))
    for label, text in lines:
        click.echo(f"{label:<14}{text}")


def _states(found: Inspection) -> Iterator[str]:
    """Say of each state what its next value is and where it starts."""
    contract = found.metadata.contract
    for spec in found.states:
        state = next(s for s in contract.states if s.input == spec.name) if contract else None
        if state is None:
            yield str(spec)
            continue
        unit = "" if state.scale is None else f", one unit is {_power(state.scale)}"
        yield f"{spec} -> {state.output}, starts at {state.init}{unit}"


def _pair(found: Inspection) -> Iterator[tuple[str, str]]:
    """Say of a decoder how it goes with its encoder."""
    from edgernn.pairs import PairLink

    link = PairLink.from_json(found.metadata.pair, str(found.path))
    yield "decoder of", f"sha256 {link.encoder}"
    for what, names in (("starts at", link.states), ("reads", link.memory)):
        if names:
            parts = (f"{name} = {output}" for name, output in names.items())
            yield "", f"{what} the encoder's outputs: {', '.join(parts)}"
    tokens = {"start": link.start, "end": link.end}
    known = "".join(f", {name} {value}" for name, value in tokens.items() if value is not None)
    yield "", f"tokens go into {link.token}, and {link.logits} come out{known}"


def _power(unit: float) -> str:
    """Render a power of two as such."""
    mantissa, exponent = math.frexp(unit)
    return f"2^{exponent - 1}" if mantissa == 0.5 else f"{unit:g}"


def _trained(found: Inspection) -> str:
    """Say what the layers were trained for, of a file from training with quantization."""
    from edgernn.integer import Ranges

    if found.metadata.ranges is None:
        return ""
    precisions = Ranges.from_json(found.metadata.ranges, str(found.path)).precisions
    return f", trained for {', '.join(dict.fromkeys(precisions.values()))}" if precisions else ""


def _short(value: object) -> str:
    """Render a value, of a long one the beginning; --json has all of it."""
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"
