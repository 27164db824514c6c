"""Generated projects of real models on every board, against ONNX Runtime and each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import normal
from helpers.models import write_model
from helpers.scans import cell_model

import edgernn
from edgernn.streaming import run_in_chunks
from edgernn_runtimes.emulated.boards import BOARDS
from edgernn_runtimes.emulated.session import EmulatedSession

Write = Callable[..., Path]
X = normal(1, 2, 11, 8)


@contextmanager
def opened(path: Path, board: str, **options: Any) -> Iterator[EmulatedSession]:
    session = edgernn.load(path, board, **options)
    assert isinstance(session, EmulatedSession)
    try:
        yield session
    finally:
        session.close()


@pytest.mark.parametrize("board", BOARDS)
def test_a_float_model_gives_what_onnxruntime_gives(model: Write, board: str) -> None:
    path = model(cell="lstm", layers=2)
    want = edgernn.load(path, "cpu", threads=1).run({"x": X})["y"]
    with opened(path, board) as session:
        whole = session.run({"x": X})["y"]
        np.testing.assert_allclose(whole, want, atol=2e-6)
        for chunk in (1, 4, 5):
            np.testing.assert_allclose(
                run_in_chunks(session, {"x": X}, chunk)["y"], whole, atol=2e-6
            )
        counted = session.measure(20)
        assert counted == session.measure(20)
        assert counted.flash_bytes > session.served.project.weight_bytes
        assert counted.static_ram_bytes >= session.served.project.state_bytes


@pytest.mark.slow
@pytest.mark.parametrize("board", ["cortex-m4", "cortex-m55", "riscv32"])
def test_a_custom_cell_gives_what_onnxruntime_gives(tmp_path: Path, board: str) -> None:
    path = tmp_path / "cell.onnx"
    onnx.save(cell_model("layernorm_lstm", linear=4), path)
    x = normal(3, 9, 2, 5)
    want = edgernn.load(path, "cpu", threads=1).run({"x": x})["y"]
    with opened(path, board) as session:
        whole = session.run({"x": x})["y"]
        np.testing.assert_allclose(whole, want, atol=1e-5)
        for chunk in (1, 4):
            np.testing.assert_allclose(
                run_in_chunks(session, {"x": x}, chunk)["y"], whole, atol=1e-5
            )


def test_integer_products_are_the_same_on_every_board(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "plain.onnx", cell="gru", hidden_size=24)
    path = tmp_path / "int8.onnx"
    edgernn.quantize(plain, path, precision="int8-dynamic", prove=False)
    want = edgernn.load(path, "cpu", threads=1).run({"x": X})["y"]
    found = {}
    for board in BOARDS:
        for isa in (None, "portable"):
            with opened(path, board, isa=isa) as session:
                found[board, isa] = session.run({"x": X})["y"]
    first = found["cortex-m4", None]
    np.testing.assert_allclose(first, want, atol=1e-3)
    for key, value in found.items():
        np.testing.assert_array_equal(value, first, err_msg=str(key))


@pytest.mark.parametrize("board", ["cortex-m55", "armv7"])
def test_a_bidirectional_model_runs_whole(model: Write, board: str) -> None:
    path = model(cell="gru", bidirectional=True)
    x = normal(2, 1, 70, 8)
    want = edgernn.load(path, "cpu", threads=1).run({"x": x})["y"]
    with opened(path, board) as session:
        np.testing.assert_allclose(session.run({"x": x})["y"], want, atol=2e-6)
