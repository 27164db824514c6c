from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.models import ModelPair, write_model

import edgernn_runtimes
from edgernn.errors import UsageError
from edgernn_benchmarks.opening import (
    check_targets,
    is_peer,
    load_options,
    open_session,
    sizes_by_model,
)


@pytest.mark.skipif(
    not edgernn_runtimes.probe("native").available, reason=edgernn_runtimes.probe("native").detail
)
def test_targets_of_generated_c_are_given_the_generator(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.onnx")
    x = np.random.default_rng(0).standard_normal((1, 4, 8)).astype(np.float32)
    given, right = (open_session(path, name).run({"x": x})["y"] for name in ("native", "cpu"))
    assert np.abs(given - right).max() < 1e-6


def test_names_are_checked() -> None:
    check_targets(["cpu", "cuda", "peer:emx"])
    with pytest.raises(UsageError, match="unknown target 'tpu'; the targets are cpu, "):
        check_targets(["cpu", "tpu"])
    with pytest.raises(UsageError, match="unknown peer 'nope'; the peers are onnxruntime, "):
        check_targets(["peer:nope"])
    with pytest.raises(UsageError, match="unknown peer 'nope'"):
        open_session("m.onnx", "peer:nope")


def test_threads_go_to_those_that_take_them() -> None:
    assert load_options("cpu", 2) == {"threads": 2}
    assert load_options("peer:tract", 2) == {"threads": 2}
    assert load_options("cuda", 2) == load_options("mine", 2) == {}
    assert load_options("cpu", None) == {}
    assert load_options("cpu", 2, {"source": 5}) == {"threads": 2}
    assert load_options("native", None, {"source": 5}) == {"fixed": {"source": 5}}
    assert load_options("native", None, {}) == {}
    assert is_peer("peer:torch")
    assert not is_peer("torch")


def test_sizes_go_to_the_models_that_have_the_axis(models: ModelPair, decoder: Path) -> None:
    paths = [decoder, models.plain]
    assert sizes_by_model(paths, {"source": 5}) == {decoder: {"source": 5}, models.plain: {}}
    assert sizes_by_model(paths, {}) == {decoder: {}, models.plain: {}}
    with pytest.raises(UsageError, match=r"time is a time or batch axis of kw.onnx; scenarios"):
        sizes_by_model(paths, {"source": 5, "time": 9})
    with pytest.raises(UsageError, match=r"batch axis of decoder.onnx, kw.onnx"):
        sizes_by_model(paths, {"batch": 2})
    with pytest.raises(UsageError, match=r"dynamic axis sorce; .* are: source"):
        sizes_by_model(paths, {"sorce": 5})


def test_an_axis_that_is_time_in_another_model_can_be_fixed(tmp_path: Path, decoder: Path) -> None:
    encoder = write_model(tmp_path / "encoder.onnx", time="source")
    assert sizes_by_model([decoder, encoder], {"source": 5})[encoder] == {}
