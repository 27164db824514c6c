"""Quantizing in place, and running calls of our functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgernn.contract import Contract
from edgernn.integer import LayerRange, Ranges
from edgernn.integer.weights import quantize_rows
from edgernn_exporters.quantization.functions import DOMAIN, function, with_callees
from edgernn_exporters.quantization.layers import Choice
from edgernn_exporters.quantization.rewrite import Rewritten, rewrite
from edgernn_exporters.quantization.weights import stored


def rewritten(
    model: onnx.ModelProto,
    precision: str = "int8-dynamic",
    *,
    layers: Mapping[str, str] | None = None,
    keep: Sequence[str] = (),
    ranges: Ranges | None = None,
    contract: Contract | None = None,
) -> Rewritten:
    """Quantize a model in place and check it."""
    choice = Choice(precision, layers or {}, keep)
    done = rewrite(model, choice, ranges=ranges, contract=contract)
    onnx.checker.check_model(model, full_check=True)
    return done


def stored_bytes(weight: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return 8-bit values as files hold them, and scales, of a weight ``[K, N]``."""
    made = quantize_rows(weight, "w")
    return stored(made.values, 8), made.scale


def ranges_for(names: Iterable[str], reach: float = 3.0, *, cell: float = 4.0) -> Ranges:
    """Return the same ranges for all layers."""
    one = LayerRange((-reach,), (reach,), largest_cell=(cell, cell), largest_state=(4.0, 4.0))
    return Ranges(dict.fromkeys(names, one), "minmax", 1, 100)


def with_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Add the functions that a model calls."""
    called = {node.op_type for node in model.graph.node if node.domain == DOMAIN}
    opset = next(item.version for item in model.opset_import if not item.domain)
    model.functions.extend(function(name, opset) for name in with_callees(called))
    onnx.checker.check_model(model, full_check=True)
    return model


def assert_same(got: Mapping[str, NDArray[Any]], want: Mapping[str, NDArray[Any]]) -> None:
    """Compare bits, types and shapes."""
    assert got.keys() == want.keys()
    for name, value in want.items():
        assert got[name].dtype == value.dtype, name
        np.testing.assert_array_equal(got[name], value, err_msg=name)
