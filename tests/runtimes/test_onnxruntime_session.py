from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import normal
from helpers.models import write_model
from onnx import helper, numpy_helper

from edgernn import reference
from edgernn.contract import Axes, Contract, StreamSpec
from edgernn.errors import ContractError, EdgernnError, InputError, ModelError, UsageError
from edgernn.metadata import Metadata
from edgernn.sessions import Session
from edgernn_runtimes import load

Write = Callable[..., Path]


def rewrite(source: Path, path: Path, change: Callable[[Metadata], Metadata],
            *initializers: onnx.TensorProto) -> Path:  # fmt: skip
    """Copy a model with other metadata and more initializers."""
    model = onnx.load(source)
    props = {item.key: item.value for item in model.metadata_props}
    changed = change(Metadata.from_props(props, "test")).to_props()
    del model.metadata_props[:]
    helper.set_model_props(model, changed)
    model.graph.initializer.extend(initializers)
    onnx.save(model, path)
    return path


def with_state(metadata: Metadata, **changes: Any) -> Metadata:
    assert metadata.contract is not None
    first, *others = metadata.contract.states
    states = (replace(first, **changes), *others)
    return replace(metadata, contract=replace(metadata.contract, states=states))


def weights_of(path: Path) -> dict[str, np.ndarray]:
    return {item.name: numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer}


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (3, 17)])
def test_run_computes_the_reference(model: Write, batch: int, length: int) -> None:
    path = model(cell="gru")
    w = weights_of(path)
    w_name, r_name, b_name = (next(key for key in w if key.startswith(letter)) for letter in "WRB")
    cell = reference.float_weights(w[w_name][0], w[r_name][0], w[b_name][0])
    x = normal(1, batch, length, 8)
    y, _ = reference.gru(x.swapaxes(0, 1), cell, np.zeros((batch, 16), np.float32))
    want = y.swapaxes(0, 1) @ w["linear_w"] + w["linear_b"]
    session = load(path, "cpu", threads=1)
    assert isinstance(session, Session)
    np.testing.assert_allclose(session.run({"x": x})["y"], want, atol=2e-6)


def test_run_starts_afresh_each_time(model: Write) -> None:
    session, x = load(model(cell="lstm"), "cpu"), {"x": normal(1, 2, 9, 8)}
    np.testing.assert_array_equal(session.run(x)["y"], session.run(x)["y"])


def test_run_takes_views_and_huge_values(model: Write) -> None:
    session, x = load(model(), "cpu"), normal(1, 3, 9, 8)
    view = np.asfortranarray(x)
    np.testing.assert_array_equal(session.run({"x": view})["y"], session.run({"x": x})["y"])
    backwards = session.run({"x": x[::-1, ::-1]})["y"]
    np.testing.assert_array_equal(backwards, session.run({"x": x[::-1, ::-1].copy()})["y"])
    assert np.isfinite(session.run({"x": x * np.float32(1e37)})["y"]).all()


def test_run_is_safe_from_several_threads(model: Write) -> None:
    session = load(model(cell="lstm", layers=2), "cpu", threads=1)
    inputs = [{"x": normal(seed, 2, 20 + seed, 8)} for seed in range(4)]
    wanted = [session.run(item)["y"] for item in inputs]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(25):
            if not np.array_equal(session.run(inputs[index])["y"], wanted[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


X = normal(1, 2, 5, 8)
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "name": ({"z": X}, r"takes inputs \['x'\], but \['z'\]"),
    "missing": ({}, r"takes inputs \['x'\], but \[\]"),
    "extra": ({"x": X, "h_l0": X}, r"takes inputs \['x'\]"),
    "number as name": ({"x": X, 3: X}, r"takes inputs \['x'\]"),
    "dtype": ({"x": X.astype(np.float64)}, r"got dtype float64; convert with .astype\('float32'\)"),
    "integers": ({"x": X.astype(np.int64)}, "got dtype int64"),
    "byte order": ({"x": X.astype(">f4")}, "byte order"),
    "rank": ({"x": X[0]}, r"expected x float32 \[batch, time, 8\], got shape \[5, 8\]"),
    "size": ({"x": X[..., :7]}, r"got shape \[2, 5, 7\]"),
    "no time": ({"x": X[:, :0]}, "empty array"),
    "no rows": ({"x": X[:0]}, "empty array"),
    "list": ({"x": X.tolist()}, "must be a numpy array, not list"),
    "nan": ({"x": np.where(X[1, 2, 3] == X, np.float32(np.nan), X)}, r"nan at index \[1, 2, 3\]"),
    "both infinities": (
        {"x": np.where(X > 0, np.float32(np.inf), np.float32(-np.inf))},
        r"inf at index",
    ),
    "inf": ({"x": np.where(X[0, 0, 0] == X, np.float32(np.inf), X)}, r"inf at index \[0, 0, 0\]"),
}


@pytest.mark.parametrize("case", BAD)
def test_run_refuses_bad_input(model: Write, case: str) -> None:
    inputs, expected = BAD[case]
    with pytest.raises(InputError, match=expected) as caught:
        load(model(), "cpu").run(inputs)
    assert caught.value.exit_code == 3


def test_two_inputs_must_agree(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["a", "b"], ["y"])
    values = [helper.make_tensor_value_info(name, 1, ["batch", "t", 2]) for name in "aby"]
    graph = helper.make_graph([node], "g", values[:2], values[2:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    axes = Axes(0, 1)
    contract = Contract((), StreamSpec(True, {"a": axes, "b": axes}, {"y": axes}))
    helper.set_model_props(made, Metadata(contract).to_props())
    onnx.save(made, tmp_path / "a.onnx")
    session = load(tmp_path / "a.onnx", "cpu")
    a, b = normal(1, 2, 5, 2), normal(2, 2, 4, 2)
    with pytest.raises(InputError, match="disagree on the size of the time axis"):
        session.run({"a": a, "b": b})
    with pytest.raises(InputError, match="disagree on the size of the batch axis"):
        session.stream(2).step({"a": a, "b": a[:1]})
    with pytest.raises(InputError, match=r"takes inputs \['a', 'b'\]: give a dict"):
        session.stream(2).step(a)
    np.testing.assert_array_equal(session.stream(2).step({"b": a, "a": a})["y"], 2 * a)


def test_without_contract_the_whole_run_works_and_a_stream_is_refused(model: Write) -> None:
    session, x = load(model(contract=False), "cpu"), normal(1, 2, 5, 8)
    assert [spec.name for spec in session.inputs] == ["x", "h_l0"]
    assert session.states == ()
    y = session.run({"x": x, "h_l0": np.zeros((1, 2, 16), np.float32)})["y"]
    np.testing.assert_array_equal(y, load(model(), "cpu").run({"x": x})["y"])
    with pytest.raises(ContractError, match=r"no state contract.*edgernn export"):
        session.stream()


def test_a_bidirectional_model_runs_whole_but_does_not_stream(model: Write) -> None:
    session = load(model(bidirectional=True), "cpu")
    assert session.run({"x": X})["y"].shape == (2, 5, 4)
    with pytest.raises(ContractError, match=r"not causal.*run whole sequences"):
        session.stream()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"input": "nothing"}, "names input 'nothing'"),
        ({"output": "nothing"}, "names output 'nothing'"),
        ({"output": "y"}, "must agree in shape"),
        ({"dtype": "float64"}, "the dtype float64 of the contract"),
        ({"batch_axis": 3}, "batch_axis 3"),
        ({"batch_axis": 0}, "may vary in no axis but batch axis 0"),
        ({"init": "nothing"}, "initial value from 'nothing', which the file does not hold"),
        ({"init": "linear_w"}, r"'linear_w' has shape \[16, 4\], which does not fit"),
        ({"input": "c_l0"}, "names a state input or output twice|names"),
    ],
)
def test_a_contract_that_does_not_match_the_graph_is_refused(
    model: Write, tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    path = rewrite(model(cell="lstm"), tmp_path / "a.onnx", lambda m: with_state(m, **changes))
    with pytest.raises(ContractError, match=expected):
        load(path, "cpu").run({"x": X})


def test_a_learned_initial_state_is_read_from_the_file(model: Write, tmp_path: Path) -> None:
    start = np.tanh(normal(3, 16))
    path = rewrite(
        model(), tmp_path / "a.onnx", lambda m: with_state(m, init="start"),
        numpy_helper.from_array(start, "start"),
    )  # fmt: skip
    session, plain = load(path, "cpu"), load(model(contract=False), "cpu")
    wanted = plain.run({"x": X, "h_l0": np.broadcast_to(start, (1, 2, 16)).copy()})["y"]
    np.testing.assert_allclose(session.run({"x": X})["y"], wanted, atol=1e-6)
    stream = session.stream(2)
    np.testing.assert_array_equal(stream.state["h_l0"][0, 1], start)
    np.testing.assert_allclose(stream.step(X), wanted, atol=1e-6)
    stream.reset()
    np.testing.assert_array_equal(stream.state["h_l0"][0, 0], start)


def test_a_closed_session_says_so(model: Write) -> None:
    session = load(model(), "cpu")
    stream = session.stream(2)
    session.close()
    with pytest.raises(UsageError, match="was closed; load the model again"):
        session.run({"x": X})
    with pytest.raises(UsageError, match="was closed"):
        session.stream()
    assert stream.step(X).shape == (2, 5, 4)


# Broken files


def _truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    "damage", [_truncated, lambda c: b"", lambda c: b"PK\x03\x04 a zip file", lambda c: c[1:],
               lambda c: c[:-7], lambda c: b"\x80" * 1000],
)  # fmt: skip
def test_broken_files_are_model_errors_of_one_line(
    model: Write, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(damage(model().read_bytes()))
    with pytest.raises(EdgernnError, match=r"broken\.onnx") as caught:
        load(path, "cpu")
    assert isinstance(caught.value, ModelError)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_missing_files_and_folders_are_model_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(ModelError, match="no such file; name an ONNX file"):
            load(path, "cpu")


@pytest.mark.parametrize("module", ["edgernn_runtimes", "edgernn", "edgernn_runtimes.cpu",
                                    "edgernn_runtimes.cuda", "edgernn.sessions"])  # fmt: skip
def test_importing_imports_no_engine(module: str) -> None:
    code = f"import {module}, sys; print(*{{'torch', 'onnxruntime', 'onnx'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(("given", "seen"), [(None, "1"), ("0", "0")])
def test_telemetry_is_off_unless_the_user_set_it(
    model: Write, given: str | None, seen: str
) -> None:
    code = f"import edgernn, os; edgernn.load({str(model())!r}); "
    code += "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    if given is not None:
        environment["ORT_DISABLE_TELEMETRY"] = given
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env=environment)  # fmt: skip
    assert done.stdout.strip() == seen
    assert done.stderr == ""


def test_an_array_without_a_name_is_refused(tmp_path: Path) -> None:
    session = load(write_model(tmp_path / "named.onnx"), "cpu")
    with pytest.raises(InputError, match="dict of arrays"):
        session.run(np.zeros((1, 2, 8), np.float32))
