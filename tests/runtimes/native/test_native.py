"""Target ``native``: whole sequences, chunks, steps, batches; compilers; the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import normal
from helpers.models import write_model
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from edgernn.errors import ContractError, InputError, ModelError, TargetUnavailable, UsageError
from edgernn.sessions import Session, Stream
from edgernn_exporters.codegen import compile as generate
from edgernn_exporters.quantization import quantize
from edgernn_runtimes import load, probe

ATOL = 2e-6
Write = Callable[..., Path]
load_native = partial(load, target="native", compile=generate)
NO_SHRINKING = [Phase.explicit, Phase.generate]  # each case may call a compiler


@pytest.mark.parametrize(
    ("cell", "layers", "isa"), [*product(("lstm", "gru", "rnn"), (1, 3), (None, "portable"))]
)
@settings(max_examples=8)
@given(cuts=st.lists(st.integers(1, 50), min_size=1, max_size=6))
def test_any_chunks_equal_the_whole_and_onnx_runtime(
    model: Write, cell: str, layers: int, isa: str | None, cuts: list[int]
) -> None:
    path = model(cell=cell, layers=layers)
    session = load_native(path, isa=isa)
    assert isinstance(session, Session)
    x = normal(1, 1, sum(cuts), 8)
    whole, stream = session.run({"x": x})["y"], session.stream()
    assert isinstance(stream, Stream)
    ends = np.cumsum(cuts)
    pieces = [stream.step(x[:, end - cut : end]) for cut, end in zip(cuts, ends, strict=True)]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=ATOL)
    np.testing.assert_allclose(whole, load(path, "cpu").run({"x": x})["y"], atol=ATOL)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_int8_chunks_are_the_bits_of_the_whole(model: Write, cell: str, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    quantize(model(cell=cell, layers=2), path, load=None)
    x, wholes = normal(1, 1, 90, 8), []
    for isa in (None, "portable"):
        session = load_native(path, isa=isa)
        wholes.append(session.run({"x": x})["y"])
        stream = session.stream()
        steps = [stream.step(x[:, t : t + 1]) for t in range(90)]
        np.testing.assert_array_equal(np.concatenate(steps, axis=1), wholes[-1])
    np.testing.assert_array_equal(*wholes)
    np.testing.assert_allclose(wholes[0], load(path, "cpu").run({"x": x})["y"], atol=0.02)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_batches_are_independent_rows(model: Write, cell: str) -> None:
    session, x = load_native(model(cell=cell)), normal(2, 3, 40, 8)
    together = session.run({"x": x})["y"]
    stream = session.stream(batch=3)
    streamed = [stream.step(x[:, :13]), stream.step(x[:, 13:14]), stream.step(x[:, 14:])]
    np.testing.assert_allclose(np.concatenate(streamed, axis=1), together, atol=ATOL)
    for row in range(3):
        alone = session.run({"x": x[row : row + 1]})["y"]
        np.testing.assert_array_equal(alone[0], together[row])


@pytest.mark.parametrize("steps", [1, 40, 256, 257, 700])
def test_models_that_look_ahead_take_any_length(model: Write, steps: int) -> None:
    path, x = model(cell="lstm", bidirectional=True), normal(3, 2, steps, 8)
    session = load_native(path)
    want = load(path, "cpu").run({"x": x})["y"]
    np.testing.assert_allclose(session.run({"x": x})["y"], want, atol=ATOL)
    with pytest.raises(ContractError, match="not causal"):
        session.stream()


def test_embeddings_and_models_without_a_contract(model: Write, tmp_path: Path) -> None:
    path = model(embedding=11)
    ids = np.random.default_rng(0).integers(0, 11, (1, 20))
    want = load(path, "cpu").run({"x": ids})["y"]
    np.testing.assert_allclose(load_native(path).run({"x": ids})["y"], want, atol=ATOL)
    with pytest.raises(ModelError, match=r"axis 0 \(batch\) of x.*--fix NAME=SIZE"):
        load_native(model(contract=False))


def test_state_is_read_and_restored(model: Write) -> None:
    session, x = load_native(model(cell="lstm", layers=2)), normal(4, 1, 30, 8)
    stream = session.stream()
    stream.step(x[:, :10])
    kept = stream.state
    assert {name: value.shape for name, value in kept.items()} == {
        f"{letter}_l{layer}": (1, 1, 16) for letter in "hc" for layer in (0, 1)
    }
    first = stream.step(x[:, 10:])
    stream.state = kept
    np.testing.assert_array_equal(stream.step(x[:, 10:]), first)
    stream.reset()
    np.testing.assert_allclose(stream.step(x), session.run({"x": x})["y"], atol=ATOL)
    with pytest.raises(InputError, match="the states are"):
        stream.state = {"h_l0": kept["h_l0"]}
    with pytest.raises(InputError, match="expected h_l0"):
        stream.state = {**kept, "h_l0": kept["h_l0"][:, :, :3]}


def test_streams_do_not_disturb_each_other(model: Write) -> None:
    session, x = load_native(model()), normal(5, 2, 20, 8)
    first, second = session.stream(), session.stream()
    got = np.concatenate(
        [
            np.concatenate([first.step(x[:1, t : t + 1]), second.step(x[1:, t : t + 1])])
            for t in range(20)
        ],
        axis=1,
    )
    np.testing.assert_allclose(got, session.run({"x": x})["y"], atol=ATOL)


BAD: dict[str, tuple[Any, str]] = {
    "nan": (np.full((1, 2, 8), np.nan, np.float32), "holds nan at index"),
    "inf": (np.full((1, 2, 8), np.inf, np.float32), "holds inf at index"),
    "dtype": (np.zeros((1, 2, 8)), "got dtype float64"),
    "features": (np.zeros((1, 2, 7), np.float32), r"got shape \[1, 2, 7\]"),
    "rank": (np.zeros((2, 8), np.float32), r"got shape \[2, 8\]"),
    "empty": (np.zeros((1, 0, 8), np.float32), "empty array"),
    "batch": (np.zeros((2, 2, 8), np.float32), "opened for a batch of 1"),
    "list": ([[1.0]], "give a dict of numpy arrays"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused_inputs_leave_the_state(model: Write, case: str) -> None:
    stream, x = load_native(model()).stream(), normal(6, 1, 4, 8)
    stream.step(x[:, :2])
    before = stream.state["h_l0"]
    value, message = BAD[case]
    for _ in range(2):  # a shape that is known already, too
        with pytest.raises(InputError, match=message):
            stream.step(value)
        np.testing.assert_array_equal(stream.state["h_l0"], before)
        stream.state = {"h_l0": before}


def test_strided_inputs_are_read_right(model: Write) -> None:
    session, x = load_native(model()), normal(7, 1, 6, 16)
    view = x[:, ::2, ::2]
    want = session.run({"x": np.ascontiguousarray(view)})["y"]
    np.testing.assert_array_equal(session.run({"x": view})["y"], want)
    np.testing.assert_array_equal(session.stream().step(view), want)


def test_runs_of_several_threads(model: Write) -> None:
    session = load_native(model(layers=2))
    inputs = [normal(i, 1, 60, 8) for i in range(16)]
    want = [session.run({"x": x})["y"] for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda x: session.run({"x": x})["y"], inputs * 4))
    for have, expected in zip(got, want * 4, strict=True):
        np.testing.assert_array_equal(have, expected)


def test_a_closed_session_refuses(model: Write) -> None:
    session = load_native(model())
    session.close()
    with pytest.raises(UsageError, match="was closed"):
        session.run({"x": normal(1, 1, 3, 8)})


def test_options_are_checked(model: Write) -> None:
    with pytest.raises(UsageError, match="unknown instruction set 'sse9'"):
        load_native(model(), isa="sse9")
    with pytest.raises(UsageError, match="chunk must be at least 1"):
        load_native(model(), chunk=0)
    with pytest.raises(UsageError, match="native has no option threads; its options are isa"):
        load_native(model(), threads=2)


def test_what_was_built_is_found_again(
    model: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGERNN_CACHE", str(tmp_path))
    first = load_native(model())
    assert first.library.parent == tmp_path / "native"
    monkeypatch.setattr("edgernn_runtimes.native.library.run_compiler", lambda *_: 1 / 0)
    assert load_native(model()).library == first.library
    assert len(list((tmp_path / "native").iterdir())) == 1


def test_without_a_compiler_the_target_is_not_there(
    model: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("edgernn_runtimes.compilers.find_spec", lambda name: None)
    assert not probe("native").available
    assert "apt-get install gcc" in probe("native").remedy
    with pytest.raises(TargetUnavailable, match=r"needs a C compiler.*apt-get install gcc"):
        load_native(model())


def test_a_compiler_that_fails_is_one_clear_message(
    model: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho 'kw.c:3: error: no luck' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("EDGERNN_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ModelError, match=r"failed with exit code 1: kw.c:3: error: no luck"):
        load_native(model())
    assert not list(tmp_path.glob("cache/native/*"))


@pytest.mark.parametrize("compiler", ["gcc", "clang", "zig"])
def test_compilers_agree(
    model: Write, compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = compiler
    if compiler == "zig":
        pytest.importorskip("ziglang")
        command = f"{sys.executable} -m ziglang cc"
    elif shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    path, x = tmp_path / "int8.onnx", normal(1, 1, 50, 8)
    quantize(model(cell="gru", layers=2), path, load=None)
    want = load_native(path).run({"x": x})["y"]
    monkeypatch.setenv("CC", command)
    monkeypatch.setenv("EDGERNN_CACHE", str(tmp_path / "cache"))
    np.testing.assert_array_equal(load_native(path).run({"x": x})["y"], want)


def test_a_device_needs_no_torch_and_no_onnx_runtime(model: Write) -> None:
    code = (
        "import sys, numpy, edgernn\n"
        f"y = edgernn.load({str(model())!r}, 'native').stream().step("
        "numpy.zeros((1, 1, 8), 'float32'))\n"
        "print(y.shape, *({'torch', 'onnxruntime', 'onnxscript'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env=os.environ)  # fmt: skip
    assert done.stdout == "(1, 1, 4)\n", done.stderr


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="not an ONNX file, or cut off"):
        load_native(path)


def test_nodes_without_a_c_form_are_listed_at_once(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx")
    model = onnx.load(path)
    for name in ("one", "two"):
        model.graph.node.append(
            onnx.helper.make_node("Unheard", ["y"], [name], name=name, domain="other")
        )
    model.opset_import.append(onnx.helper.make_opsetid("other", 1))
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"2 nodes cannot be turned into C: other.Unheard one: "):
        load_native(path)


@pytest.mark.parametrize(("steps", "bidirectional"), [(1, False), (6, False), (6, True)])
def test_a_number_of_steps_that_the_graph_fixes(
    steps: int, bidirectional: bool, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "a.onnx", cell="lstm", bidirectional=bidirectional)
    model = onnx.load(path)
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[1].dim_value = steps
    onnx.save(model, path)
    x = normal(3, 1, 3 * steps, 8)
    session, reference = load_native(path), load(path, "cpu", threads=1)
    first = session.run({"x": x[:, :steps]})["y"]
    want = reference.run({"x": x[:, :steps]})["y"]
    np.testing.assert_allclose(first, want, atol=ATOL)
    np.testing.assert_array_equal(session.run({"x": x[:, :steps]})["y"], first)
    if not bidirectional:
        stream, other = session.stream(), reference.stream()
        for start in range(0, 3 * steps, steps):
            piece = x[:, start : start + steps]
            np.testing.assert_allclose(stream.step(piece), other.step(piece), atol=ATOL)
