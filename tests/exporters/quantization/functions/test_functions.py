"""What holds of every function."""

from __future__ import annotations

import onnx
import pytest

from edgernn.integer import INTEGER
from edgernn_exporters.quantization.functions import DOMAIN, NAMES, OPSET, function, with_callees
from edgernn_exporters.quantization.functions.integer import SUFFIXES


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("opset", [18, OPSET, 23])
def test_functions_use_standard_operators_and_each_other(name: str, opset: int) -> None:
    made = function(name, opset)
    versions = {item.domain: item.version for item in made.opset_import}
    assert versions[""] == opset
    for node in made.node:
        assert not node.HasField("domain") or node.domain == DOMAIN
        if node.domain == DOMAIN:
            assert node.op_type in NAMES
            assert versions[DOMAIN] == 1
        else:
            assert onnx.defs.has(node.op_type)


def test_callees_stand_before_their_callers() -> None:
    assert with_callees(["LinearInt8"]) == ("LinearInt8",)
    assert with_callees(["GRUInt8", "LSTMInt8"]) == (
        "GateTables", "LinearInt8", "GRUInt8", "LSTMInt8"
    )  # fmt: skip


def test_every_integer_precision_has_every_layer() -> None:
    assert SUFFIXES.keys() == INTEGER.keys()
    for suffix in SUFFIXES.values():
        for layer in ("Linear", "Conv", "LSTM", "GRU", "GRUResetBefore", "RNNTanh", "RNNRelu"):
            assert f"{layer}{suffix}" in NAMES
