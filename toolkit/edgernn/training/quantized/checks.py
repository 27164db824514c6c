"""What quantized layers refuse, in words that are the same for all of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgernn.errors import InputError, ModelError, UsageError
from edgernn.integer import INTEGER, Precision
from edgernn.training.quantized.observers import Observer


def precision_named(name: str) -> Precision:
    """Return a precision by its name.

    Raises:
        UsageError: There is none of that name.
    """
    if name not in INTEGER:
        raise UsageError(
            f"precision {name!r} is not known; quantized layers have {', '.join(INTEGER)}"
        )
    return INTEGER[name]


def require_ready(observer: Observer, what: str) -> Observer:
    """Return an observer that has ranges.

    Raises:
        ModelError: It has none.
    """
    if not observer.ready:
        raise ModelError(
            f"a {what} has no ranges of its inputs yet; run the module on typical inputs inside "
            f"`with edgernn.training.observing(module):`, or give it ranges"
        )
    return observer


def require_float32(layer: nn.Module, what: str) -> None:
    """Check the parameters of a layer.

    Raises:
        ModelError: One is of another type than float32.
    """
    for name, value in layer.named_parameters():
        if value.dtype != torch.float32:
            raise ModelError(
                f"{what}: {name} is {str(value.dtype).removeprefix('torch.')}; quantized layers "
                f"keep their weights in float32: module.float()"
            )


def require_finite(value: Tensor, what: str, argument: str) -> None:
    """Check what a layer is given, of which no integers could be made otherwise.

    Raises:
        InputError: A value is NaN or infinite.
    """
    if not bool(torch.isfinite(value).all()):
        raise InputError(
            f"{what}: {argument} holds NaN or infinite values; look for them in the data, or for a "
            f"layer before that divides by zero"
        )
