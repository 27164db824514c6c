"""Python loops that have no graph, and what is said about them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.loops import STREAMING, WHOLE, Looping, zeros
from torch import Tensor

from edgernn.errors import AccuracyGateError, ModelError
from edgernn.training import recurrent_cell
from edgernn_exporters.pytorch.export import export

from .conftest import open_cpu

X = (torch.zeros(1, 10, 5),)


def _alternating(m: Any, x: Tensor) -> Tensor:
    h, outs = zeros(x), []
    for t in range(x.shape[1]):
        h = m.gru(x[:, t], h) if t % 2 else torch.tanh(h)
        outs.append(h)
    return torch.stack(outs, 1)


def _growing(m: Any, x: Tensor) -> Tensor:
    """Each step attends to all outputs so far."""
    h, outs = zeros(x), [zeros(x)]
    for t in range(x.shape[1]):
        h = m.gru(x[:, t], h) + torch.stack(outs, 0).mean(0)
        outs.append(h)
    return torch.stack(outs[1:], 1)


def _numbered(m: Any, x: Tensor) -> Tensor:
    h, outs = zeros(x), []
    for t in range(x.shape[1]):
        h = m.gru(x[:, t] * (t + 1), h)
        outs.append(h)
    return torch.stack(outs, 1)


def _two_before(m: Any, x: Tensor) -> Tensor:
    outs = [zeros(x), zeros(x)]
    for t in range(x.shape[1]):
        outs.append(m.gru(x[:, t], outs[-1]) + outs[-2])
    return torch.stack(outs[2:], 1)


def _every_other(m: Any, x: Tensor) -> Tensor:
    h, outs = zeros(x), []
    for t in range(0, x.shape[1], 2):
        h = m.gru(x[:, t], h)
        outs.append(h)
    return torch.stack(outs, 1)


def _from_the_second(m: Any, x: Tensor) -> Tensor:
    h = torch.tanh(zeros(x) + x[:, 0, :1])
    outs = [h]
    for t in range(1, x.shape[1]):
        h = m.gru(x[:, t], h)
        outs.append(h)
    return torch.stack(outs, 1)


def _by_value(m: Any, x: Tensor) -> Tensor:
    h, outs = zeros(x), []
    for t in range(x.shape[1]):
        if float(x[:, t].sum()) > -1e9:
            h = m.gru(x[:, t], h)
        outs.append(h)
    return torch.stack(outs, 1)


def _weighted(m: Any, x: Tensor) -> Tensor:
    weights = torch.tensor([1 / (1 + t) for t in range(x.shape[1])])
    return STREAMING["gru_range"](m, x) * weights[:, None]


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (_alternating, "loop over time around 'gru' cannot be rolled back.*differ"),
        (_growing, "cannot be rolled back.*grows or shrinks.*nn.GRU"),
        (_numbered, "cannot be rolled back.*number differs from step to step"),
        (_two_before, "cannot be rolled back.*two steps before"),
        (_every_other, "cannot be rolled back"),
        (
            _from_the_second,
            r"hands on 'gru.h' has no step where .* only one.*all steps",
        ),
        (_weighted, "makes the constant tensor .* out of the length.*torch.arange"),
        (_by_value, "cannot trace Looping.*control flow on values"),
    ],
)
def test_irregular_loops_are_named(
    tmp_path: Path, forward: Callable[[Any, Tensor], Tensor], expected: str
) -> None:
    with pytest.raises(ModelError, match=expected) as caught:
        export(Looping(forward), X, tmp_path / "a.onnx", load=open_cpu)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_loop_that_looks_ahead_is_not_written_as_a_stream(tmp_path: Path) -> None:
    with pytest.raises(AccuracyGateError, match="step by step against the whole sequence"):
        export(Looping(WHOLE["attending"]), X, tmp_path / "a.onnx", load=open_cpu)
    assert list(tmp_path.iterdir()) == []


def test_a_backward_loop_cannot_be_called_causal(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"causal=True, but 'gru.h' runs from the last step"):
        export(Looping(WHOLE["backward"]), X, tmp_path / "a.onnx", load=open_cpu, causal=True)


def test_a_loop_over_another_number_of_steps_is_caught_by_the_gate(tmp_path: Path) -> None:
    def until_twelve(m: Any, x: Tensor) -> Tensor:
        y = STREAMING["gru_range"](m, x)
        return y if x.shape[1] < 12 else -y

    with pytest.raises(AccuracyGateError, match="is off by"):
        export(Looping(until_twelve), X, tmp_path / "a.onnx", load=open_cpu)
    assert list(tmp_path.iterdir()) == []


def test_only_modules_can_be_marked() -> None:
    with pytest.raises(TypeError, match=r"classes derived from torch.nn.Module.*got"):
        recurrent_cell(Looping(STREAMING["feedback"]))  # type: ignore[type-var]
