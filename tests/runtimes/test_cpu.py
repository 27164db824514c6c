from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import normal

from edgernn.errors import UsageError
from edgernn_runtimes import cpu


def test_threads_do_not_change_the_result(model: Callable[..., Path]) -> None:
    x = {"x": normal(1, 2, 30, 8)}
    one, two = (cpu.load(model(), threads=n).run(x)["y"] for n in (1, 2))
    np.testing.assert_allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("threads", [0, -1])
def test_less_than_one_thread_is_refused(model: Callable[..., Path], threads: int) -> None:
    with pytest.raises(UsageError, match="threads must be at least 1"):
        cpu.load(model(), threads=threads)


def test_the_probe_names_the_version() -> None:
    assert cpu.probe().available
    assert "onnxruntime" in cpu.probe().detail


def test_a_session_tells_what_it_takes(model: Callable[..., Path]) -> None:
    session = cpu.load(str(model(cell="lstm")))
    assert session.target == "cpu"
    assert [str(item) for item in (*session.inputs, *session.outputs, *session.states)] == [
        "x float32 [batch, time, 8]",
        "y float32 [batch, time, 4]",
        "h_l0 float32 [1, batch, 16]",
        "c_l0 float32 [1, batch, 16]",
    ]
