from __future__ import annotations

import pytest
import torch
from torch.nn import functional

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
