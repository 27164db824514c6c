from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.models import ModelPair, write_pair
from onnx import helper, numpy_helper

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.metadata import Metadata
from edgernn_benchmarks import Report, benchmark

ACCURACY = {"kw.onnx": 0.992, "kw.int8.onnx": 0.9895}
DECODER = """<ir_version: 10, opset_import: ["": 21]>
decoder (int64[batch] token, float[batch, source, 8] memory, float[1, batch, 8] h)
    => (float[batch, 6] logits, float[1, batch, 8] h_next)
{
    embedded = Gather(table, token)
    axis = Constant<value_ints = [1]>()
    mean = ReduceMean<keepdims = 0>(memory, axis)
    joined = Concat<axis = 1>(embedded, mean)
    first = Constant<value_ints = [0]>()
    x = Unsqueeze(joined, first)
    sequence, h_next = GRU<hidden_size = 8, linear_before_reset = 1>(x, W, R, B, , h)
    state = Squeeze(h_next, first)
    logits = MatMul(state, head)
}
"""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> ModelPair:
    return write_pair(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def report(models: ModelPair) -> Report:
    """A real run: two models on cpu, and cuda as it is on this machine."""
    return benchmark(
        [models.plain, models.small],
        ["cpu", "cuda"],
        ["step", "sequence:20x2"],
        iterations=120,
        warmup=5,
        cold_starts=1,
        accuracy=lambda path, target: {"accuracy": ACCURACY[path.name]},
    )


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a model of one step: a token, and a memory of any size, whose mean it reads."""
    model = onnx.parser.parse_model(DECODER)
    rng = np.random.default_rng(0)
    sizes = {"table": (6, 8), "W": (1, 24, 16), "R": (1, 24, 8), "B": (1, 48), "head": (8, 6)}
    model.graph.initializer.extend(
        numpy_helper.from_array(rng.uniform(-0.5, 0.5, shape).astype(np.float32), name)
        for name, shape in sizes.items()
    )
    rows = Axes(batch=0, time=None)
    stream = StreamSpec(True, {"token": rows, "memory": rows}, {"logits": rows})
    contract = Contract((StateSpec("h", "h_next", batch_axis=1),), stream)
    helper.set_model_props(model, Metadata(contract).to_props())
    path = tmp_path_factory.mktemp("decoder") / "decoder.onnx"
    onnx.save(model, path)
    return path
