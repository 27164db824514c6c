from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.models import write_model

import edgernn
from edgernn.errors import ContractError, InputError, ModelError, TargetUnavailable, UsageError
from edgernn.metadata import Metadata
from edgernn.sessions import Session, Stream
from edgernn_benchmarks.opening import open_session
from edgernn_benchmarks.peers import PEERS, peer_module

ENGINES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            not peer_module(name).probe().available, reason=peer_module(name).probe().detail
        ),
    )
    for name in PEERS
]
# Exact, and without C that takes seconds to make; `test_emx` has more of that.
QUICK = [engine for engine in ENGINES if engine.values[0] not in ("onnxruntime-int8", "emx")]


def values(steps: int, batch: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((batch, steps, 8)).astype(np.float32)


def allowed(engine: str, right: np.ndarray) -> float:
    return peer_module(engine).TOLERANCE.allowed(float(np.abs(right).max()))


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "lstm": write_model(folder / "lstm.onnx", cell="lstm", layers=2),
        "gru": write_model(folder / "gru.onnx", cell="gru", layers=2),
        "rnn": write_model(folder / "rnn.onnx", cell="rnn"),
        "both": write_model(folder / "both.onnx", cell="lstm", bidirectional=True),
        "ids": write_model(folder / "ids.onnx", cell="lstm", embedding=5),
    }


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_streams_compute_what_cpu_does(engine: str, cell: str, paths: dict[str, Path]) -> None:
    if (engine, cell) == ("emx", "lstm"):
        pytest.skip("one cell is enough, its C takes seconds to make")
    session = open_session(paths[cell], f"peer:{engine}", threads=1)
    assert isinstance(session, Session)
    right, given = open_session(paths[cell], "cpu").stream(), session.stream()
    assert isinstance(given, Stream)
    for index, steps in enumerate([1, 1, 3, 1]):  # of other sizes in between
        x = values(steps, seed=index)
        want = right.step(x)
        assert np.abs(given.step(x) - want).max() <= allowed(engine, want)
    kept = given.state
    for name, value in right.state.items():
        assert np.abs(kept[name] - value).max() <= allowed(engine, value)
    first = given.step(x)
    given.step(x)
    given.state = kept
    assert np.array_equal(given.step(x), first)
    given.reset()
    right.reset()
    want = right.step(x)
    assert np.abs(given.step(x) - want).max() <= allowed(engine, want)
    session.close()


@pytest.mark.parametrize("engine", QUICK)
def test_sequences_begin_anew(engine: str, paths: dict[str, Path]) -> None:
    session = open_session(paths["lstm"], f"peer:{engine}", threads=1)
    x = values(5, batch=2)
    right = open_session(paths["lstm"], "cpu").run({"x": x})["y"]
    for _ in range(3):
        given = session.run({"x": x})["y"]
        assert np.abs(given - right).max() < 1e-6
    session.close()


@pytest.mark.parametrize("engine", QUICK)
def test_inputs_of_integers(engine: str, paths: dict[str, Path]) -> None:
    x = np.array([[0, 4, 2, 2, 1]], np.int64)
    session = open_session(paths["ids"], f"peer:{engine}", threads=1)
    right = open_session(paths["ids"], "cpu").run({"x": x})["y"]
    assert np.abs(session.run({"x": x})["y"] - right).max() < 1e-6
    session.close()


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_wrong_use_is_refused_as_by_targets(engine: str, paths: dict[str, Path]) -> None:
    session = open_session(paths["gru"], f"peer:{engine}")
    with pytest.raises(InputError, match="got shape"):
        session.run({"x": values(3)[..., :5]})
    stream = session.stream(batch=2)
    with pytest.raises(InputError, match="opened for a batch of 2"):
        stream.step(values(1))
    with pytest.raises(InputError, match="dict of arrays"):
        stream.step([1.0])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the states are"):
        stream.state = {}
    with pytest.raises(InputError, match="at least 1"):
        session.stream(batch=0)
    with pytest.raises(ContractError, match="not causal"):
        open_session(paths["both"], f"peer:{engine}").stream()
    session.close()
    with pytest.raises(UsageError, match="was closed"):
        session.run({"x": values(3)})


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_first_values_of_states(engine: str, paths: dict[str, Path], tmp_path: Path) -> None:
    model = onnx.load(paths["gru"])
    first = np.linspace(-1, 1, 16, dtype=np.float32).reshape(1, 1, 16)
    model.graph.initializer.append(onnx.numpy_helper.from_array(first, "first"))
    props = {entry.key: entry.value for entry in model.metadata_props}
    props["edgernn.state"] = props["edgernn.state"].replace("zeros", "first", 1)
    onnx.helper.set_model_props(model, props)
    path = tmp_path / "first.onnx"
    onnx.save(model, path)
    right = open_session(path, "cpu").run({"x": values(4)})["y"]
    plain = open_session(paths["gru"], "cpu").run({"x": values(4)})["y"]
    given = open_session(path, f"peer:{engine}").run({"x": values(4)})["y"]
    assert np.abs(given - right).max() < 1e-6 < np.abs(plain - right).max()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_of_ours_that_an_engine_cannot_run(
    engine: str, paths: dict[str, Path], tmp_path: Path
) -> None:
    small = tmp_path / "small.onnx"
    edgernn.quantize(paths["lstm"], small)
    if engine == "onnxruntime":
        assert open_session(small, "peer:onnxruntime").run({"x": values(3)})["y"].shape == (1, 3, 4)
        return
    with pytest.raises(ModelError) as caught:
        open_session(small, f"peer:{engine}")
    assert str(small) in str(caught.value)
    assert "measure" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_models_without_a_contract_are_refused(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx", contract=False)
    with pytest.raises(ContractError, match="no state contract"):
        open_session(path, "peer:onnxruntime")


@pytest.mark.parametrize("name", PEERS)
def test_an_engine_that_is_not_installed(
    name: str, paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("onnxruntime", "onnxruntime.quantization", "torch", "openvino", "tract",
                    "emx_onnx_cgen"):  # fmt: skip
        monkeypatch.setitem(sys.modules, package, None)
    found = peer_module(name).probe()
    assert not found.available
    assert found.remedy.startswith("pip install")
    with pytest.raises(TargetUnavailable, match=r"cannot be imported.*install it with: pip"):
        open_session(paths["lstm"], f"peer:{name}")


def changed(path: Path, to: Path, **attributes: Any) -> Path:
    """Write a model with other attributes of its recurrent nodes."""
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type in ("LSTM", "GRU", "RNN"):
            kept = [item for item in node.attribute if item.name not in attributes]
            del node.attribute[:]
            node.attribute.extend(kept)
            node.attribute.extend(
                onnx.helper.make_attribute(key, value) for key, value in attributes.items()
            )
    onnx.save(model, to)
    return to


@pytest.mark.parametrize(
    ("cell", "attributes"),
    [
        ("gru", {"linear_before_reset": 0}),
        ("lstm", {"clip": 3.0}),
        ("lstm", {"direction": "reverse"}),
        ("lstm", {"input_forget": 1}),
        ("lstm", {"activations": ["Sigmoid", "Relu", "Tanh"]}),
    ],
)
def test_torch_refuses_what_its_layers_do_not_have(
    cell: str, attributes: dict[str, Any], paths: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    path = changed(paths[cell], tmp_path / "m.onnx", **attributes)
    with pytest.raises(ModelError, match=rf"node '.*' \({cell.upper()}\): PyTorch has no"):
        open_session(path, "peer:torch")


def test_torch_refuses_a_graph_that_is_no_chain(paths: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    model = onnx.load(paths["gru"])
    last = model.graph.node[-1]
    last.output[0] = "twice"
    model.graph.node.append(onnx.helper.make_node("Mul", ["twice", "twice"], ["y"]))
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelError, match=r"\(Mul\): only recurrent and linear layers"):
        open_session(path, "peer:torch")


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_torch_modules_around_recurrent_layers(cell: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(8, 6)
            layers = {"gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
            self.rnn = layers(6, 5, num_layers=2, bidirectional=True, bias=False)
            self.last = torch.nn.Linear(10, 3)

        def forward(self, x: Any) -> Any:
            return torch.sigmoid(self.last(self.rnn(torch.relu(self.first(x)))[0]))

    path = tmp_path / "m.onnx"
    edgernn.export(Net(), (torch.zeros(6, 1, 8),), path, causal=False)
    x = np.random.default_rng(0).standard_normal((7, 2, 8)).astype(np.float32)
    right = open_session(path, "cpu").run({"x": x})["y"]
    assert np.abs(open_session(path, "peer:torch").run({"x": x})["y"] - right).max() < 1e-6


def test_threads_of_torch_are_restored(paths: dict[str, Path]) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    session = open_session(paths["lstm"], "peer:torch", threads=before + 1)
    assert torch.get_num_threads() == before + 1
    session.close()
    assert torch.get_num_threads() == before


def test_metadata_travel_with_the_session(paths: dict[str, Path]) -> None:
    session = open_session(paths["lstm"], "peer:onnxruntime")
    assert isinstance(session.metadata, Metadata)
    assert [spec.name for spec in session.states] == ["h_l0", "c_l0", "h_l1", "c_l1"]
    assert session.target == "peer:onnxruntime"
