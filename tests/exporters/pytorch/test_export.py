from __future__ import annotations

import getpass
import re
import socket
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers.modules import Convolved, Deciding, Positioned, Tagger
from torch import Tensor, nn

from edgernn.contract import Axes
from edgernn.errors import AccuracyGateError, EdgernnError, InputError, ModelError
from edgernn.metadata import Metadata
from edgernn.streaming import run_in_chunks
from edgernn_exporters.pytorch.export import Exported, export
from edgernn_exporters.pytorch.outputs import flatten_outputs
from edgernn_runtimes import load

from .conftest import RECIPES, Made, open_cpu

X = (torch.zeros(1, 10, 5),)


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def run_both(made: Made, inputs: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    module, exported = made
    with torch.no_grad():
        wanted = flatten_outputs(module(*map(torch.from_numpy, inputs.values())))[1]
    got = load(exported.path, "cpu", threads=1).run(inputs)
    return [(a.numpy(), b) for a, b in zip(wanted, got.values(), strict=True)]


def draw(exported: Exported, batch: int, length: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng, contract = np.random.default_rng(seed), exported.metadata.contract
    assert contract is not None
    result: dict[str, np.ndarray] = {}
    for spec in load(exported.path, "cpu").inputs:
        axes = contract.stream.inputs[spec.name]
        sizes = {axes.batch: batch, axes.time: length}
        shape = [sizes.get(axis, size) for axis, size in enumerate(spec.shape)]
        if spec.dtype == "int64":
            result[spec.name] = rng.integers(0, 11, shape)
        else:
            result[spec.name] = rng.standard_normal(shape).astype(np.float32)
    return result


@pytest.mark.parametrize("name", RECIPES)
def test_the_exported_model_is_the_same_function(made: Callable[[str], Made], name: str) -> None:
    for batch, length in ((1, 4), (5, 23), (3, 130)):
        for want, have in run_both(made(name), draw(made(name)[1], batch, length)):
            np.testing.assert_allclose(have, want, atol=2e-6)


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in ("rnn-both", "ahead")])
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_chunks_give_the_whole_sequence(made: Callable[[str], Made], name: str, chunk: int) -> None:
    exported = made(name)[1]
    inputs, session = draw(exported, 3, 23), load(exported.path, "cpu", threads=1)
    whole, pieces = session.run(inputs), run_in_chunks(session, inputs, chunk)
    for key, value in whole.items():
        np.testing.assert_allclose(pieces[key], value, atol=2e-6)


def test_recurrent_layers_stay_whole_nodes_without_shape_arithmetic(
    made: Callable[[str], Made],
) -> None:
    assert operators(made("lstm-2")[1].path).count("LSTM") == 2
    assert operators(made("rnn-both")[1].path).count("RNN") == 1
    assert sorted(set(operators(made("two-blocks")[1].path)) & {"GRU", "LSTM"}) == ["GRU", "LSTM"]
    for name in ("gru", "lstm-2", "rnn-both", "two-blocks", "bare"):
        assert "Shape" not in operators(made(name)[1].path), name


def test_batch_and_time_are_dynamic_and_states_explicit(made: Callable[[str], Made]) -> None:
    session = load(made("two-blocks")[1].path, "cpu")
    assert [str(spec) for spec in session.inputs] == ["ids int64 [batch, time]"]
    assert [spec.name for spec in session.outputs] == ["logits", "last"]
    assert [str(spec) for spec in session.states] == [
        "encoder.h_l0 float32 [1, batch, 6]",
        "decoder.h_l0 float32 [1, batch, 6]",
        "decoder.c_l0 float32 [1, batch, 6]",
        "decoder.h_l1 float32 [1, batch, 6]",
        "decoder.c_l1 float32 [1, batch, 6]",
    ]
    contract = session.metadata.contract
    assert contract is not None
    assert contract.stream.causal
    assert contract.stream.outputs == {"logits": Axes(0, 1), "last": Axes(0, None)}
    assert contract.states[0].output == "encoder.h_l0.next"


def test_layouts_and_directions_are_told(made: Callable[[str], Made]) -> None:
    time_first = made("lstm-2")[1].metadata.contract
    both = made("rnn-both")[1].metadata.contract
    assert time_first is not None
    assert both is not None
    assert time_first.stream.inputs == {"x": Axes(batch=1, time=0)}
    assert not both.stream.causal
    assert made("conditioned")[1].metadata.contract.stream.inputs["speaker"] == Axes(0, None)
    assert made("last-step")[1].metadata.contract.stream.outputs["y1"] == Axes(1, None)


def test_the_file_tells_nothing_of_this_machine(made: Callable[[str], Made]) -> None:
    for name in ("gru", "two-blocks"):
        content = made(name)[1].path.read_bytes()
        for trace in (str(Path.cwd()), str(Path.home()) + "/", "site-packages", ".py", "Traceback"):
            assert trace.encode() not in content, trace
        assert socket.gethostname().encode() not in content
        assert f"/{getpass.getuser()}/".encode() not in content


def test_the_gate_is_recorded(made: Callable[[str], Made]) -> None:
    exported = made("gru")[1]
    assert exported.gate is not None
    assert exported.gate.cases == 9 + 1 + 3
    assert load(exported.path, "cpu").metadata == exported.metadata
    assert exported.metadata.gate["max_error"] <= exported.metadata.gate["tolerance"]


def test_the_same_module_gives_the_same_bytes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Tagger("gru")
    first = export(module, X, tmp_path / "a.onnx", load=None).path.read_bytes()
    assert export(module, X, tmp_path / "b.onnx", load=None).path.read_bytes() == first


def test_training_mode_and_forward_are_left_as_they_were(tmp_path: Path) -> None:
    module = Tagger("gru", num_layers=2, dropout=0.5).train()
    module.head.eval()
    export(module, X, tmp_path / "a.onnx", load=open_cpu)
    assert module.training
    assert module.rnn.training
    assert not module.head.training
    assert "forward" not in vars(module.rnn)
    assert not dict(module.named_buffers())


def test_metadata_and_output_names_go_into_the_file(tmp_path: Path) -> None:
    given = Metadata(task="keywords", preprocessing={"kind": "logmel"}, parent="ab")
    path = tmp_path / "a.onnx"
    export(Tagger("gru"), X, path, load=None, metadata=given, output_names=["logits"])
    session = load(path, "cpu")
    assert session.outputs[0].name == "logits"
    assert (session.metadata.task, session.metadata.parent) == ("keywords", "ab")
    assert session.metadata.gate is None
    assert session.metadata.unproven == "exported with --no-gate"


def test_outputs_may_be_integers_and_truth_values(tmp_path: Path) -> None:
    exported = export(Deciding(), X, tmp_path / "a.onnx", load=open_cpu)
    assert exported.gate is not None
    outputs = {spec.name: spec.dtype for spec in open_cpu(exported.path).outputs}
    assert outputs == {"logits": "float32", "best": "int64", "sure": "bool"}


@pytest.mark.slow
@pytest.mark.parametrize("opset", [18, 23])
def test_other_opsets(tmp_path: Path, opset: int) -> None:
    exported = export(Tagger("lstm"), X, tmp_path / "a.onnx", load=open_cpu, opset=opset)
    model = onnx.load(exported.path)
    assert next(i.version for i in model.opset_import if not i.domain) == opset
    onnx.checker.check_model(model, full_check=True)


CASES = list(product(("lstm", "gru", "rnn"), (1, 2, 3), (False, True)))
MATRIX = [case for index, case in enumerate(CASES) if index % 4 in (0, 3)]  # an export takes 3 s


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "layers", "both"), MATRIX)
def test_every_configuration_passes_the_gate(
    tmp_path: Path, cell: str, layers: int, both: bool
) -> None:
    rng = np.random.default_rng(MATRIX.index((cell, layers, both)))
    inputs, hidden = (int(size) for size in rng.integers(1, 20, 2))
    batch_first, bias = (bool(value) for value in rng.integers(0, 2, 2))
    options: dict[str, Any] = {"nonlinearity": "relu"} if cell == "rnn" and bias else {}
    torch.manual_seed(layers)
    module = Tagger(
        cell, inputs, hidden, num_layers=layers, bidirectional=both,
        batch_first=batch_first, bias=bias, **options,
    )  # fmt: skip
    args = (torch.zeros((1, 6, inputs) if batch_first else (6, 1, inputs)),)
    exported = export(module, args, tmp_path / "a.onnx", load=open_cpu)
    assert exported.gate is not None
    assert operators(exported.path).count(cell.upper()) == layers
    assert "Shape" not in operators(exported.path)
    onnx.checker.check_model(onnx.load(exported.path), full_check=True)


# What cannot be exported


class WithForward(nn.Module):
    """A GRU and a forward given by the test."""

    def __init__(self, forward: Callable[[Any, Tensor], Any], **options: Any) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 7, batch_first=True, **options)
        self.spare = nn.GRU(7, 7, batch_first=True)
        self._forward = forward

    def forward(self, x: Tensor) -> Any:
        return self._forward(self, x)


def _random_state(module: Any, x: Tensor) -> Tensor:
    return module.spare(module.rnn(x, torch.randn(1, len(x), 7))[0])[0]


def _in_a_loop(module: Any, x: Tensor) -> Tensor:
    return torch.cat([module.rnn(x[:, t : t + 1])[0] for t in range(x.shape[1])], 1)


def _by_length(module: Any, x: Tensor) -> Tensor:
    y = module.spare(module.rnn(x)[0])[0]
    return y if x.shape[1] < 12 else -y


def _by_value(module: Any, x: Tensor) -> Tensor:
    y = module.spare(module.rnn(x)[0])[0]
    return y if float(x.sum()) > 0 else -y


def _always_dropping(module: Any, x: Tensor) -> Tensor:
    return nn.functional.dropout(module.spare(module.rnn(x)[0])[0], 0.5)


def _merged(module: Any, x: Tensor) -> Tensor:
    return module.spare(module.rnn(x)[0])[0].reshape(-1, 7)


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (_random_state, "'rnn' starts from other values in each pass.*zeros or from a parameter"),
        (_in_a_loop, "'rnn' is called 10 times .* 20 times .*once on the whole sequence"),
        (lambda module, x: 3, "returned int without a tensor"),
        (lambda module, x: {"x": module.spare(module.rnn(x)[0])[0]}, "distinct names, but x"),
        (_merged, "batch and time in one axis"),
        (_by_value, r"WithForward: test_export.py, line \d+ \(return y .*values of a tensor"),
        (_always_dropping, "other values in each pass .*training=self.training"),
    ],
)
def test_forwards_that_cannot_be_exported_are_named(
    tmp_path: Path,
    forward: Callable[[Any, Tensor], Any],
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ModelError, match=expected) as caught:
        export(WithForward(forward), X, tmp_path / "a.onnx", load=open_cpu)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")  # PyTorch prints the graph that it gave up on
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.Linear(5, 2), "has no nn.LSTM, nn.GRU or nn.RNN layer"),
        (Tagger("gru").double(), "float64.*module.float"),
        (Tagger("gru").to("meta"), "'rnn.weight_ih_l0' has no values yet; load a checkpoint"),
        (nn.Sequential(nn.LazyLinear(5), nn.GRU(5, 7)), "'0.weight' has no values yet.*run the"),
        (Tagger("gru", bidirectional=True), "causal=True, but layer 'rnn' is bidirectional"),
    ],
)
def test_modules_that_cannot_be_exported_are_named(
    tmp_path: Path, module: nn.Module, expected: str
) -> None:
    with pytest.raises(ModelError, match=expected):
        export(module, X, tmp_path / "a.onnx", load=None, causal=True)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    module = Tagger("gru")
    module.rnn.weight_hh_l0.data[3, 4] = torch.nan
    with pytest.raises(ModelError, match=r"'rnn.weight_hh_l0' holds NaN"):
        export(module, X, tmp_path / "a.onnx", load=None)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((torch.zeros(1, 10, 6),), r"fails on example inputs of shapes \[\[1, 10, 6\]\]"),
        ((torch.zeros(5),), r"fails on example inputs of shapes \[\[5\]\]"),
        ((torch.zeros(0, 10, 5),), "no values"),
        (torch.zeros(1, 10, 5), "tuple of tensors"),
        ((), "tuple of tensors"),
        (([[1.0]],), "tuple of tensors"),
        ((torch.zeros(1, 10, 5, dtype=torch.float64),), "fails on example inputs"),
        ((torch.zeros(1, 10, 5), torch.zeros(1, 10, 5)), "fails on example inputs"),
    ],
)
def test_examples_that_do_not_fit_are_refused(tmp_path: Path, args: Any, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        export(Tagger("gru"), args, tmp_path / "a.onnx", load=None)


def test_output_names_must_be_one_for_each_output(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 names, but the module returns 1"):
        export(Tagger("gru"), X, tmp_path / "a.onnx", load=None, output_names=["a", "b"])


def test_a_module_that_looks_beyond_its_state_fails_the_gate_and_the_old_file_stays(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"old")
    expected = r"step by step against .*'y' is off by .* from time step 1 on .*causal=False"
    with pytest.raises(AccuracyGateError, match=expected) as caught:
        export(Positioned(), X, path, load=open_cpu)
    assert caught.value.exit_code == 5
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.onnx"]


@pytest.mark.slow
def test_a_module_that_depends_on_the_length_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgernnError) as caught:
        export(WithForward(_by_length), X, tmp_path / "a.onnx", load=open_cpu)
    assert caught.value.exit_code in (3, 5)
    assert re.search("control flow|off by", str(caught.value))
    assert list(tmp_path.iterdir()) == []


class Gaps(Tagger):
    """Takes the logarithm of how long ago the step before was."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.log1p(x))


def test_inputs_that_are_never_negative_are_drawn_so(tmp_path: Path) -> None:
    example = torch.rand(1, 10, 5, generator=torch.Generator().manual_seed(0))
    assert export(Gaps("gru"), (example,), tmp_path / "a.onnx", load=open_cpu).gate is not None
    with pytest.raises(AccuracyGateError, match=r"NaN or infinite .* in output 'y'"):
        export(Gaps("gru"), (example - 0.5,), tmp_path / "a.onnx", load=open_cpu)


def test_a_non_causal_module_may_need_long_sequences(tmp_path: Path) -> None:
    exported = export(Convolved((0, 0)), X, tmp_path / "a.onnx", load=open_cpu, causal=False)
    session = load(exported.path, "cpu")
    assert session.run({"x": np.zeros((2, 12, 5), np.float32)})["y"].shape == (2, 10, 7)


def test_a_causal_module_must_run_one_step(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'conv' .* looks 2 time steps ahead"):
        export(Convolved((0, 0)), X, tmp_path / "a.onnx", load=open_cpu)
