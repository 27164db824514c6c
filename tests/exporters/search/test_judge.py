from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.fitted import write_keyword_model
from onnx import numpy_helper

import edgernn
from edgernn.errors import AccuracyGateError, InputError
from edgernn.tasks import get_task
from edgernn.tasks.base import Arrays, Batch, DataSource, Metric, Run, Split
from edgernn_exporters.search import Judge
from edgernn_exporters.search.judge import HeldSplit
from edgernn_runtimes import load

open_cpu = partial(load, target="cpu", threads=1)


def changed(source: Path, path: Path, name: str, factor: float) -> Path:
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        if tensor.name == name:
            value = numpy_helper.to_array(tensor) * np.float32(factor)
            tensor.CopyFrom(numpy_helper.from_array(value, name))
    onnx.save(model, path)
    return path


def test_the_float_model_has_neither_drop_nor_noise(keywords: Path, judge_of) -> None:
    judge = judge_of(keywords)
    judged = judge(open_cpu(keywords))
    assert (judged.drop, judged.noise) == (0.0, 0.0)
    assert judged.metric == judge.reference
    assert judge.reference == edgernn.evaluate(keywords, split="validation")["accuracy"]
    assert judge.examples == 60


def test_the_drop_is_the_difference_of_accuracies(keywords: Path, judge_of, tmp_path: Path) -> None:
    worse = changed(keywords, tmp_path / "w.onnx", "R_1", 0.0)
    judged = judge_of(keywords)(open_cpu(worse))
    measured = edgernn.evaluate(worse, split="validation")["accuracy"]
    assert judged.metric == measured
    reference = edgernn.evaluate(keywords, split="validation")["accuracy"]
    assert judged.drop == pytest.approx(reference - measured)
    assert judged.noise > 0


def test_the_noise_is_a_share_of_the_signal(keywords: Path, judge_of, tmp_path: Path) -> None:
    model = onnx.load(keywords)
    for tensor in model.graph.initializer:
        if tensor.name in ("linear_w", "linear_b"):
            value = numpy_helper.to_array(tensor) * np.float32(1.1)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    onnx.save(model, tmp_path / "louder.onnx")
    judged = judge_of(keywords)(open_cpu(tmp_path / "louder.onnx"))
    assert judged.noise == pytest.approx(0.01, rel=1e-3)
    assert judged.drop == 0.0


def test_values_that_are_not_finite_are_refused(keywords: Path, judge_of, tmp_path: Path) -> None:
    broken = changed(keywords, tmp_path / "b.onnx", "linear_w", np.inf)
    with pytest.raises(AccuracyGateError, match="NaN or infinite"):
        judge_of(keywords)(open_cpu(broken))


def test_the_fingerprint_is_that_of_data_and_model(
    keywords: Path, judge_of, tmp_path: Path
) -> None:
    task = get_task("keywords")
    other = Judge(task, task.splits(DataSource())["test"], open_cpu(keywords))
    prints = {judge_of(keywords).fingerprint, other.fingerprint}
    assert judge_of(keywords).fingerprint in prints
    assert len(prints) == 2


class Forecast:
    """A task whose metric is better when lower: mean squared error of the first output."""

    name = "forecast"
    metric = Metric("mse", higher_is_better=False)

    def score(self, run: Run, split: Split) -> dict[str, float]:
        errors = [np.mean(run({"x": b.x})["y"][..., 0] ** 2) for b in split.batches(7)]
        return {"mse": float(np.mean(errors)), "rows": 1.0}


def test_the_drop_of_an_error_is_its_relative_increase(keywords: Path, tmp_path: Path) -> None:
    split = get_task("keywords").splits(DataSource())["validation"]
    judge = Judge(Forecast(), split, open_cpu(keywords))  # type: ignore[arg-type]
    model = onnx.load(keywords)
    for tensor in model.graph.initializer:
        if tensor.name in ("linear_w", "linear_b"):
            value = numpy_helper.to_array(tensor) * np.float32(1.1)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    onnx.save(model, tmp_path / "louder.onnx")
    assert judge(open_cpu(tmp_path / "louder.onnx")).drop == pytest.approx(0.21, rel=1e-4)


class Counted:
    """A split that counts how often it is read."""

    def __init__(self, inner: Split) -> None:
        self._inner, self.read = inner, 0

    def __len__(self) -> int:
        return len(self._inner)

    def epoch(self, epoch: int, *, seed: int, batch_size: int) -> Iterator[Batch]:
        return self._inner.epoch(epoch, seed=seed, batch_size=batch_size)

    def batches(self, batch_size: int) -> Iterator[Batch]:
        self.read += 1
        return self._inner.batches(batch_size)


def test_batches_are_computed_once_for_each_size() -> None:
    counted = Counted(get_task("keywords").splits(DataSource())["validation"])
    held = HeldSplit(counted)
    first, second = list(held.batches(10)), list(held.batches(10))
    assert all(a is b for a, b in zip(first, second, strict=True))
    assert counted.read == 1
    assert max(len(batch.x) for batch in held.batches(3)) == 3
    assert counted.read == 2
    assert len(held) == len(counted)


def test_a_model_for_something_else_is_refused(tmp_path: Path, judge_of) -> None:
    path = write_keyword_model(tmp_path / "kw.onnx")
    model = onnx.load(path)
    outputs: Mapping[str, onnx.NodeProto] = {n.output[0]: n for n in model.graph.node}
    outputs["y"].output[0] = "z"
    model.graph.output[0].name = "z"
    model.ClearField("metadata_props")
    onnx.save(model, path)
    session = open_cpu(path)

    class Run:
        def run(self, inputs: Arrays) -> Arrays:
            states = {"h_l0": np.zeros((1, len(inputs["x"]), 48), np.float32)}
            return dict(session.run({**inputs, **states}))

    task = get_task("keywords")
    with pytest.raises(InputError, match="needs the output y"):
        Judge(task, task.splits(DataSource())["validation"], Run())  # type: ignore[arg-type]
