from pathlib import Path

import numpy as np
from helpers.graphs import normal
from helpers.operators import Const, Timed, case, check
from onnx import TensorProto

TYPES = {
    "float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int64": TensorProto.INT64,
    "int32": TensorProto.INT32, "int8": TensorProto.INT8, "uint8": TensorProto.UINT8,
    "int16": TensorProto.INT16, "bool": TensorProto.BOOL,
}  # fmt: skip


def test_casts_between_all_types(tmp_path: Path) -> None:
    values = np.array([0, 1, 5, 100])
    cases = [
        case("Cast", values.astype(source), to=target)
        for source in TYPES
        for name, target in TYPES.items()
        if name != source
    ]
    x = normal(0, 3, 4) * np.float32(9)
    cases += [case("Cast", x, to=TensorProto.INT32), case("Cast", x, to=TensorProto.INT64)]
    cases += [case("CastLike", x, Const(np.int32(0)))]
    check(cases, tmp_path)


def test_casts_out_of_range_give_the_nearest_integer(tmp_path: Path) -> None:
    x = np.zeros(4, np.float32)
    cases = [case("Cast", x, to=TensorProto.INT32), case("Cast", x, to=TensorProto.INT64)]
    library = check(cases, tmp_path)
    x = np.float32([3e9, -3e9, 1e30, -1e30])
    got = library.run({"c0_a0": x, "c1_a0": x})
    top = 2**31 - 1
    np.testing.assert_array_equal(got["c0_r0"], [top, -top - 1, top, -top - 1])
    np.testing.assert_array_equal(got["c1_r0"][:3], [3_000_000_000, -3_000_000_000, 2**63 - 1])


def test_linear_quantization(tmp_path: Path) -> None:
    x, scale = normal(0, 2, 3, 4) * np.float32(3), np.float32([0.02, 0.05, 0.1])
    q = np.random.default_rng(1).integers(-128, 127, (2, 3, 4)).astype(np.int8)
    zeros = np.array([3, -4, 5], np.int8)
    one, zero = Const(np.float32(0.04)), Const(np.uint8(120))
    cases = [
        case("QuantizeLinear", x, one, zero),
        case("QuantizeLinear", x, one),
        case("QuantizeLinear", x, Const(scale), Const(zeros), axis=1),
        case("QuantizeLinear", x, Const(np.float32(2.0**-15)), Const(np.int16(0))),
        case("QuantizeLinear", x, one, Const(np.uint16(700))),
        case("DequantizeLinear", q, one, Const(np.int8(7))),
        case("DequantizeLinear", q.astype(np.int16) * 200, one, Const(np.int16(0))),
        case("DequantizeLinear", q, one),
        case("DequantizeLinear", q, Const(scale), Const(zeros), axis=-2),
        case("DequantizeLinear", q.astype(np.int32), one),
    ]
    check(cases, tmp_path)
    x = np.arange(-20, 20, dtype=np.float32) * np.float32(0.5)
    check([case("QuantizeLinear", x, Const(np.float32(1)), Const(np.int8(1)))], tmp_path)


def test_over_time_in_chunks(tmp_path: Path) -> None:
    x = Timed(normal(0, 9, 4), 0)
    cases = [
        case("Cast", x, to=TensorProto.INT64),
        case("QuantizeLinear", x, Const(np.float32(0.1))),
    ]
    check(cases, tmp_path, causal=True, chunk=2)
