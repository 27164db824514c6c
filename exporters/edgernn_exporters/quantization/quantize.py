"""Quantize an ONNX file: the verb."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from edgernn.errors import ModelError, UsageError
from edgernn.files import replacing, sha256_of
from edgernn.integer import INTEGER, Ranges
from edgernn.metadata import Metadata
from edgernn.sessions import Session
from edgernn_exporters.onnx_files import read_model, save_model
from edgernn_exporters.quantization.layers import FLOAT, Choice, KeptFloat
from edgernn_exporters.quantization.notes import notes, within_bodies
from edgernn_exporters.quantization.proof import prove_file
from edgernn_exporters.quantization.rewrite import PRECISIONS, Rewritten, rewrite


@dataclass(frozen=True)
class Quantized:
    """Say what a quantization wrote.

    Attributes:
        path: The ONNX file.
        metadata: The metadata in it; ``metadata.layers`` has the precision of every layer.
        layers: Names of the layers that were quantized.
        kept: Layers that stayed float, with the reason.
        source_bytes: Size of the float file.
        bytes: Size of the quantized file.
        saturation: Share of values beyond the ranges of integer layers, by layer and quantity,
            where it is not zero.
        notes: What to know: that ranges are not those of the training, or that layers within
            bodies of other nodes stay float.
    """

    path: Path
    metadata: Metadata
    layers: tuple[str, ...]
    kept: tuple[KeptFloat, ...]
    source_bytes: int
    bytes: int
    saturation: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def quantize(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    precision: str = "int8-dynamic",
    layers: Mapping[str, str] | None = None,
    keep: Sequence[str] = (),
    ranges: Ranges | None = None,
    load: Callable[[Path], Session] | None,
) -> Quantized:
    """Write a quantized version of a float ONNX file.

    Args:
        source: ONNX file in float32, with or without a state contract.
        path: File to write; it appears only when it has been loaded and run.
        precision: A key of `PRECISIONS`, for all layers that nothing else is said of.
        layers: Precisions by pattern of layer names (``*`` and ``?``), ``"float32"`` among them;
            of several that fit, the last one counts.
        keep: Patterns of layers that stay float, whatever ``layers`` says.
        ranges: What goes into the layers, for ``int8``, ``w8a16`` and ``int4``; None for the
            ranges in the file itself, if it was trained with quantization in the loop.
        load: Opens the new file to prove that it runs and, for a causal model, that chunks equal
            the whole sequence; None leaves that out.

    Raises:
        UsageError: There is no such precision, a pattern fits no layer, ranges are needed, or both
            files are the same.
        ModelError: The file cannot be read, is quantized already, or holds nothing to quantize.
        AccuracyGateError: The quantized model does not load or run, or depends on chunking.
        OutputError: The file cannot be written.
    """
    choice = Choice(precision, layers or {}, keep)
    _require_known(choice)
    model, metadata = read_model(source)
    if metadata.precision != FLOAT:
        raise ModelError(
            f"{source} has precision {metadata.precision} already; quantize the float32 file that "
            f"it was made from"
        )
    if Path(source).resolve() == Path(path).resolve():
        raise UsageError(f"{path} is the float32 file itself and would be lost; choose another -o")
    trained = None
    if metadata.ranges is not None:
        trained = Ranges.from_json(metadata.ranges, str(source))
    used = trained if ranges is None else ranges
    inside = within_bodies(model.graph)
    done = rewrite(model, choice, ranges=used, contract=metadata.contract)
    changed = tuple(name for name, given in done.layers.items() if given != FLOAT)
    if not changed:
        reasons = "; ".join([*map(str, done.kept), *inside])
        missing = "it has no LSTM, GRU, RNN, Gemm, MatMul, Conv or embedding with constant weights"
        raise ModelError(f"{source}: nothing to quantize to {precision}: {reasons or missing}")
    source_bytes = Path(source).stat().st_size
    metadata = replace(
        metadata,
        contract=done.contract,
        precision=_common({done.layers[name] for name in changed}),
        layers=done.layers,
        parent=sha256_of(source),
        gate=None,
        ranges=None,
        tools={**metadata.tools, "onnx": onnx.__version__},
    )
    with replacing(path) as temporary:
        save_model(model, metadata, temporary)
        del model
        if load is not None:
            prove_file(temporary, Path(path), load)
    return Quantized(
        path=Path(path),
        metadata=metadata,
        layers=changed,
        kept=done.kept,
        source_bytes=source_bytes,
        bytes=Path(path).stat().st_size,
        saturation=_saturation(done, used),
        notes=(*notes(done.layers, ranges, trained), *inside),
    )


def _require_known(choice: Choice) -> None:
    for precision in (choice.precision, *choice.layers.values()):
        if precision not in PRECISIONS and (precision != FLOAT or precision == choice.precision):
            raise UsageError(f"unknown precision {precision!r}; there are {', '.join(PRECISIONS)}")


def _common(precisions: set[str]) -> str:
    return precisions.pop() if len(precisions) == 1 else "mixed"


def _saturation(done: Rewritten, ranges: Ranges | None) -> dict[str, dict[str, float]]:
    found = ranges.saturation if ranges is not None else {}
    shares = {
        name: {quantity: share for quantity, share in found.get(name, {}).items() if share > 0}
        for name, precision in done.layers.items()
        if precision in INTEGER
    }
    return {name: items for name, items in shares.items() if items}
