from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.graphs import make_model, normal
from helpers.models import write_model
from helpers.quantized import ranges_for
from helpers.scans import cell_model

from edgernn.errors import AccuracyGateError, ModelError, UsageError
from edgernn.integer import INTEGER, Ranges
from edgernn.streaming import run_in_chunks
from edgernn_exporters.calibration import calibrate
from edgernn_exporters.inspection import inspect
from edgernn_exporters.onnx_files import read_model, save_model
from edgernn_exporters.quantization import PRECISIONS, quantize
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
    for given in ({"precision": "int3"}, {"layers": {"*": "int3"}}):
        with pytest.raises(UsageError, match="unknown precision 'int3'; there are fp16, int8-dyn"):
            quantize(source, tmp_path / "b.onnx", load=None, **given)
    with pytest.raises(UsageError, match="unknown precision 'float32'"):
        quantize(source, tmp_path / "b.onnx", precision="float32", load=None)
    relu = make_model([onnx.helper.make_node("Relu", ["x"], ["y"])], {"x": ["n"]}, {"y": ["n"]})
    onnx.save(relu, tmp_path / "c.onnx")
    with pytest.raises(ModelError, match="nothing to quantize to int8-dynamic: it has no LSTM"):
        quantize(tmp_path / "c.onnx", tmp_path / "b.onnx", load=None)
    assert not (tmp_path / "b.onnx").exists()


def test_layers_within_a_body_stay_float_and_are_named(tmp_path: Path) -> None:
    source = tmp_path / "a.onnx"
    onnx.save(cell_model("layernorm_lstm", linear=4), source)
    result = quantize(source, tmp_path / "b.onnx", load=open_cpu)
    assert result.layers == ("y",)
    assert result.notes == (
        "Gemm wx, Gemm rh within cell.body stay float32: only layers outside the bodies of Scan, "
        "Loop and If are quantized",
    )
    onnx.save(cell_model("indrnn"), source)
    with pytest.raises(ModelError, match="nothing to quantize to int8-dynamic: Gemm wx within cel"):
        quantize(source, tmp_path / "c.onnx", load=None)


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


def test_a_model_that_does_not_load_is_told_by_its_own_name(tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["m"]),
             onnx.helper.make_node("Neg", ["m"], ["y"])]  # fmt: skip
    tensors = [onnx.numpy_helper.from_array(normal(1, 4, 3), "w")]
    model = make_model(nodes, {"x": ["n", 4]}, {"y": ["n", 3]}, tensors)
    model.graph.node[1].op_type, model.graph.node[1].domain = "Unheard", "of"
    model.opset_import.append(onnx.helper.make_opsetid("of", 1))
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(AccuracyGateError, match=r"does not load: .*defect to report; --keep") as no:
        quantize(tmp_path / "a.onnx", tmp_path / "b.onnx", load=open_cpu)
    own = str(tmp_path / "b.onnx")
    assert str(no.value).startswith(f"{own}: ")
    assert str(tmp_path) not in str(no.value).replace(own, "")
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


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


# Integer precisions and fp16


def calibrated(source: Path) -> Ranges:
    rng = np.random.default_rng(0)
    sequences = [{"x": rng.standard_normal((20, 300, 8)).astype(np.float32)} for _ in range(2)]
    return calibrate(source, sequences, load=open_cpu)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_streams(tmp_path: Path, cell: str, precision: str) -> None:
    source = write_model(tmp_path / "a.onnx", cell=cell, layers=2)
    result = quantize(source, tmp_path / "b.onnx", precision=precision,
                      ranges=calibrated(source), load=open_cpu)  # fmt: skip
    assert set(result.metadata.layers.values()) == {precision}
    session, inputs = open_cpu(result.path), {"x": normal(1, 3, 40, 8)}
    want, got = open_cpu(source).run(inputs)["y"], session.run(inputs)["y"]
    limit = 0.3 if precision == "int4" else 0.06
    assert 0 < np.abs(got - want).max() < limit * np.abs(want).max()
    if precision != "fp16":
        for chunk in (1, 7):
            np.testing.assert_array_equal(run_in_chunks(session, inputs, chunk)["y"], got)


@pytest.mark.parametrize("precision", INTEGER)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_integer_states_are_saved_and_restored(tmp_path: Path, cell: str, precision: str) -> None:
    source = write_model(tmp_path / "a.onnx", cell=cell)
    result = quantize(source, tmp_path / "b.onnx", precision=precision,
                      ranges=calibrated(source), load=open_cpu)  # fmt: skip
    contract = result.metadata.contract
    assert contract is not None
    assert {state.dtype for state in contract.states} == {"int16"}
    assert contract.states[0].scale == 2.0**-15
    shown = inspect(result.path)
    assert {spec.dtype for spec in shown.states} == {"int16"}
    assert (shown.layers[0].input_size, shown.layers[0].hidden_size) == (8, 16)
    assert shown.layers[0].name == result.layers[0]
    stream, x = open_cpu(result.path).stream(batch=2), normal(1, 2, 20, 8)
    stream.step(x)
    kept = stream.state
    assert all(value.dtype == np.int16 and value.any() for value in kept.values())
    first = stream.step(x)
    stream.reset()
    assert not any(value.any() for value in stream.state.values())
    stream.state = kept
    np.testing.assert_array_equal(stream.step(x), first)


def test_several_precisions_in_one_file(tmp_path: Path) -> None:
    source = write_model(tmp_path / "a.onnx", cell="lstm", layers=4, embedding=12)
    names = list(quantize(source, tmp_path / "b.onnx", precision="fp16", load=None).layers)
    assert len(names) == 6
    kinds = ["int4", "float32", "int8", "w8a16", "int8-dynamic", "fp16"]
    layers = {name: kind for name, kind in zip(names, kinds, strict=True) if kind != "float32"}
    result = quantize(source, tmp_path / "b.onnx", precision="int8", layers=layers,
                      keep=[names[1]], ranges=ranges_for(names), load=open_cpu)  # fmt: skip
    assert result.metadata.layers == dict(zip(names, kinds, strict=True))
    assert result.metadata.precision == "mixed"
    assert read_model(result.path)[1] == result.metadata
    assert [item.node for item in result.kept] == [names[1]]
    assert names[1] not in result.layers
    onnx.checker.check_model(onnx.load(result.path), full_check=True)
    contract = result.metadata.contract
    assert contract is not None
    assert [state.dtype for state in contract.states] == (
        ["float32"] * 2 + ["int16"] * 4 + ["float32"] * 2
    )


def test_one_precision_for_all_is_the_files(tmp_path: Path) -> None:
    source = write_model(tmp_path / "a.onnx")
    result = quantize(source, tmp_path / "b.onnx", precision="int8", layers={"*": "int8-dynamic"},
                      load=None)  # fmt: skip
    assert result.metadata.precision == "int8-dynamic"


@pytest.mark.parametrize("precision", INTEGER)
def test_plain_onnxruntime_runs_integer_files(tmp_path: Path, precision: str) -> None:
    source = write_model(tmp_path / "a.onnx", cell="lstm")
    quantize(source, tmp_path / "b.onnx", precision=precision, ranges=calibrated(source),
             load=open_cpu)  # fmt: skip
    inputs = {"x": normal(1, 3, 9, 8)}
    np.savez(tmp_path / "x.npz", want=open_cpu(tmp_path / "b.onnx").run(inputs)["y"], **inputs)
    code = PLAIN.replace("np.float32", "np.int16")
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "b.onnx"), str(tmp_path / "x.npz")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "0.0", done.stderr


@pytest.mark.parametrize("precision", PRECISIONS)
def test_writing_again_gives_the_same_bytes(tmp_path: Path, precision: str) -> None:
    source = write_model(tmp_path / "a.onnx", cell="gru")
    ranges = calibrated(source)
    contents = [
        quantize(source, tmp_path / name, precision=precision, ranges=ranges, load=None)
        .path.read_bytes()
        for name in ("b.onnx", "c.onnx")
    ]  # fmt: skip
    assert contents[0] == contents[1]


def test_ranges_in_the_file_are_used_and_not_handed_on(tmp_path: Path) -> None:
    source = write_model(tmp_path / "a.onnx")
    with pytest.raises(UsageError, match="give data with --calibration"):
        quantize(source, tmp_path / "b.onnx", precision="int8", load=None)
    ranges = calibrated(source)
    direct = quantize(source, tmp_path / "b.onnx", precision="int8", ranges=ranges, load=None)
    model, metadata = read_model(source)
    trained = tmp_path / "trained.onnx"
    save_model(model, replace(metadata, ranges=ranges.to_json()), trained)
    own = quantize(trained, tmp_path / "c.onnx", precision="int8", load=None)
    assert own.metadata.ranges is None
    first, second = (onnx.load(result.path).graph for result in (direct, own))
    assert first == second


def test_saturation_is_told_where_there_is_some(tmp_path: Path) -> None:
    source = write_model(tmp_path / "a.onnx")
    ranges = calibrated(source)
    name, other = ranges.layers
    shares = {name: {"input": 0.25, "cell": 0.0}, other: {"input": 0.0}}
    result = quantize(source, tmp_path / "b.onnx", precision="int8",
                      ranges=replace(ranges, saturation=shares), load=None)  # fmt: skip
    assert result.saturation == {name: {"input": 0.25}}


@pytest.mark.parametrize(("cell", "int8", "int4"), [("gru", 0.29, 0.165), ("lstm", 0.285, 0.16)])
def test_sizes(tmp_path: Path, cell: str, int8: float, int4: float) -> None:
    source = write_model(tmp_path / "a.onnx", cell=cell, input_size=40, hidden_size=128,
                         output_size=10)  # fmt: skip
    names = list(quantize(source, tmp_path / "b.onnx", precision="fp16", load=None).layers)
    for precision, limit in (("int8", int8), ("w8a16", int8), ("int4", int4)):
        result = quantize(source, tmp_path / "b.onnx", precision=precision,
                          ranges=ranges_for(names), load=None)  # fmt: skip
        assert result.bytes / result.source_bytes < limit


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux")
def test_ten_million_weights_take_little_memory(tmp_path: Path) -> None:
    write_model(tmp_path / "a.onnx", cell="lstm", input_size=512, hidden_size=512, layers=5)
    size = (tmp_path / "a.onnx").stat().st_size
    assert size > 4e7
    done = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert int(done.stdout) < 4 * size, done.stderr


MEMORY = """
import re, sys
from pathlib import Path
from edgernn_exporters.quantization import quantize
quantize(f"{sys.argv[1]}/a.onnx", f"{sys.argv[1]}/b.onnx", load=None)
# getrusage would count what this process was forked from
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024)
"""
