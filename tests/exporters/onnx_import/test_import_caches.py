"""Windows over the past in foreign files become states, so that the files stream."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers.causal_modules import TCN, Keywords, Spectral, TokenShift
from helpers.foreign import imported, save
from helpers.onnx_cells import Graph, run
from helpers.recurrent_graphs import HIDDEN, drawn, layer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import edgernn
from edgernn.contract import Contract
from edgernn.errors import AccuracyGateError
from edgernn.streaming import run_in_chunks
from edgernn_exporters.onnx_import import contract as contract_module

CHANNELS, BANDS = 3, 4
LENGTHS = (1, 5, 70)
Front = Callable[[Graph, str], str]


def convolution(g: Graph, x: str, kernel: Sequence[int], to: int, **attributes: Any) -> str:
    rng = np.random.default_rng(len(g.nodes))
    weights = g.const(rng.uniform(-0.6, 0.6, (to, *kernel)))
    bias = g.const(rng.uniform(-0.6, 0.6, to))
    return g.add("Conv", x, weights, bias, kernel_shape=list(kernel[1:]), **attributes)


def past(g: Graph, x: str, how: str, kernel: int = 3, dilation: int = 1) -> str:
    """Convolve [batch, channels, time] over the past."""
    reach = (kernel - 1) * dilation
    pads = {"pads": [reach, 0], "chomp": [reach, reach]}.get(how, [0, 0])
    if how == "pad":
        x = g.add("Pad", x, g.ints(0, 0, reach, 0, 0, 0))
    if how == "axes":
        x = g.add("Pad", x, g.ints(reach, 0), "", g.ints(-1))
    y = convolution(g, x, (CHANNELS, kernel), CHANNELS, pads=pads, dilations=[dilation])
    if how == "chomp":
        y = g.add("Slice", y, g.ints(0), g.ints(-reach), g.ints(2))
    return g.add("Relu", y)


def ahead(g: Graph, x: str) -> str:
    return convolution(g, x, (CHANNELS, 3), CHANNELS, pads=[1, 1])


def model_1d(
    front: Front, op_type: str, *, states: bool = False, time: int | str = "T"
) -> onnx.ModelProto:
    """Return ``x [N, T, C] -> y [N, T, H]``, with a front end over [N, C, T]."""
    g = Graph()
    y = front(g, g.add("Transpose", "x", perm=[0, 2, 1]))
    names = ["h0", "c0"][: 1 + (op_type == "LSTM")] if states else []
    y, *last = layer(g, op_type, g.add("Transpose", y, perm=[2, 0, 1]), names, inputs=CHANNELS)
    g.add("Transpose", g.add("Squeeze", y, g.ints(1)), perm=[1, 0, 2], to="y")
    for name, value in zip(names, last, strict=False):
        g.add("Identity", value, to=f"{name[0]}n")
    state = [1, "N", HIDDEN]
    return g.model(
        {"x": ["N", time, CHANNELS], **dict.fromkeys(names, state)},
        {"y": ["N", time, HIDDEN], **{f"{name[0]}n": state for name in names}},
    )


def tcn(g: Graph, x: str) -> str:
    """Return residual blocks, as of a temporal convolutional network."""
    for dilation in (1, 2):
        inner = past(g, past(g, x, "chomp", 3, dilation), "chomp", 3, dilation)
        x = g.add("Relu", g.add("Add", x, inner))
    return x


def model_2d(front: Front, op_type: str) -> onnx.ModelProto:
    """Return ``x [N, 1, T, F] -> y [T, 1, N, H]``, with a front end over [N, C, T, F]."""
    g = Graph()
    y = g.add("Transpose", front(g, "x"), perm=[2, 0, 1, 3])
    y = g.add("Reshape", y, g.ints(0, 0, -1))
    y, *_ = layer(g, op_type, y, [], inputs=2 * BANDS)
    g.add("Identity", y, to="y")
    return g.model({"x": ["N", 1, "T", BANDS]}, {"y": ["T", 1, "N", HIDDEN]})


def bands(g: Graph, x: str) -> str:
    """Convolve over time and frequency, padded by an operator and by the convolution's own pads."""
    padded = g.add("Pad", x, g.ints(0, 0, 2, 1, 0, 0, 0, 1))
    y = g.add("Relu", convolution(g, padded, (1, 3, 3), 2))
    return convolution(g, y, (2, 2, 3), 2, pads=[1, 1, 0, 1])


def check(path: Path, steps: Sequence[int] = LENGTHS, targets: Sequence[str] = ("cpu",)) -> Any:
    """Import a file and compare it, whole and in calls, with the original; return the import."""
    result = imported(path)
    contract = result.metadata.contract
    assert contract is not None
    assert contract.stream.causal
    original = onnx.load(path)
    names = [value.name for value in original.graph.input]
    (x,) = result.described.inputs
    places = contract.stream.inputs[x.name]
    for target in targets:
        session = edgernn.load(result.path, target)
        for length in steps:
            sizes: list[int] = [size if isinstance(size, int) else 2 for size in x.shape]
            assert places.time is not None
            sizes[places.time] = length
            inputs = {x.name: drawn(*sizes)}
            zeros = {name: np.zeros((1, 2, HIDDEN), np.float32) for name in names if name != x.name}
            want = run(original, {**inputs, **zeros})
            for name, whole in session.run(inputs).items():
                np.testing.assert_allclose(whole, want[name], rtol=0, atol=1e-5)
            for chunk in (1, 7, 64):
                for name, got in run_in_chunks(session, inputs, chunk).items():
                    np.testing.assert_allclose(got, want[name], rtol=0, atol=1e-5)
    return result


@settings(max_examples=8, deadline=None)
@given(
    op_type=st.sampled_from(["LSTM", "GRU"]),
    states=st.booleans(),
    layers=st.lists(
        st.tuples(
            st.sampled_from(["pad", "axes", "pads", "chomp"]), st.integers(1, 4), st.integers(1, 3)
        ),
        min_size=1, max_size=3,
    ),
)  # fmt: skip
def test_convolutions_over_the_past_keep_what_they_need(
    tmp_path_factory: pytest.TempPathFactory,
    op_type: str,
    states: bool,
    layers: list[tuple[str, int, int]],
) -> None:
    def front(g: Graph, x: str) -> str:
        for how, kernel, dilation in layers:
            x = past(g, x, how if kernel > 1 else "pads", kernel, dilation)
        return x

    folder = tmp_path_factory.mktemp("caches")
    result = check(save(model_1d(front, op_type, states=states), folder))
    caches = [spec.shape for spec in result.described.states if spec.name.endswith(".cache")]
    reaches = [(kernel - 1) * dilation for _, kernel, dilation in layers if kernel > 1]
    assert caches == [("batch", CHANNELS, reach) for reach in reaches]
    given_states = {"h0", "c0"}.intersection(spec.name for spec in result.described.states)
    assert len(given_states) == (0 if not states else 1 + (op_type == "LSTM"))


@pytest.mark.parametrize("states", [False, True])
def test_a_tcn_with_a_gru_runs_in_c_and_in_integers(states: bool, tmp_path: Path) -> None:
    path = save(model_1d(tcn, "GRU", states=states), tmp_path)
    result = check(path, targets=("cpu", "native"))
    assert len(result.metadata.contract.states) == 5
    assert result.proof.steps == 1000
    small = tmp_path / "small.onnx"
    edgernn.quantize(result.path, small, precision="int8-dynamic")
    x = drawn(2, 30, CHANNELS)
    want = edgernn.load(result.path, "cpu").run({"x": x})["y"]
    got = run_in_chunks(edgernn.load(small, "cpu"), {"x": x}, 7)["y"]
    np.testing.assert_allclose(got, want, rtol=0, atol=0.1)


def test_convolutions_over_time_and_frequency(tmp_path: Path) -> None:
    result = check(save(model_2d(bands, "LSTM"), tmp_path), targets=("cpu", "native"))
    shapes = [spec.shape for spec in result.described.states if spec.name.endswith(".cache")]
    assert shapes == [("batch", 1, 2, BANDS + 2), ("batch", 2, 1, BANDS)]
    assert any(".cache -> " in note for note in result.described.notes)


def test_padding_with_a_value_is_the_first_value_of_a_cache(tmp_path: Path) -> None:
    def front(g: Graph, x: str) -> str:
        padded = g.add("Pad", x, g.ints(0, 0, 2, 0, 0, 0), g.const(0.5))
        return convolution(g, padded, (CHANNELS, 3), CHANNELS)

    result = check(save(model_1d(front, "GRU"), tmp_path), targets=("cpu", "native"))
    cache = result.metadata.contract.states[-1]
    model = onnx.load(result.path)
    (first,) = [t for t in model.graph.initializer if t.name == cache.init]
    assert np.all(onnx.numpy_helper.to_array(first) == 0.5)


def test_axes_are_followed_through_sizes_that_are_computed(tmp_path: Path) -> None:
    """As PyTorch writes the flattening of directions and features behind a recurrent layer."""
    g = Graph()
    y = past(g, g.add("Transpose", "x", perm=[0, 2, 1]), "chomp")
    y, *_ = layer(g, "GRU", g.add("Transpose", y, perm=[2, 0, 1]), [], inputs=CHANNELS)
    y = g.add("Transpose", y, perm=[0, 2, 1, 3])
    shape = g.add("Shape", y)
    sizes = [g.add("Slice", shape, g.ints(at), g.ints(at + 1)) for at in range(4)]
    flat = g.add("Reshape", g.add("Mul", *sizes[2:]), g.ints(-1))
    g.add("Reshape", y, g.add("Concat", *sizes[:2], flat, axis=0), to="y")
    model = g.model({"x": ["N", "T", CHANNELS]}, {"y": ["T", "N", HIDDEN]})
    result = check(save(model, tmp_path))
    operators = [node.op_type for node in onnx.load(result.path).graph.node]
    assert "Mul" not in operators  # what is known of the sizes is constant
    assert operators.count("Reshape") == 1


def test_no_views_that_undo_each_other_stay(tmp_path: Path) -> None:
    """Nor copies, behind what the inference of the contract has changed."""
    result = check(save(model_1d(tcn, "GRU", states=True), tmp_path))
    operators = [node.op_type for node in onnx.load(result.path).graph.node]
    assert "Identity" not in operators
    assert operators.count("Squeeze") == 1
    assert "Unsqueeze" not in operators


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("states", [False, True])
def test_what_looks_ahead_stays_whole(states: bool, gate: bool, tmp_path: Path) -> None:
    path = save(model_1d(ahead, "GRU", states=states), tmp_path)
    result = imported(path, gate=gate)
    contract = result.metadata.contract
    assert contract is not None
    assert not contract.stream.causal
    assert not any(state.input.endswith(".cache") for state in contract.states)
    (note,) = [note for note in result.described.notes if "does not stream" in note]
    assert "(Conv) (its window spans 3 time steps, 1 of them padded by itself) looks 1" in note
    assert "--not-causal" not in note
    x = drawn(2, 9, CHANNELS)
    zeros = {"h0": np.zeros((1, 2, HIDDEN), np.float32)} if states else {}
    want = run(onnx.load(path), {"x": x, **zeros})
    got = edgernn.load(result.path, "cpu").run({"x": x})
    np.testing.assert_allclose(got["y"], want["y"], rtol=0, atol=1e-5)


def test_a_file_of_fixed_length_stays_whole(tmp_path: Path) -> None:
    result = imported(save(model_1d(tcn, "GRU", time=20), tmp_path))
    contract = result.metadata.contract
    assert contract is not None
    assert not contract.stream.causal
    assert any("the time axis stays 20 long" in note for note in result.described.notes)


def test_caches_that_do_not_hold_are_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof in calls decides; what is written then runs whole sequences only."""
    real = contract_module.with_caches

    def crossed(model: onnx.ModelProto, contract: Contract) -> tuple[onnx.ModelProto, Contract]:
        changed, found = real(model, contract)
        *others, one, two = found.states
        swapped = (replace(one, output=two.output), replace(two, output=one.output))
        return changed, replace(found, states=(*others, *swapped))

    monkeypatch.setattr(contract_module, "with_caches", crossed)
    asked: list[bool] = []

    def confirm(described: Any) -> bool:
        asked.append(described.contract.stream.causal)
        return True

    result = imported(save(model_1d(tcn, "GRU"), tmp_path), confirm=confirm)
    assert asked == [True, False]
    assert not result.metadata.contract.stream.causal
    assert not result.metadata.contract.states
    (note,) = [note for note in result.described.notes if "caches" in note]
    assert "the model does not stream: with caches" in note
    assert "is off by" in note


def test_a_layer_that_starts_anew_in_each_call_is_found_by_the_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A contract that leaves a layer's state out is a defect, and nothing is written."""
    real = contract_module._complete

    def forgetful(*args: Any, **options: Any) -> Contract | None:
        contract = real(*args, **options)
        assert contract is not None
        return replace(contract, stream=replace(contract.stream, causal=True))

    path = save(model_1d(lambda g, x: g.add("Relu", x), "GRU"), tmp_path)
    assert imported(path).path.exists()  # nothing but the layer looks back
    for file in tmp_path.glob("*"):
        file.unlink() if file != path else None
    monkeypatch.setattr(contract_module, "_complete", forgetful)
    monkeypatch.setattr(contract_module, "make_explicit", lambda *_: [])
    with pytest.raises(AccuracyGateError, match=r"of \d+ time steps in calls of 1 is off by"):
        imported(path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


class Stateful(nn.Module):
    """A causal front end and an LSTM whose states are arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.front = nn.Conv1d(5, 6, 3, padding=2)
        self.rnn = nn.LSTM(6, HIDDEN, batch_first=True)

    def forward(self, x: Tensor, h0: Tensor, c0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = torch.relu(self.front(x.transpose(1, 2))[:, :, :-2])
        y, (h, c) = self.rnn(y.transpose(1, 2), (h0, c0))
        return y, h, c


MODULES: dict[str, tuple[Callable[[], nn.Module], list[int], int]] = {
    "tcn": (TCN, [2, 12, 5], 4),
    "keywords": (Keywords, [2, 12, 5], 3),
    "spectral": (Spectral, [2, 1, 12, 8], 2),
    "token-shift": (TokenShift, [2, 12, 5], 4),
    "stateful": (Stateful, [2, 12, 5], 1),
}


@pytest.mark.parametrize(
    ("name", "dynamo"),
    [*((name, False) for name in MODULES),
     *(pytest.param(name, True, marks=pytest.mark.slow) for name in ("tcn", "keywords", "spectral",
                                                                     "stateful"))],
)  # fmt: skip
def test_what_pytorch_exports_for_whole_sequences(name: str, dynamo: bool, tmp_path: Path) -> None:
    make, sizes, caches = MODULES[name]
    torch.manual_seed(0)
    module, path = make().eval(), tmp_path / f"{name}.onnx"
    states = [torch.zeros(1, 2, HIDDEN) for _ in range(2)]  # one tensor twice is one input
    args = (torch.randn(*sizes), *(states if name == "stateful" else ()))
    names = ["x", "h0", "c0"][: len(args)]
    axes = {"x": {0: "batch", len(sizes) - 2: "time"}, "h0": {1: "batch"}, "c0": {1: "batch"}}
    outputs = ["y", "hn", "cn"] if name == "stateful" else None
    common: dict[str, Any] = {"input_names": names, "output_names": outputs, "dynamo": dynamo}
    if dynamo:
        shapes = tuple(axes[name] for name in names)
        common |= {"dynamic_shapes": shapes, "verbose": False, "external_data": False}
    else:
        common |= {"dynamic_axes": {name: axes[name] for name in names}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's exporters warn of themselves
        torch.onnx.export(module, args, path, **common)
    result = check(path, targets=("cpu", "native"))
    found = [state.input for state in result.metadata.contract.states]
    assert sum(name.endswith(".cache") for name in found) == caches
    assert {"h0", "c0"} <= set(found) or name != "stateful"
