"""Operators that are turned into C here. To add one: write a function, add a line to its table."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from edgernn_exporters.codegen.integer_products import FORMS
from edgernn_exporters.codegen.lowering import Lowering
from edgernn_exporters.codegen.ops import (
    casting,
    convolution,
    convolution_integer,
    elementwise,
    joining,
    linear,
    normalization,
    pooling,
    recurrent,
    recurrent_int8,
    recurrent_integer,
    reduction,
    scan,
    selection,
    shape_arithmetic,
    views,
)
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.quantization.functions import DOMAIN

Lower = Callable[[Lowering, onnx.NodeProto], None]

STANDARD: dict[str, Lower] = {
    **dict.fromkeys(recurrent.GATES, recurrent.recurrent),
    **casting.LOWERINGS,
    **convolution.LOWERINGS,
    **elementwise.LOWERINGS,
    **joining.LOWERINGS,
    **linear.LOWERINGS,
    **normalization.LOWERINGS,
    **pooling.LOWERINGS,
    **reduction.LOWERINGS,
    **scan.LOWERINGS,
    **selection.LOWERINGS,
    **shape_arithmetic.LOWERINGS,
    **views.LOWERINGS,
}
OURS: dict[str, Lower] = {
    **dict.fromkeys(recurrent_int8.KINDS, recurrent_int8.recurrent_int8),
    "LinearInt8Dynamic": linear.linear_int8,
    **dict.fromkeys(recurrent_integer.KINDS, recurrent_integer.recurrent_integer),
    **convolution_integer.LOWERINGS,
    **{f"Linear{suffix}": linear.linear_integer for suffix in FORMS},
}


def find(node: onnx.NodeProto) -> Lower | None:
    """Return what lowers a node, or None if there is nothing."""
    if node.domain == DOMAIN:
        return OURS.get(node.op_type)
    if node.domain not in ("", "ai.onnx"):
        return None
    known = STANDARD.get(node.op_type)
    folds = node.op_type in shape_arithmetic.FOLDS
    return _of_sizes_or(known) if folds else known


def _of_sizes_or(known: Lower | None) -> Lower:
    """Return a lowering that first tries to compute sizes now, then in C like other data."""

    def lower(lowering: Lowering, node: onnx.NodeProto) -> None:
        try:
            if shape_arithmetic.fold(lowering, node):
                return
        except NotLoweredError:
            if known is None:
                raise
        if known is None:
            raise NotLoweredError("no kernel for this operator")
        known(lowering, node)

    return lower
