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


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module that ``torch.compile`` or a data-parallel wrapper was put around.

    Raises:
        ModelError: A part is TorchScript, which has no Python code to trace.
    """
    while (inner := _wrapped(module)) is not None:
        module = inner
    for path, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            what = f"layer {path!r}" if path else "the module"
            raise ModelError(
                f"{what} is TorchScript (torch.jit.script or torch.jit.trace), which cannot be "
                f"traced again; export the nn.Module that it was made from"
            )
    return module


def _wrapped(module: nn.Module) -> nn.Module | None:
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        inner: nn.Module = module.module
        return inner
    return getattr(module, "_orig_mod", None)  # torch.compile's


def check_weights(module: nn.Module) -> None:
    """Require finite float32 weights on the processor.

    Raises:
        ModelError: Names the weight and what is wrong with it.
    """
    for name, value in module.named_parameters():
        if value.is_meta or nn.parameter.is_lazy(value):
            raise ModelError(
                f"weight {name!r} has no values yet; load a checkpoint (device meta), or run the "
                f"module once on an example (lazy layers)"
            )
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
