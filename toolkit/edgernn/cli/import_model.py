"""``edgernn import``: take in an ONNX file of another program."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgernn.cli.limits import SIZE
from edgernn.cli.options import (
    FILE,
    human_bytes,
    json_option,
    model_argument,
    print_json,
    printable,
)
from edgernn.errors import UsageError

if TYPE_CHECKING:
    from edgernn.contract import Axes, Contract
    from edgernn_exporters.onnx_import.importing import Described, Imported


@click.command()
@model_argument("source")
@click.option("-o", "--output", type=FILE, required=True, help="ONNX file to write.")
@click.option(
    "--fix",
    "fixes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Make an input a constant, such as sr=16000 or 'mask=[1,0]', or give a dynamic axis a "
    "size, such as batch=1; may be given several times.",
)
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="IN=OUT",
    help="Output OUT is the next value of input IN; may be given several times. What is not given "
    "is inferred.",
)
@click.option("--inputs", type=FILE, help="npz with inputs for the proof, beside random ones.")
@click.option("-y", "--yes", is_flag=True, help="Take the inferred contract without asking.")
@click.option("--no-gate", is_flag=True, help="Write the file without a proof, marked unproven.")
@click.option(
    "--max-file", type=SIZE, metavar="SIZE", help="Largest ONNX file to read. Default: 1024Mi."
)
@click.option(
    "--max-tensor",
    type=SIZE,
    metavar="SIZE",
    help="Most bytes of all constants together, and of any value. Default: 1024Mi.",
)
@json_option
def command(
    source: Path,
    output: Path,
    fixes: tuple[str, ...],
    states: tuple[str, ...],
    inputs: Path | None,
    yes: bool,
    no_gate: bool,
    max_file: int | None,
    max_tensor: int | None,
    as_json: bool,
) -> None:
    """Write SOURCE, an ONNX file of another program, in the form that the other verbs work with.

    What is constant is folded, the opset raised, unrolled cells become recurrent nodes again, and
    states are found, so that the model streams. The file is written only after both have computed
    the same from random inputs, and over 1000 steps with states fed back.
    """
    from edgernn import api
    from edgernn.npz import read_npz
    from edgernn_exporters.onnx_import.limits import DEFAULT, Limits

    ask = not yes and not as_json and _is_terminal()
    result = api.import_onnx(
        source, output, fix={name: _value(name, text) for name, text in _pairs("--fix", fixes)},
        states=dict(_pairs("--state", states)),
        inputs=None if inputs is None else read_npz(inputs), gate=not no_gate,
        confirm=_confirmed if ask else None,
        limits=Limits(DEFAULT.file_bytes if max_file is None else max_file,
                      DEFAULT.tensor_bytes if max_tensor is None else max_tensor),
    )  # fmt: skip
    if as_json:
        print_json(_json(result))
        return
    if not ask:
        _show(result.described)
    _report(result)


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _pairs(option: str, given: Sequence[str]) -> Iterator[tuple[str, str]]:
    seen = set()
    for text in given:
        name, separator, value = text.rpartition("=")
        if not separator or not name or not value:
            raise UsageError(f"{option} takes NAME=VALUE, not {text!r}")
        if name in seen:
            raise UsageError(f"{option} names {name!r} twice; give it once")
        seen.add(name)
        yield name, value


def _value(name: str, text: str) -> Any:
    """Read a number, ``true``, ``false`` or a list of them."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, int | float | list):
        raise UsageError(f"--fix {name}={text}: give a number, or a list such as [1,2]")
    return value


def _confirmed(described: Described) -> bool:
    _show(described)
    return click.confirm("Is that right?", default=True)


def _show(described: Described) -> None:
    """Print what the model takes, gives and remembers."""
    for note in described.notes:
        click.echo(f"note: {_line(note)}", err=True)
    for label, text in _lines(described):
        click.echo(f"{label:<14}{_line(text)}")


def _line(text: str) -> str:
    """Return text, with names that the file chose, as one line that controls no terminal."""
    return printable(text).replace("\n", "\\n")


def _lines(described: Described) -> Iterator[tuple[str, str]]:
    contract = described.contract
    axes = {} if contract is None else {**contract.stream.inputs, **contract.stream.outputs}
    for spec in described.inputs:
        lengths = contract is not None and contract.stream.lengths == spec.name
        note = ", valid time steps of each row" if lengths else _axes(axes.get(spec.name))
        yield "input", f"{spec}{note}"
    for spec in described.outputs:
        yield "output", f"{spec}{_axes(axes.get(spec.name))}"
    if contract is None:
        yield "streaming", "no states were found: whole sequences only"
        return
    for spec, state in zip(described.states, contract.states, strict=True):
        yield (
            "state",
            (f"{spec} -> {state.output}, starts at {state.init}, batch axis {state.batch_axis}"),
        )
    yield "streaming", "yes, causal" if contract.stream.causal else "no, looks at later inputs"


def _axes(place: Axes | None) -> str:
    if place is None:
        return ""
    known = [f"{name} axis {axis}" for name, axis in (("batch", place.batch), ("time", place.time))
             if axis is not None]  # fmt: skip
    return f", {', '.join(known)}" if known else ""


def _report(result: Imported) -> None:
    click.echo(
        f"{result.path}: {human_bytes(result.bytes)}, from {human_bytes(result.source_bytes)}"
    )
    proof = result.proof
    if proof is None:
        click.echo("not proven: nothing shows that it computes what the original does")
        return
    fed_back = f", {proof.steps} steps with states fed back" if proof.steps else ""
    click.echo(
        f"proven against the original in {proof.against}: {proof.cases} comparisons{fed_back}, "
        f"largest error {proof.max_error:.1e} (allowed {proof.tolerance:.1e})"
    )


def _json(result: Imported) -> dict[str, Any]:
    described, contract = result.described, result.described.contract
    return {
        "path": str(result.path),
        "bytes": result.bytes,
        "source_bytes": result.source_bytes,
        "inputs": [str(spec) for spec in described.inputs],
        "outputs": [str(spec) for spec in described.outputs],
        "contract": None if contract is None else _contract(contract),
        "notes": list(described.notes),
        "gate": dict(result.metadata.gate) if result.metadata.gate else None,
        "unproven": result.metadata.unproven,
    }


def _contract(contract: Contract) -> dict[str, Any]:
    states, stream = contract.to_json()
    return {"state": states, "stream": stream}
