"""``edgernn compare --drift``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.cli import Cli, runner
from helpers.graphs import normal
from helpers.models import ModelPair, write_model, write_pair

from edgernn.npz import write_npz


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return runner(capsys)


@pytest.fixture
def pair(tmp_path: Path) -> ModelPair:
    write_npz(tmp_path / "x.npz", {"x": normal(1, 1, 250, 8)})
    return write_pair(tmp_path)


@pytest.mark.parametrize("verb", ["compare", "run"])
def test_numbered_sequences_are_for_calibration(
    pair: ModelPair, tmp_path: Path, cli: Cli, verb: str
) -> None:
    write_npz(tmp_path / "x.npz", {"x.0": normal(1, 1, 25, 8), "x.1": normal(1, 1, 9, 8)})
    models = (pair.plain, pair.small) if verb == "compare" else (pair.plain,)
    shown = cli(verb, *models, "--inputs", tmp_path / "x.npz")
    assert shown.code == 3
    assert "holds numbered sequences such as 'x.0', as for calibration" in shown.err


def test_drift_repeats_the_input_and_gives_a_verdict(
    pair: ModelPair, tmp_path: Path, cli: Cli
) -> None:
    page = tmp_path / "page.html"
    asked = ("compare", pair.plain, pair.small, "--inputs", tmp_path / "x.npz", "--drift")
    shown = cli(*asked, "--steps", "5000", "--report", page)
    assert shown.code == 0, shown.err
    first, *rest = shown.out.splitlines()
    assert first == (
        "kw.int8.onnx on cpu against kw.onnx on cpu: 5,000 steps, the 250 of the input 20 times"
    )
    assert "verdict: bounded" in rest
    assert f"written to {page}" in rest
    assert "The error is bounded." in page.read_text()


def test_drift_as_json_holds_the_windows(pair: ModelPair, tmp_path: Path, cli: Cli) -> None:
    asked = ("compare", pair.plain, pair.small, "--inputs", tmp_path / "x.npz", "--drift")
    shown = cli(*asked, "--steps", "5000", "--json", "--report", tmp_path / "page.html")
    value = json.loads(shown.out)
    assert (value["verdict"], value["steps"], value["given_steps"]) == ("bounded", 5000, 250)
    assert value["candidate"] == "kw.int8.onnx on cpu"
    assert len(value["outputs"]["y"]["largest"]) == len(value["edges"]) - 1 > 100


def test_an_error_that_grows_ends_with_5_after_the_result(tmp_path: Path, cli: Cli) -> None:
    """A relu RNN whose state adds up its inputs, against one that adds up a little more."""
    paths = [write_adder(tmp_path / f"{gain}.onnx", gain) for gain in (1.0, 1.01)]
    write_npz(tmp_path / "x.npz", {"x": np.ones((1, 2000, 1), np.float32)})
    shown = cli("compare", *paths, "--inputs", tmp_path / "x.npz", "--drift")
    assert shown.code == 5
    assert "verdict: growing" in shown.out
    assert "the error of output 'y' grows" in shown.err


def write_adder(path: Path, gain: float) -> Path:
    import onnx
    from onnx import numpy_helper

    write_model(path, cell="rnn", input_size=1, hidden_size=1, output_size=1)
    model = onnx.load(path)
    values = {"linear_w": [[1.0]], "linear_b": [0.0]}
    for node in model.graph.node:
        if node.op_type == "RNN":
            values |= {node.input[1]: [[[gain]]], node.input[2]: [[[1.0]]],
                       node.input[3]: [[0.0, 0.0]]}  # fmt: skip
            node.attribute.append(onnx.helper.make_attribute("activations", ["Relu"]))
    for tensor in model.graph.initializer:
        if tensor.name in values:
            value = np.array(values[tensor.name], np.float32)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--steps", "2000"), "--steps goes with a long stream; add --drift"),
        (("--report", "page.html"), "--report goes with a long stream; add --drift"),
        (("--drift", "--tolerance", "0.1"), "use one"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    pair: ModelPair, tmp_path: Path, cli: Cli, options: tuple[str, ...], reason: str
) -> None:
    asked = ("compare", pair.plain, pair.small, "--inputs", tmp_path / "x.npz")
    shown = cli(*asked, *options)
    assert shown.code == 2
    assert reason in shown.err


def test_too_short_a_run_says_what_to_do(pair: ModelPair, tmp_path: Path, cli: Cli) -> None:
    shown = cli("compare", pair.plain, pair.small, "--inputs", tmp_path / "x.npz", "--drift")
    assert shown.code == 3
    assert "drift needs at least 1000 time steps, not 250" in shown.err
    assert "--steps 100000, which repeats it" in shown.err
