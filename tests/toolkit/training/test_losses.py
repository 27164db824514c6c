from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from edgernn.tasks.base import PADDING
from edgernn.training import LOSSES


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_mean_looks_at_valid_frames_only(smoothing: float) -> None:
    torch.manual_seed(0)
    outputs, lengths, targets = (
        torch.randn(3, 6, 4),
        torch.tensor([6, 1, 3]),
        torch.tensor([0, 3, 1]),
    )
    expected = [
        functional.cross_entropy(
            outputs[row, :length].mean(dim=0), targets[row], label_smoothing=smoothing
        )
        for row, length in enumerate(lengths.tolist())
    ]
    outputs[1, 1:] = torch.nan
    outputs.requires_grad_()
    rows = LOSSES["cross_entropy_of_mean"](outputs, lengths, targets, smoothing)
    torch.testing.assert_close(rows, torch.stack(expected))
    rows.sum().backward()
    assert outputs.grad is not None
    assert torch.isfinite(outputs.grad).all()
    assert not outputs.grad[2, 3:].any()


def padded(targets: list[list[int]]) -> torch.Tensor:
    longest = max(map(len, targets))
    return torch.tensor([row + [PADDING] * (longest - len(row)) for row in targets])


def case(loss: str, outputs: torch.Tensor, lengths: list[int]) -> tuple[torch.Tensor, list[float]]:
    """Return targets, and the loss that each row has alone, without padding."""
    rows = [y[:length] for y, length in zip(outputs, lengths, strict=True)]
    if loss == "cross_entropy_of_steps":
        classes = [[(3 * step) % 4 for step in range(length)] for length in lengths]
        return padded(classes), [
            float(functional.cross_entropy(y, torch.tensor(row)))
            for y, row in zip(rows, classes, strict=True)
        ]
    if loss == "squared_error_of_steps":
        numbers = torch.randn_like(outputs)
        return numbers, [
            float((y - x[: len(y)]).square().mean()) for y, x in zip(rows, numbers, strict=True)
        ]
    assert loss == "squared_error_of_last"
    ends = torch.randn(len(lengths), outputs.shape[2])
    return ends, [float((y[-1] - x).square().mean()) for y, x in zip(rows, ends, strict=True)]


@pytest.mark.parametrize(
    "loss", ["cross_entropy_of_steps", "squared_error_of_steps", "squared_error_of_last"]
)
@given(
    lengths=st.lists(st.integers(1, 8), min_size=1, max_size=5),
    beyond=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_each_row_is_judged_by_its_own_steps(
    loss: str, lengths: list[int], beyond: int, seed: int
) -> None:
    torch.manual_seed(seed)
    steps = max(lengths) + (beyond if loss != "cross_entropy_of_steps" else 0)
    outputs = torch.randn(len(lengths), steps, 4)
    targets, wanted = case(loss, outputs, lengths)
    found = LOSSES[loss](outputs, torch.tensor(lengths), targets, 0.0)
    torch.testing.assert_close(found, torch.tensor(wanted))


def test_cross_entropy_takes_a_class_for_a_row() -> None:
    outputs, targets = torch.randn(3, 4), torch.tensor([2, 0, 3])
    found = LOSSES["cross_entropy"](outputs, torch.tensor([5, 1, 2]), targets, 0.1)
    wanted = functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=0.1)
    torch.testing.assert_close(found, wanted)


def test_ctc_is_the_chance_of_all_alignments() -> None:
    torch.manual_seed(0)
    outputs = torch.randn(3, 4, 3)  # the last symbol is the blank
    symbols, lengths = [[0, 1], [1], [0, 0]], [4, 2, 2]
    found = LOSSES["ctc"](outputs, torch.tensor(lengths), padded(symbols), 0.0)
    for row, (wanted, length) in enumerate(zip(symbols, lengths, strict=True)):
        chances = outputs[row, :length].softmax(dim=1)
        again = sum(one == other for one, other in itertools.pairwise(wanted))
        silent = max(0, min(length // 4, (length - len(wanted) - again) // 2))
        total = 0.0
        for path in itertools.product(range(3), repeat=length):
            if any(symbol != 2 for symbol in path[:silent]):
                continue
            if [symbol for symbol, _ in itertools.groupby(path) if symbol != 2] == wanted:
                total += math.prod(float(chances[t, symbol]) for t, symbol in enumerate(path))
        expected = -math.log(total) / len(wanted) if total else 0.0
        assert float(found[row]) == pytest.approx(expected, rel=1e-5)
    assert found[2] == 0  # two frames cannot hold the same symbol twice


def test_ctc_lets_no_symbol_come_before_it_can_be_heard() -> None:
    outputs = torch.zeros(3, 100, 3, requires_grad=True)
    rows = [[0, 1], [0], [0, 1] * 45]  # the last leaves 10 frames over
    LOSSES["ctc"](outputs, torch.tensor([100, 40, 100]), padded(rows), 0.0).sum().backward()
    assert outputs.grad is not None
    for row, silent in enumerate((20, 10, 5)):
        *early, later = outputs.grad[row, : silent + 1]
        for frame in early:  # whatever the symbols are, the blank shall grow
            torch.testing.assert_close(frame, early[0], rtol=1e-3, atol=1e-4)
            assert (frame > 0).tolist() == [True, True, False]
        assert not torch.allclose(later, early[0])


def test_ctc_leaves_a_crowded_row_the_frames_it_needs() -> None:
    found = LOSSES["ctc"](
        torch.zeros(1, 8, 4), torch.tensor([8]), padded([[0, 0, 1, 2, 1, 1]]), 0.0
    )
    assert float(found) == pytest.approx(8 * math.log(4) / 6)
