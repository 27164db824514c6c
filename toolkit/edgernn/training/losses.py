"""Loss functions by name; a new one is a function and a line in `LOSSES`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from edgernn.tasks.base import PADDING

Loss = Callable[[Tensor, Tensor, Tensor, float], Tensor]

_SILENT_FRAMES = 20
_NEVER = -1e4  # a logarithm; the gradient of CTC's sums is not a number at minus infinity


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
    mean = _mean_of_steps(outputs, lengths)
    return functional.cross_entropy(
        mean, targets, reduction="none", label_smoothing=label_smoothing
    )


def cross_entropy(
    outputs: Tensor, lengths: Tensor, targets: Tensor, label_smoothing: float
) -> Tensor:
    """Compare the logits of each row ``[B, O]`` with its class ``[B]``; return losses ``[B]``."""
    return functional.cross_entropy(
        outputs, targets, reduction="none", label_smoothing=label_smoothing
    )


def cross_entropy_of_steps(
    outputs: Tensor, lengths: Tensor, targets: Tensor, label_smoothing: float
) -> Tensor:
    """Compare the logits of every step ``[B, T, O]`` with its class ``[B, T]``.

    Steps whose class is `PADDING` do not count.

    Returns:
        Mean over the steps of each row ``[B]``.
    """
    each = functional.cross_entropy(
        outputs.transpose(1, 2),
        targets,
        reduction="none",
        ignore_index=PADDING,
        label_smoothing=label_smoothing,
    )
    return each.sum(dim=1) / (targets != PADDING).sum(dim=1).clamp(min=1)


def ctc(outputs: Tensor, lengths: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Compare logits of every frame with a sequence of symbols that is not aligned to them.

    In a row's first frames only the blank is right: 20 of them, or a quarter of the row or half of
    the frames that its symbols leave over, if that is less. Without this, a network that reads
    forward alone says some first symbol at frame 0, the one place it is sure of, and then has no
    reason to listen for it.

    Source: Graves et al., "Connectionist temporal classification", ICML 2006.

    Args:
        outputs: Logits ``[B, T, O]``; the last is the blank.
        lengths: Valid frames of each row ``[B]``.
        targets: Symbols ``[B, L]``, padded with `PADDING`.
        label_smoothing: Has no meaning here.

    Returns:
        Loss of each row ``[B]``, per symbol; 0 where the row has too few frames for its symbols.
    """
    blank = outputs.shape[2] - 1
    counts = (targets != PADDING).sum(dim=1)
    again = ((targets[:, 1:] == targets[:, :-1]) & (targets[:, 1:] != PADDING)).sum(dim=1)
    spare = lengths - counts - again
    silent = torch.minimum(lengths // 4, spare // 2).clamp(0, _SILENT_FRAMES)
    early = torch.arange(outputs.shape[1], device=outputs.device) < silent[:, None]
    symbols = torch.arange(outputs.shape[2], device=outputs.device) != blank
    log_probs = outputs.log_softmax(dim=2).masked_fill(early[:, :, None] & symbols, _NEVER)
    losses = functional.ctc_loss(
        log_probs.transpose(0, 1),
        targets.clamp(min=0),
        lengths,
        counts,
        blank=blank,
        reduction="none",
        zero_infinity=True,
    )
    return losses / counts.clamp(min=1)


def squared_error_of_steps(
    outputs: Tensor, lengths: Tensor, targets: Tensor, label_smoothing: float
) -> Tensor:
    """Compare the outputs of every valid step with numbers, both ``[B, T, O]``.

    Returns:
        Mean square over the steps of each row ``[B]``.
    """
    return _mean_of_steps((outputs - targets).square(), lengths).mean(dim=1)


def squared_error_of_last(
    outputs: Tensor, lengths: Tensor, targets: Tensor, label_smoothing: float
) -> Tensor:
    """Compare the outputs ``[B, T, O]`` of each row's last step with numbers ``[B, O]``.

    Returns:
        Mean square of each row ``[B]``.
    """
    rows = torch.arange(len(lengths), device=outputs.device)
    return (outputs[rows, lengths - 1] - targets).square().mean(dim=1)


def _mean_of_steps(values: Tensor, lengths: Tensor) -> Tensor:
    """Average the valid steps of ``[B, T, O]``."""
    frames = torch.arange(values.shape[1], device=values.device)
    valid = (frames < lengths[:, None])[:, :, None]
    return values.masked_fill(~valid, 0.0).sum(dim=1) / lengths[:, None]


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "cross_entropy_of_mean": cross_entropy_of_mean,
    "cross_entropy_of_steps": cross_entropy_of_steps,
    "ctc": ctc,
    "squared_error_of_last": squared_error_of_last,
    "squared_error_of_steps": squared_error_of_steps,
}
