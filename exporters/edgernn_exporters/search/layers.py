"""Which layers a model has, which precisions each may have, and how a choice becomes a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from glob import escape
from pathlib import Path

import onnx

from edgernn.errors import ModelError, UsageError
from edgernn.integer import Ranges
from edgernn.sessions import Session
from edgernn_exporters.onnx_files import read_model
from edgernn_exporters.quantization import PRECISIONS, Quantized, quantize
from edgernn_exporters.quantization.layers import FLOAT, Choice, KeepError, name_of
from edgernn_exporters.search.footprint import tensor_bytes
from edgernn_exporters.search.result import LayerInfo

_ANY = "any"  # of a layer that nothing is said of


def require_precisions(precisions: Sequence[str]) -> None:
    """Check what may be chosen.

    Raises:
        UsageError: There is no such precision, or none is given.
    """
    if unknown := sorted(set(precisions) - set(PRECISIONS)):
        raise UsageError(
            f"unknown precision {', '.join(unknown)}; there are {', '.join(PRECISIONS)}"
        )
    if not precisions:
        raise UsageError("name at least one precision to choose from")


class Quantizer:
    """Write a float file with a precision for each layer.

    Args:
        source: ONNX file in float32.
        ranges: From calibration or training; None for precisions that need none.
        precisions: What may be chosen.

    Raises:
        UsageError: There is no such precision, or none is given.
    """

    def __init__(self, source: Path, ranges: Ranges | None, precisions: Sequence[str]) -> None:
        require_precisions(precisions)
        self.source = source
        self.precisions = tuple(dict.fromkeys(precisions))
        self._ranges = ranges

    def uniform(self, precision: str, path: Path) -> Quantized:
        """Write a file with one precision in every layer that can have it."""
        return quantize(self.source, path, precision=precision, ranges=self._ranges, load=None)

    def write(
        self, by_layer: Mapping[str, str], path: Path, *, load: Callable[[Path], Session] | None
    ) -> Quantized:
        """Write a file with a precision for each layer, at least one of them not float.

        Args:
            by_layer: Precision by the layer's name.
            path: File to write.
            load: Opens it to prove that it runs; None leaves that out.
        """
        chosen = [precision for precision in by_layer.values() if precision != FLOAT]
        return quantize(
            self.source,
            path,
            precision=max(dict.fromkeys(chosen), key=chosen.count),
            layers={escape(name): precision for name, precision in by_layer.items()},
            ranges=self._ranges,
            load=load,
        )


def layers_of(
    quantizer: Quantizer, scratch: Path, fixed: Mapping[str, str], keep: Sequence[str]
) -> dict[str, LayerInfo]:
    """Find the layers that can be quantized, by quantizing all of them to each precision.

    Args:
        quantizer: Of the model.
        scratch: File to write to.
        fixed: Precision of layers by name pattern, instead of all precisions.
        keep: Patterns of layers that stay float.

    Raises:
        UsageError: A pattern fits no layer, or a layer cannot have its fixed precision.
        ModelError: No layer can be quantized.
    """
    options: dict[str, list[str]] = {}
    reasons: dict[str, dict[str, str]] = {}
    refused: list[str] = []
    wanted = dict.fromkeys([*quantizer.precisions, *fixed.values()])
    for precision in wanted:
        if precision == FLOAT:
            continue
        try:
            done = quantizer.uniform(precision, scratch)
        except ModelError as error:
            refused.append(f"{precision}: {str(error).removeprefix(f'{quantizer.source}: ')}")
            continue
        for name, got in done.metadata.layers.items():
            options.setdefault(name, [])
            if got == precision:
                options[name].append(precision)
        for item in done.kept:
            reasons.setdefault(item.node, {})[precision] = item.reason
    if not options:
        raise ModelError(f"{quantizer.source}: nothing to choose from: {'; '.join(refused)}")
    model, _ = read_model(quantizer.source)
    nodes = {name_of(node): node for node in model.graph.node}
    sizes = {tensor.name: tensor_bytes(tensor) for tensor in model.graph.initializer}
    choice = Choice(_ANY, fixed, keep)
    choice.check(list(options))
    layers = {}
    for name in sorted(options, key=list(nodes).index):
        layers[name] = LayerInfo(
            operator=nodes[name].op_type,
            float_bytes=_constant_bytes(nodes[name], sizes),
            options=_allowed(name, quantizer.precisions, options[name], choice),
            reasons=reasons.get(name, {}),
        )
    if all(info.options == (FLOAT,) for info in layers.values()):
        raise UsageError("every layer is kept float; leave a layer to choose for")
    return layers


def _allowed(
    name: str, precisions: Sequence[str], possible: Sequence[str], wanted: Choice
) -> tuple[str, ...]:
    """Return the precisions to choose from for one layer; a single one if it is fixed."""
    try:
        fixed = wanted.of(name)
    except KeepError:
        return (FLOAT,)
    if fixed == _ANY:
        return (*(precision for precision in possible if precision in precisions), FLOAT)
    if fixed not in possible:
        raise UsageError(f"layer {name!r} cannot be quantized to {fixed}")
    return (fixed,)


def _constant_bytes(node: onnx.NodeProto, sizes: Mapping[str, int]) -> int:
    return sum(sizes.get(name, 0) for name in dict.fromkeys(node.input))
