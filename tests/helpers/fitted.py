"""Keyword models that know something, made without training: random cells, a fitted readout."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from helpers.models import write_model
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgernn.tasks import get_task
from edgernn.tasks.base import Batch, DataSource
from edgernn_runtimes import load

_RIDGE = 1e-2


def write_keyword_model(path: Path, *, hidden_size: int = 48, **options: Any) -> Path:
    """Write a model for task ``keywords``: recurrent layers drawn at random, readout by ridge.

    It is right on about half of the clips, so that a coarse precision shows.

    Args:
        path: File to write.
        hidden_size: Units.
        **options: See `helpers.models.write_model`.
    """
    task = get_task("keywords")
    write_model(
        path,
        input_size=task.input_size,
        hidden_size=hidden_size,
        output_size=task.output_size,
        task=task.name,
        preprocessing=task.preprocessing(),
        **options,
    )
    model = onnx.load(path)
    readout = next(node for node in model.graph.node if node.op_type == "MatMul")
    value = helper.make_tensor_value_info(readout.input[0], onnx.TensorProto.FLOAT, None)
    model.graph.output.append(value)
    model.ClearField("metadata_props")
    probe = path.with_name(f"probe-{path.name}")
    onnx.save(model, probe)
    weights = _fit(probe, readout.input[0])
    probe.unlink()
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    onnx.save(model, path)
    return path


@cache
def _batches() -> tuple[Batch, ...]:
    return tuple(get_task("keywords").splits(DataSource())["train"].batches(100))


def _fit(probe: Path, hidden: str) -> dict[str, NDArray[np.float32]]:
    session = load(probe, "cpu", threads=1)
    features, targets = [], []
    for batch in _batches():
        inputs = {"x": batch.x}
        for spec in session.inputs:
            if spec.name != "x":  # without a contract the states are plain inputs
                shape = [size if isinstance(size, int) else len(batch.x) for size in spec.shape]
                inputs[spec.name] = np.zeros(shape, np.float32)
        features.append(session.run(inputs)[hidden].mean(axis=1, dtype=np.float64))
        targets.append(np.eye(10)[batch.targets] * 10)
    session.close()
    x = np.concatenate([np.concatenate(features), np.ones((sum(map(len, features)), 1))], axis=1)
    y = np.concatenate(targets)
    solved = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ y)
    return {"linear_w": solved[:-1].astype(np.float32), "linear_b": solved[-1].astype(np.float32)}
