"""What must hold of a module before it is traced."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from edgernn.errors import ModelError
from edgernn.integer.weights import require_finite


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch dropout and the like off, and leave every part in the mode it was in."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def check_weights(module: nn.Module) -> None:
    """Require finite float32 weights on the processor.

    Raises:
        ModelError: Names the weight and what is wrong with it.
    """
    for name, value in module.named_parameters():
        if value.device.type != "cpu":
            raise ModelError(
                f"weight {name!r} is on device {value.device}; export from the processor: "
                f"module.cpu()"
            )
        if value.dtype != torch.float32:
            raise ModelError(
                f"weight {name!r} is {str(value.dtype).removeprefix('torch.')}; export in float32: "
                f"module.float()"
            )
        require_finite(value.detach().numpy(), name)
