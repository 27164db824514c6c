"""Graphs with recurrent nodes, and whether what was inferred of them streams."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from helpers.onnx_cells import Graph, inferred, run

import edgernn
from edgernn.contract import Contract
from edgernn.metadata import Metadata
from edgernn.streaming import run_in_chunks
from edgernn_exporters.onnx_files import save_model

WIDTH, HIDDEN = 3, 4
RNG = np.random.default_rng(0)


def weights(g: Graph, op_type: str, inputs: int = WIDTH, directions: int = 1) -> list[str]:
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[op_type] * HIDDEN
    shapes = [(gates, inputs), (gates, HIDDEN), (2 * gates,)]
    return [g.const(RNG.uniform(-0.7, 0.7, (directions, *shape))) for shape in shapes]


def layer(
    g: Graph, op_type: str, x: str, states: list[str], *, inputs: int = WIDTH, name: str = "rnn",
    lengths: str = "", direction: str = "forward",
) -> list[str]:  # fmt: skip
    """Add a recurrent node over [time, batch, in]; return Y, Y_h and Y_c."""
    directions = 2 if direction == "bidirectional" else 1
    return g.many(
        op_type, x, *weights(g, op_type, inputs, directions), lengths, *states,
        outputs=3 if op_type == "LSTM" else 2, name=name, hidden_size=HIDDEN, direction=direction,
    )  # fmt: skip


def opened(model: onnx.ModelProto, contract: Contract | None, folder: Path) -> Any:
    path = folder / "model.onnx"
    save_model(model, Metadata(contract=contract), path)
    return edgernn.load(path, target="cpu", threads=1)


def streams(
    original: onnx.ModelProto, zeros: Mapping[str, list[int]], x: np.ndarray, folder: Path,
    *, chunks: tuple[int, ...] = (1, 3),
) -> None:  # fmt: skip
    """Check that whole and in chunks the model gives what the original gives from zero states."""
    changed, contract, _ = inferred(original)
    assert contract is not None
    assert contract.stream.causal
    session = opened(changed, contract, folder)
    start = {name: np.zeros(shape, np.float32) for name, shape in zeros.items()}
    want = run(original, {"x": x, **start})
    whole = session.run({"x": x})
    for name, value in whole.items():
        np.testing.assert_allclose(value, want[name], rtol=0, atol=1e-5)
        for chunk in chunks:
            got = run_in_chunks(session, {"x": x}, chunk)[name]
            np.testing.assert_allclose(got, want[name], rtol=0, atol=1e-5)


def shapes(model: onnx.ModelProto) -> dict[str, list[Any]]:
    return {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)
