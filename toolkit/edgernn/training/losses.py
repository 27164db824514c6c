"""Loss functions by name; a new one is a function and a line in `LOSSES`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Loss = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def cross_entropy_of_mean(
    outputs: Tensor, lengths: Tensor, targets: Tensor, label_smoothing: float
) -> Tensor:
    """Compare the mean of each row's valid frames with its class.

    Args:
        outputs: Logits of every frame ``[B, T, O]``.
        lengths: Valid frames of each row ``[B]``, at least 1.
        targets: Classes ``[B]``.
        label_smoothing: Probability mass spread over all classes.

    Returns:
        Loss of each row ``[B]``.
    """
    frames = torch.arange(outputs.shape[1], device=outputs.device)
    valid = (frames < lengths[:, None])[:, :, None]
    mean = outputs.masked_fill(~valid, 0.0).sum(dim=1) / lengths[:, None]
    return functional.cross_entropy(
        mean, targets, reduction="none", label_smoothing=label_smoothing
    )


LOSSES: dict[str, Loss] = {"cross_entropy_of_mean": cross_entropy_of_mean}
