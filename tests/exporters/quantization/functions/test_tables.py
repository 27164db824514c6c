from __future__ import annotations

import numpy as np
import pytest
from helpers.graphs import run_onnx
from helpers.quantized import with_functions
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgernn.integer import activations
from edgernn_exporters.quantization.functions import DOMAIN
from edgernn_exporters.quantization.functions.tables import LAST


def tables(*, optimized: bool) -> dict[str, NDArray[np.int32]]:
    names = ["sigmoid", "tanh", "magnitude", "p"]
    node = helper.make_node("GateTables", [], names, domain=DOMAIN)
    outputs = [helper.make_tensor_value_info(name, TensorProto.INT32, [None]) for name in names]
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    graph = helper.make_graph([node], "g", [], outputs)
    model = helper.make_model(graph, opset_imports=imports, ir_version=10)
    return run_onnx(with_functions(model), {}, optimized=optimized)


@pytest.mark.parametrize("optimized", [True, False])
def test_tables_hold_the_functions_of_every_number(optimized: bool) -> None:
    found = tables(optimized=optimized)
    p = np.arange(-32767, 32768)
    np.testing.assert_array_equal(found["sigmoid"][p], activations.sigmoid(p))
    np.testing.assert_array_equal(found["tanh"][p], activations.tanh(p))
    np.testing.assert_array_equal(found["p"][p], p)
    assert found["tanh"][-32768] == found["tanh"][-32767]
    a = np.arange(65536)
    want = activations.tanh_of_magnitude(a)
    np.testing.assert_array_equal(found["magnitude"][np.minimum(a, LAST)], want)
