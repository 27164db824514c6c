"""The gate on real models whose graphs were damaged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import normal
from helpers.models import write_model

from edgernn.errors import AccuracyGateError
from edgernn.sessions import Array, Arrays
from edgernn_exporters.gate import GateResult, Shapes, gate
from edgernn_runtimes import load

SHAPES = Shapes((1, 5), (1, 3))


def sample(batch: int, length: int) -> Arrays:
    return {"x": normal(batch * length, batch, length, 8)}


def check(session: Any, reference: Callable[[Arrays], Arrays], **options: Any) -> GateResult:
    return gate(session, reference, sample, SHAPES, steps=100, **options)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write_model(tmp_path / "sound.onnx")


def damaged(path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(path)
    change(model)
    copy = path.with_name("damaged.onnx")
    onnx.save(model, copy)
    return copy


def test_a_sound_model_passes_and_is_counted(sound: Path) -> None:
    session = load(sound, "cpu", threads=1)
    result = check(session, session.run)
    assert result.cases == 4 + 1 + 3
    assert 0 <= result.max_error < 1e-6


def test_the_other_reset_form_is_noticed(sound: Path) -> None:
    def flip(model: onnx.ModelProto) -> None:
        node = next(node for node in model.graph.node if node.op_type == "GRU")
        next(a for a in node.attribute if a.name == "linear_before_reset").i = 0

    expected = (
        r"PyTorch against ONNX Runtime, batch \d, length \d: output 'y' is off by .* from time"
    )
    with pytest.raises(AccuracyGateError, match=expected) as caught:
        check(load(damaged(sound, flip), "cpu"), load(sound, "cpu").run)
    assert caught.value.exit_code == 5


def test_swapped_gates_are_noticed(sound: Path) -> None:
    def swap(model: onnx.ModelProto) -> None:
        weight = next(t for t in model.graph.initializer if t.name.startswith("W_"))
        value = onnx.numpy_helper.to_array(weight)
        swapped = np.concatenate([value[:, 16:32], value[:, :16], value[:, 32:]], axis=1)
        weight.CopyFrom(onnx.numpy_helper.from_array(swapped, weight.name))

    with pytest.raises(AccuracyGateError, match=r"batch 1, length 1: output 'y' is off by"):
        check(load(damaged(sound, swap), "cpu"), load(sound, "cpu").run)


def test_a_state_that_is_not_handed_on_is_noticed(tmp_path: Path) -> None:
    path = write_model(tmp_path / "a.onnx", cell="lstm")

    def cross(model: onnx.ModelProto) -> None:
        prop = next(p for p in model.metadata_props if p.key == "edgernn.state")
        prop.value = prop.value.replace("h_l0_next", "?").replace("c_l0_next", "h_l0_next")
        prop.value = prop.value.replace("?", "c_l0_next")

    with pytest.raises(AccuracyGateError, match=r"step by step .* from time step 1 on .*causal"):
        check(load(damaged(path, cross), "cpu"), load(path, "cpu").run)


def test_a_fixed_batch_is_noticed(sound: Path) -> None:
    def fix(model: onnx.ModelProto) -> None:
        shape = next(t for t in model.graph.initializer if t.name.startswith("shape_"))
        shape.CopyFrom(onnx.numpy_helper.from_array(np.array([0, 1, 16]), shape.name))

    with pytest.raises(AccuracyGateError, match=r"batch 3, length 1: the exported model does not"):
        check(load(damaged(sound, fix), "cpu"), load(sound, "cpu").run)


class Streaming:
    """A real session whose streams fail."""

    def __init__(self, session: Any, step: Callable[[Any], Any]) -> None:
        self._session, self._step = session, step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def stream(self, batch: int = 1) -> Any:
        stream = self._session.stream(batch)
        outer = self

        class Changed:
            def step(self, x: Mapping[str, Array]) -> Any:
                return {key: outer._step(value) for key, value in stream.step(x).items()}

        return Changed()


def test_nan_and_wrong_shapes_from_a_stream_are_noticed(sound: Path) -> None:
    session = load(sound, "cpu")
    with pytest.raises(AccuracyGateError, match=r"step by step .* is off by nan from time step 0"):
        check(Streaming(session, lambda y: y * np.nan), session.run)
    with pytest.raises(
        AccuracyGateError, match=r"has shape \[2, 200, 4\] instead of \[2, 100, 4\]"
    ):
        check(Streaming(session, lambda y: np.repeat(y, 2, axis=1)), session.run)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_reference_that_is_not_finite_is_told_apart(sound: Path, value: float) -> None:
    session = load(sound, "cpu")
    with pytest.raises(AccuracyGateError, match=r"the reference itself returns NaN"):
        check(session, lambda inputs: {"y": session.run(inputs)["y"] + np.float32(value)})


def test_the_tolerance_decides(sound: Path) -> None:
    session = load(sound, "cpu")

    def shifted(inputs: Arrays) -> Arrays:
        return {"y": session.run(inputs)["y"] + np.float32(1e-3)}

    assert check(session, shifted, tolerance=2e-3).max_error == pytest.approx(1e-3, rel=0.01)
    with pytest.raises(AccuracyGateError, match=r"off by 0.001 .*tolerance 5.0e-04"):
        check(session, shifted, tolerance=5e-4)


def test_rounding_of_the_source_widens_the_tolerance_up_to_a_limit(sound: Path) -> None:
    session = load(sound, "cpu")

    def shifted(by: float) -> Callable[[Arrays], Arrays]:
        return lambda inputs: {"y": session.run(inputs)["y"].astype(np.float64) + by}

    # The source is off from ONNX Runtime by 5e-5, and in float32 off from itself by as much.
    result = check(session, shifted(5e-5), exact=shifted(0.0))
    assert result.max_error == pytest.approx(5e-5, rel=0.01)
    assert result.rounding == pytest.approx(5e-5, rel=0.01)
    with pytest.raises(AccuracyGateError, match="off by 5e-05"):
        check(session, shifted(5e-5), exact=shifted(4.9e-5))
    with pytest.raises(AccuracyGateError, match=r"tolerance 1\.0e-02"):
        check(session, shifted(0.02), exact=shifted(0.0))


def test_a_tolerance_of_the_caller_is_not_widened(sound: Path) -> None:
    session = load(sound, "cpu")

    def shifted(inputs: Arrays) -> Arrays:
        return {"y": session.run(inputs)["y"].astype(np.float64) + 5e-5}

    with pytest.raises(AccuracyGateError, match=r"tolerance 1\.0e-05"):
        check(session, shifted, exact=session.run, tolerance=1e-5)


def test_no_case_is_no_proof(sound: Path) -> None:
    session = load(sound, "cpu")
    whole = replace(session.metadata.contract.stream, causal=False)
    contract = replace(session.metadata.contract, stream=whole)
    session.metadata = replace(session.metadata, contract=contract)
    with pytest.raises(AccuracyGateError, match="no case"):
        gate(session, session.run, sample, Shapes([], [1]))


@pytest.mark.parametrize(("length", "batch"), [(1, 1), (5, 3), (100, 2), (None, None)])
def test_shapes_are_three_and_not_the_traced_ones(length: int | None, batch: int | None) -> None:
    shapes = Shapes.other_than(length, batch)
    assert len(set(shapes.lengths)) == len(set(shapes.batches)) == 3
    assert length not in shapes.lengths
    assert batch not in shapes.batches
