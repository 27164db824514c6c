"""Several training processes that act as one: the main one decides and writes, all follow."""

from __future__ import annotations

import atexit
import functools
from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch import Tensor

from edgernn.errors import EdgernnError, UsageError
from edgernn.tasks.base import Batch
from edgernn.training.launch import start_missing_processes

Value = TypeVar("Value")

_ACCELERATE_NAMES = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def start(precision: str | None) -> Accelerator:
    """Set up devices, mixed precision and the process group.

    Args:
        precision: ``"fp32"``, ``"bf16"``, ``"fp16"``, or None for what ``accelerate launch`` was
            told, else fp32.

    Raises:
        UsageError: This machine or process cannot train in this precision.
    """
    start_missing_processes()
    name = None if precision is None else _ACCELERATE_NAMES[precision]
    # Where there is no GPU, torchrun's processes find each other only if told to use the CPU.
    cpu = not torch.accelerator.is_available()
    try:
        accelerator = Accelerator(mixed_precision=name, cpu=cpu)
    except ValueError as error:
        raise UsageError(
            f"cannot train in {precision}: {error}; choose fp32, or start a new process"
        ) from None
    if accelerator.num_processes > 1:
        _close_at_exit()
    if precision_of(accelerator) == "fp16" and accelerator.device.type == "cpu":
        raise UsageError("fp16 training needs a GPU; choose bf16 or fp32")
    return accelerator


def precision_of(accelerator: Accelerator) -> str:
    """Return the precision in edgernn's names."""
    names = {theirs: ours for ours, theirs in _ACCELERATE_NAMES.items()}
    if accelerator.mixed_precision not in names:
        raise UsageError(
            f"accelerate is set to {accelerator.mixed_precision}; "
            f"choose one of {', '.join(_ACCELERATE_NAMES)}"
        )
    return names[accelerator.mixed_precision]


def on_main(accelerator: Accelerator, function: Callable[[], Value]) -> Value:
    """Call ``function`` in the main process only and give all processes what it returned.

    Raises:
        EdgernnError: The function raised it; every process raises it, so that none waits for
            another for ever.
    """
    if accelerator.num_processes == 1:
        return function()
    outcome: list[Value | EdgernnError | None] = [None]
    if accelerator.is_main_process:
        try:
            outcome = [function()]
        except EdgernnError as error:
            outcome = [error]
    broadcast_object_list(outcome)
    if isinstance(outcome[0], EdgernnError):
        raise outcome[0]
    return outcome[0]  # type: ignore[return-value] # it is what the function returned


def share_of(batch: Batch, accelerator: Accelerator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return this process's rows of a global batch, and the weight of each row in its loss.

    DistributedDataParallel averages the gradients over the processes, whatever the number of
    rows each had. Weights of ``processes / rows`` make that average the gradient of the mean over
    the whole batch. A process without a row takes part with the first row at weight zero.

    Returns:
        Features ``[b, T, F]``, lengths ``[b]``, targets ``[b]`` and weights ``[b]``.
    """
    rows = slice(accelerator.process_index, None, accelerator.num_processes)
    weight = accelerator.num_processes / len(batch.lengths)
    if accelerator.process_index >= len(batch.lengths):
        rows, weight = slice(0, 1), 0.0
    x, lengths, targets = (
        torch.tensor(values[rows], device=accelerator.device)
        for values in (batch.x, batch.lengths, batch.targets)
    )
    return x, lengths, targets, torch.full(lengths.shape, weight, device=accelerator.device)


@functools.cache
def _close_at_exit() -> None:
    atexit.register(_close)


def _close() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
