"""Models of int8, w8a16 and int4 on every board: the integers of numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import normal
from helpers.integer_models import CELLS, SUFFIXES, Stack

import edgernn
from edgernn_runtimes.emulated.boards import BOARDS


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("precision", SUFFIXES)
def test_every_cell_has_the_integers_of_numpy(board: str, precision: str, tmp_path: Path) -> None:
    x = normal(1, 30, 2, 7)
    for seed, cell in enumerate(CELLS if precision == "int8" else CELLS[::2]):
        stack = Stack(cell, precision, [7, 20 + seed, 33], seed=seed)
        want, states = stack.run(x)
        session = edgernn.load(stack.write(tmp_path / f"{cell}.onnx"), board)
        try:
            np.testing.assert_array_equal(session.run({"x": x})["y"], want, err_msg=cell)
            stream = session.stream(batch=2)
            parts = [stream.step(x[:1]), stream.step(x[1:9])]
            other = session.stream(batch=2)
            other.state = stream.state
            parts.append(other.step(x[9:]))
            np.testing.assert_array_equal(np.concatenate(parts), want, err_msg=cell)
            for name, value in states.items():
                np.testing.assert_array_equal(other.state[name], value, err_msg=name, strict=True)
        finally:
            session.close()


@pytest.mark.parametrize("board", BOARDS)
def test_ten_thousand_steps_have_the_integers_of_numpy(board: str, tmp_path: Path) -> None:
    stack = Stack("lstm", "int8", [5, 24], seed=3)
    x = normal(2, 10_000, 1, 5)
    want, states = stack.run(x)
    session = edgernn.load(stack.write(tmp_path / "kw.onnx"), board)
    try:
        stream = session.stream()
        np.testing.assert_array_equal(stream.step(x), want)
        for name, value in states.items():
            np.testing.assert_array_equal(stream.state[name], value, err_msg=name)
    finally:
        session.close()
