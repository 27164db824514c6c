from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import write_model

from edgernn.contract import Axes, TensorSpec
from edgernn.errors import AccuracyGateError
from edgernn.sessions import Array
from edgernn_exporters.quantization.proof import prove, random_inputs
from edgernn_runtimes import load


class Altered:
    """A real session whose streams return something else."""

    def __init__(self, path: Path, change: Any) -> None:
        self._real, self._change, self.closed = load(path, "cpu", threads=1), change, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def run(self, inputs: Mapping[str, Array]) -> Any:
        return self._real.run(inputs)

    def stream(self, batch: int = 1) -> Any:
        stream, change = self._real.stream(batch), self._change

        class Changed:
            def step(self, x: Any) -> Any:
                return {name: change(value) for name, value in stream.step(x).items()}

        return Changed()

    def close(self) -> None:
        self.closed = True


def test_a_sound_model_passes_and_is_closed(tmp_path: Path) -> None:
    session = Altered(write_model(tmp_path / "a.onnx"), lambda value: value)
    prove(session)
    assert session.closed


@pytest.mark.parametrize(
    "change", [lambda value: value + 0.1, lambda value: value * np.nan, np.zeros_like]
)
def test_a_stream_that_differs_fails(tmp_path: Path, change: Any) -> None:
    session = Altered(write_model(tmp_path / "a.onnx"), change)
    with pytest.raises(AccuracyGateError, match="in chunks of 1, output 'y' is off by"):
        prove(session)
    assert session.closed


def test_one_rounding_that_went_the_other_way_passes(tmp_path: Path) -> None:
    prove(Altered(write_model(tmp_path / "a.onnx"), lambda value: value + np.float32(1.5e-3)))


def test_random_inputs_follow_the_axes() -> None:
    specs = (TensorSpec("x", "float32", ("N", "T", 4)), TensorSpec("i", "int64", ("time", "batch")))
    made = random_inputs(specs, {"x": Axes(0, 1)}, batch=2, steps=9)
    assert {name: value.shape for name, value in made.items()} == {"x": (2, 9, 4), "i": (9, 2)}
    assert made["i"].dtype == np.int64
    assert set(made["i"].ravel()) == {0, 1}


def test_random_inputs_have_valid_lengths() -> None:
    specs = (TensorSpec("x", "float32", ("N", "T", 4)), TensorSpec("n", "int32", ("N",)))
    axes = {"x": Axes(0, 1), "n": Axes(0, None)}
    made = random_inputs(specs, axes, batch=3, steps=9, lengths="n")
    assert made["n"].tolist() == [9, 5, 1]
    assert made["n"].dtype == np.int32
