from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import make_model, normal
from helpers.models import write_model

from edgernn.errors import AccuracyGateError, ModelError, UsageError
from edgernn.streaming import run_in_chunks
from edgernn_exporters.inspection import inspect
from edgernn_exporters.quantization import quantize
from edgernn_runtimes import load

open_cpu = partial(load, target="cpu", threads=1)
CELLS = ["lstm", "gru", "rnn"]


@pytest.fixture(params=CELLS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    source = write_model(tmp_path / "a.onnx", cell=request.param, layers=2, task="keywords")
    quantize(source, tmp_path / "a.int8.onnx", load=open_cpu)
    return source, tmp_path / "a.int8.onnx"


def test_whole_and_chunked_runs_are_near_the_float_model(pair: tuple[Path, Path]) -> None:
    inputs = {"x": normal(1, 3, 40, 8)}
    before, after = (open_cpu(path) for path in pair)
    want, got = before.run(inputs)["y"], after.run(inputs)["y"]
    assert 0 < np.abs(want - got).max() < 0.05 * np.abs(want).max()
    for chunk in (1, 3, 40):
        np.testing.assert_array_equal(run_in_chunks(after, inputs, chunk)["y"], got)


def test_contract_task_and_lineage_are_handed_on(pair: tuple[Path, Path]) -> None:
    before, after = (inspect(path) for path in pair)
    assert after.metadata.contract == before.metadata.contract
    assert after.metadata.task == "keywords"
    assert after.metadata.precision == "int8-dynamic"
    assert after.metadata.parent == before.sha256
    assert [layer.hidden_size for layer in after.layers] == [16, 16]
    onnx.checker.check_model(onnx.load(pair[1]), full_check=True)


def test_quantizing_is_deterministic(pair: tuple[Path, Path]) -> None:
    quantize(pair[0], pair[0].with_name("again.onnx"), load=None)
    assert pair[0].with_name("again.onnx").read_bytes() == pair[1].read_bytes()


def test_quantizing_twice_is_refused(pair: tuple[Path, Path]) -> None:
    content = pair[1].read_bytes()
    with pytest.raises(ModelError, match="has precision int8-dynamic already"):
        quantize(pair[1], pair[1], load=None)
    assert pair[1].read_bytes() == content


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_file_shrinks_to_under_a_third(tmp_path: Path, cell: str, bidirectional: bool) -> None:
    source = write_model(tmp_path / "a.onnx", cell=cell, input_size=40, hidden_size=128,
                         bidirectional=bidirectional, output_size=10)  # fmt: skip
    result = quantize(source, tmp_path / "b.onnx", load=open_cpu)
    assert result.bytes / result.source_bytes < 0.32
    assert result.bytes == result.path.stat().st_size


def test_the_source_is_not_overwritten(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx")
    before = path.read_bytes()
    with pytest.raises(UsageError, match="float32 file itself"):
        quantize(path, tmp_path / "." / "a.onnx", load=open_cpu)
    assert path.read_bytes() == before


def test_plain_onnxruntime_runs_the_file(pair: tuple[Path, Path]) -> None:
    inputs = {"x": normal(1, 3, 9, 8)}
    np.savez(pair[0].with_name("x.npz"), want=open_cpu(pair[1]).run(inputs)["y"], **inputs)
    done = subprocess.run(
        [sys.executable, "-c", PLAIN, str(pair[1]), str(pair[0].with_name("x.npz"))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "0.0", done.stderr


PLAIN = """
import sys
import numpy as np, onnxruntime
data = np.load(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
feeds = {n.name: np.zeros([1, 3, 16], np.float32) for n in session.get_inputs()[1:]}
y = session.run(["y"], {"x": data["x"], **feeds})[0]
assert not [name for name in sys.modules if name.split(".")[0].startswith("edgernn")]
print(abs(y - data["want"]).max())
"""


def test_a_model_without_contract_is_quantized_too(tmp_path: Path) -> None:
    source = write_model(tmp_path / "a.onnx", contract=False)
    result = quantize(source, tmp_path / "b.onnx", load=open_cpu)
    assert result.metadata.contract is None
    assert len(result.layers) == 2


def test_an_unknown_precision_and_a_model_without_layers_are_refused(tmp_path: Path) -> None:
    source = write_model(tmp_path / "a.onnx")
    with pytest.raises(UsageError, match="unknown precision 'int3'; there are int8-dynamic"):
        quantize(source, tmp_path / "b.onnx", precision="int3", load=None)
    relu = make_model([onnx.helper.make_node("Relu", ["x"], ["y"])], {"x": ["n"]}, {"y": ["n"]})
    onnx.save(relu, tmp_path / "c.onnx")
    with pytest.raises(ModelError, match="nothing to quantize to int8-dynamic: it has no LSTM"):
        quantize(tmp_path / "c.onnx", tmp_path / "b.onnx", load=None)
    assert not (tmp_path / "b.onnx").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_leave_the_old_file(tmp_path: Path, value: float) -> None:
    source = write_model(tmp_path / "a.onnx")
    model = onnx.load(source)
    weight = next(item for item in model.graph.initializer if item.name.startswith("R_"))
    broken = onnx.numpy_helper.to_array(weight).copy()
    broken[0, 1, 2] = value
    weight.CopyFrom(onnx.numpy_helper.from_array(broken, weight.name))
    onnx.save(model, source)
    (tmp_path / "b.onnx").write_bytes(b"old")
    with pytest.raises(ModelError, match="NaN or infinite"):
        quantize(source, tmp_path / "b.onnx", load=open_cpu)
    assert (tmp_path / "b.onnx").read_bytes() == b"old"


def test_a_model_that_does_not_run_leaves_the_old_file(tmp_path: Path) -> None:
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["m"])
    bad = onnx.helper.make_node("Log", ["n"], ["y"])
    negative = onnx.helper.make_node("Sub", ["m", "big"], ["n"])
    tensors = [onnx.numpy_helper.from_array(normal(1, 4, 3), "w"),
               onnx.numpy_helper.from_array(np.float32(1e9), "big")]  # fmt: skip
    onnx.save(make_model([node, negative, bad], {"x": ["n", 4]}, {"y": ["n", 3]}, tensors),
              tmp_path / "a.onnx")  # fmt: skip
    (tmp_path / "b.onnx").write_bytes(b"old")
    with pytest.raises(AccuracyGateError, match="NaN or infinite values in output 'y'"):
        quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", load=open_cpu)
    assert (tmp_path / "b.onnx").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_learned_initial_state_survives(tmp_path: Path) -> None:
    model = onnx.load(write_model(tmp_path / "a.onnx"))
    start = normal(3, 16)
    model.graph.initializer.append(onnx.numpy_helper.from_array(start, "start"))
    pairs = next(prop for prop in model.metadata_props if prop.key == "edgernn.state")
    pairs.value = pairs.value.replace('"zeros"', '"start"')
    onnx.save(model, tmp_path / "a.onnx")
    quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", load=open_cpu)
    (state,) = open_cpu(tmp_path / "b.onnx").stream(batch=2).state.values()
    np.testing.assert_array_equal(state, np.broadcast_to(start, (1, 2, 16)))
