"""``edgernn export``: a training run or the user's own module to ONNX."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgernn.cli.options import FILE, human_bytes, json_option, print_json
from edgernn.errors import ModelError, UsageError
from edgernn.extras import needs
from edgernn.files import sha256_of
from edgernn.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgernn_exporters.pytorch.pair import ExportedPair


@click.command()
@click.argument("source")
@click.option("-o", "--output", type=FILE, required=True, help="ONNX file to write.")
@click.option("--checkpoint", type=FILE, help="safetensors file for your own module.")
@click.option(
    "--example",
    multiple=True,
    metavar="SIZES[:DTYPE]",
    help="Example input of your own module, such as 1,100,40 or 1,100:int64; once per input.",
)
@click.option("--opset", type=int, help="ONNX operator set version; default: 20.")
@click.option(
    "--tolerance",
    type=float,
    help="Of the gate; default: 1e-5, or more where PyTorch's own rounding is.",
)
@click.option("--not-causal", is_flag=True, help="Whole sequences only: no chunks, no steps.")
@click.option(
    "--axes",
    multiple=True,
    metavar="INPUT=AXES",
    help="Axes of an input that are not found, such as x=batch,time,_ (_ is a fixed size).",
)
@click.option(
    "--state",
    multiple=True,
    metavar="IN=OUT",
    help="Argument of forward that is a state, and the output that is its next value; or none.",
)
@click.option("--no-gate", is_flag=True, help="Write the file without proving it, marked so.")
@json_option
def command(
    source: str,
    output: Path,
    checkpoint: Path | None,
    example: tuple[str, ...],
    opset: int | None,
    tolerance: float | None,
    not_causal: bool,
    axes: tuple[str, ...],
    state: tuple[str, ...],
    no_gate: bool,
    as_json: bool,
) -> None:
    """Export SOURCE, a run folder or MODULE:FUNCTION, to one ONNX graph that streams.

    The file is written only after PyTorch and ONNX Runtime agree at other lengths and batch
    sizes, and whole sequences equal chunks and single steps. --no-gate writes it unproven.
    """
    from edgernn import api

    if tolerance is not None and not 0 < tolerance < float("inf"):
        raise UsageError(f"--tolerance {tolerance} must be a number above 0, such as 1e-5")
    if tolerance is not None and no_gate:
        raise UsageError("--tolerance is the gate's, and --no-gate leaves the gate out; give one")
    options: dict[str, Any] = {"tolerance": tolerance, "gate": not no_gate}
    if opset is not None:
        options["opset"] = opset
    if not_causal:
        options["causal"] = False
    if ":" in source and not Path(source).exists():
        if not example:
            raise UsageError("your own module needs --example, such as --example 1,100,40")
        with needs("export"):
            module = _build(source, checkpoint)
            args = tuple(_example(text) for text in example)
        if axes:
            options["axes"] = dict(_axes(text) for text in axes)
        if state:
            options["states"] = {} if state == ("none",) else dict(_state(text) for text in state)
        parent = None if checkpoint is None else sha256_of(checkpoint)
        result = api.export(module, args, output, metadata=Metadata(parent=parent), **options)
    else:
        if checkpoint or example or axes or state:
            raise UsageError(
                f"--checkpoint, --example, --axes and --state go with MODULE:FUNCTION, but "
                f"{source!r} is taken for a run folder"
            )
        made = api.export_run(source, output, **options)
        from edgernn_exporters.pytorch.export import Exported

        if not isinstance(made, Exported):
            _print_pair(made, as_json)
            return
        result = made
    contract = result.metadata.contract
    assert contract is not None
    names = [item.input for item in contract.states]
    if as_json:
        passed = result.metadata.gate
        print_json(
            {"path": str(output), "bytes": output.stat().st_size, "states": names,
             "causal": contract.stream.causal, "gate": None if passed is None else dict(passed),
             "unproven": result.metadata.unproven, "notes": list(result.notes)}
        )  # fmt: skip
        return
    held = f"states {', '.join(names)}" if names else "no states"
    click.echo(f"{output}: {human_bytes(output.stat().st_size)}, {held}")
    for note in result.notes:
        click.echo(note)
    if example and checkpoint is None:
        click.echo(f"no --checkpoint: the weights are those that {source} made")
    gate = result.gate
    if gate is None:
        click.echo("not proven: nothing shows that the file computes what PyTorch does (--no-gate)")
        return
    click.echo(
        f"gate passed: {gate.cases} comparisons, largest error {gate.max_error:.1e} "
        f"(allowed {gate.tolerance:.1e}, PyTorch's own rounding {gate.rounding:.1e})"
    )


def _print_pair(made: ExportedPair, as_json: bool) -> None:
    paths = [made.encoder.path, made.decoder.path]
    sizes = [path.stat().st_size for path in paths]
    gate = made.decoder.metadata.gate
    if as_json:
        print_json({"paths": [str(path) for path in paths], "bytes": sizes, "gate": gate})
        return
    for path, size in zip(paths, sizes, strict=True):
        click.echo(f"{path}: {human_bytes(size)}")
    if made.gate is None:
        click.echo("not proven: nothing shows that the files compute what PyTorch does (--no-gate)")
        return
    click.echo(
        f"gate passed, the two together: {made.gate.cases} comparisons, largest error "
        f"{made.gate.max_error:.1e} (allowed {made.gate.tolerance:.1e})"
    )


def _axes(text: str) -> tuple[str, tuple[str | None, ...]]:
    """Read ``x=batch,time,_``."""
    name, equals, words = text.partition("=")
    axes = tuple(None if word == "_" else word for word in words.split(","))
    if not name or not equals or "" in axes:
        raise UsageError(f"--axes {text!r} is not INPUT=AXES, such as x=batch,time,_")
    return name, axes


def _state(text: str) -> tuple[str, str]:
    """Read ``h=hn``."""
    name, _, output = text.partition("=")
    if not name or not output:
        raise UsageError(f"--state {text!r} is not IN=OUT, such as h=hn, or none")
    return name, output


def _build(source: str, checkpoint: Path | None) -> nn.Module:
    """Import ``package.module:function`` from the current folder and call it."""
    from torch import nn

    from edgernn.training import load_weights

    name, _, attribute = source.partition(":")
    if not name or not attribute or name.startswith("."):
        raise UsageError(f"{source!r} is not MODULE:FUNCTION, such as mypackage.mymodule:build")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"cannot import {name!r} ({error}); run this in the folder that holds it, or install it"
        ) from None
    except Exception as error:  # the user's code may raise anything
        raise ModelError(f"importing {name!r} failed: {_one_line(error)}; mend it first") from None
    if not hasattr(found, attribute):
        raise UsageError(f"module {name!r} has no {attribute!r}")
    build = getattr(found, attribute)
    try:
        module = build if isinstance(build, nn.Module) else build()
    except Exception as error:  # likewise
        reason = f"{_one_line(error)}; it is called without arguments"
        raise ModelError(f"{source} failed: {reason}") from None
    if not isinstance(module, nn.Module):
        raise ModelError(f"{source} returned {type(module).__name__}, not a torch.nn.Module")
    if checkpoint is not None:
        load_weights(module, checkpoint)
    return module


def _one_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _example(text: str) -> Tensor:
    """Make an example tensor from ``1,100,40`` or ``1,100:int64``."""
    import torch

    sizes, _, kind = text.partition(":")
    dtype = getattr(torch, kind or "float32", None)
    try:
        shape = [int(size) for size in sizes.split(",")]
    except ValueError:
        shape = []
    if not shape or min(shape) < 1 or not isinstance(dtype, torch.dtype):
        raise UsageError(
            f"--example {text!r} is not SIZES[:DTYPE], such as 1,100,40 or 1,100:int64"
        )
    if dtype.is_floating_point:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    return torch.arange(math.prod(shape)).reshape(shape).remainder(2).to(dtype)  # ids 0 and 1
