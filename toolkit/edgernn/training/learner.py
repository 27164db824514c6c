"""One network with its optimizer: trained for an epoch, judged, and turned into tensors."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgernn.errors import InputError, ModelError
from edgernn.tasks.base import Arrays, Batch, Recipe, Split
from edgernn.training.config import ModelConfig
from edgernn.training.losses import Loss
from edgernn.training.models import Model
from edgernn.training.processes import share_of
from edgernn.training.schedule import average_decay, learning_rate, seed_of
from edgernn.training.tensors import Tensors, put_into, select

_REPORTS_PER_EPOCH = 20
OnStep = Callable[[int, float], None]


@dataclass(frozen=True)
class Learner:
    """Hold what changes while training.

    Attributes:
        accelerator: The `accelerate.Accelerator`.
        model: The network.
        wrapped: The same for the forward pass of training: mixed precision, several processes.
        optimizer: AdamW.
        stepper: The same for its step: gradient scaling.
        average: Running average of the network, or None if the recipe has none.
        recipe: Hyperparameters.
        seed: Start of all random numbers.
        loss: Loss of each row.
    """

    accelerator: Any
    model: Model
    wrapped: nn.Module
    optimizer: torch.optim.AdamW
    stepper: Any
    average: Model | None
    recipe: Recipe
    seed: int
    loss: Loss

    @property
    def judged(self) -> Model:
        """The network that is validated and kept."""
        return self.model if self.average is None else self.average


def set_up(
    accelerator: Any,
    recipe: Recipe,
    seed: int,
    loss: Loss,
    make: Callable[[], Model],
) -> Learner:
    """Make a network, with random numbers that follow from the seed, and its optimizer."""
    torch.manual_seed(seed_of(seed, 0, 0))
    model = make()
    average = None
    if recipe.ema_decay > 0:
        average = copy.deepcopy(model).requires_grad_(False).to(accelerator.device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    wrapped, stepper = accelerator.prepare(model, optimizer)
    return Learner(
        accelerator, model, wrapped, optimizer, stepper, average, recipe, seed, loss
    )  # fmt: skip


def train_epoch(
    learner: Learner, split: Split, epoch: int, steps: int, on_step: OnStep | None
) -> tuple[float, float]:
    """Train for one epoch, which depends on nothing but the learner's tensors and the seed.

    Args:
        learner: Changed in place.
        split: The training examples.
        epoch: Number of the epoch, from 1.
        steps: Batches of an epoch.
        on_step: Called with the steps done and the mean loss so far, about 20 times; or None.

    Returns:
        Mean loss over the epoch's examples, and the last learning rate.

    Raises:
        InputError: The task gave a batch that the network cannot take.
        ModelError: The loss is not a number.
    """
    accelerator, recipe = learner.accelerator, learner.recipe
    torch.manual_seed(seed_of(learner.seed, epoch, accelerator.process_index))
    total, count, rate = torch.zeros((), device=accelerator.device), 0, 0.0
    learner.wrapped.train()
    batches = split.epoch(epoch, seed=learner.seed, batch_size=recipe.batch_size)
    for step, batch in enumerate(_checked(batches, learner.model.config)):
        done = (epoch - 1 + min(step / steps, 1.0)) / recipe.epochs
        rate = learning_rate(done, recipe.learning_rate)
        total += _step(learner, batch, rate)
        count += len(batch.lengths)
        if learner.average is not None:
            decay = average_decay((epoch - 1) * steps + step, recipe.ema_decay)
            _move_average(learner.average, learner.model, decay)
        if on_step is not None and (step + 1) % max(1, steps // _REPORTS_PER_EPOCH) == 0:
            on_step(step + 1, float(total) * accelerator.num_processes / count)
    mean = float(accelerator.reduce(total, reduction="sum")) / max(1, count)
    if not math.isfinite(mean):
        raise ModelError(
            f"the loss became {mean} in epoch {epoch}: the training diverged; lower the learning "
            f"rate ({recipe.learning_rate}) or the gradient limit ({recipe.clip_norm}), or train "
            f"in fp32; the epochs before are kept"
        )
    return mean, rate


def runner(model: Model, device: torch.device) -> Callable[[Arrays], Arrays]:
    """Return a function from the network's inputs by name to ``{"y": ...}``, in evaluation mode."""
    model.eval()

    def run(inputs: Arrays) -> Arrays:
        given = {name: torch.tensor(value, device=device) for name, value in inputs.items()}
        with torch.inference_mode():
            outputs = model.predict(**given)
        outputs = outputs.float() if outputs.is_floating_point() else outputs
        return {"y": outputs.cpu().numpy()}

    return run


def to_tensors(learner: Learner) -> Tensors:
    """Return what continuing the training needs: ``model.*``, ``optimizer.*``, ``ema.*``."""
    tensors = {f"model.{name}": tensor for name, tensor in learner.model.state_dict().items()}
    if learner.average is not None:
        tensors |= {f"ema.{name}": tensor for name, tensor in learner.average.state_dict().items()}
    state = learner.optimizer.state_dict()["state"]
    for index, (name, _) in enumerate(learner.model.named_parameters()):
        # A parameter has no state before its first step, which fp16 scaling may have skipped.
        tensors |= {f"optimizer.{key}.{name}": value for key, value in state.get(index, {}).items()}
    return tensors


def from_tensors(learner: Learner, tensors: Mapping[str, Tensor], where: str) -> None:
    """Put back what `to_tensors` returned.

    Raises:
        CheckpointError: The tensors are of another architecture.
    """
    put_into(learner.model, select(tensors, "model."), where)
    if learner.average is not None:
        put_into(learner.average, select(tensors, "ema."), where)
    indices = {name: index for index, (name, _) in enumerate(learner.model.named_parameters())}
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in select(tensors, "optimizer.").items():
        key, _, parameter = name.partition(".")
        state.setdefault(indices[parameter], {})[key] = tensor
    groups = learner.optimizer.state_dict()["param_groups"]
    learner.optimizer.load_state_dict({"state": state, "param_groups": groups})


def _step(learner: Learner, batch: Batch, rate: float) -> Tensor:
    """Make one optimizer step; return the sum of the losses of this process's rows."""
    x, lengths, targets, weights = share_of(batch, learner.accelerator)
    for group in learner.optimizer.param_groups:
        group["lr"] = rate
    teacher = (targets,) if learner.model.takes_targets else ()
    outputs = learner.wrapped(x, lengths, *teacher)
    rows = learner.loss(outputs, lengths, targets, learner.recipe.label_smoothing)
    learner.accelerator.backward((rows * weights).sum())
    learner.accelerator.clip_grad_norm_(learner.wrapped.parameters(), learner.recipe.clip_norm)
    learner.stepper.step()
    learner.stepper.zero_grad()
    return (rows.detach() * (weights > 0)).sum()


@torch.no_grad()
def _move_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    for kept, new in zip(average.parameters(), model.parameters(), strict=True):
        kept.lerp_(new, 1.0 - decay)


def _checked(batches: Iterator[Batch], config: ModelConfig) -> Iterator[Batch]:
    for number, batch in enumerate(batches):
        where = f"training batch {number}"
        symbols = config.embedding_size > 0
        wanted = "[rows, time]" if symbols else f"[rows, time, {config.input_size}]"
        if batch.x.ndim != (2 if symbols else 3) or batch.x.shape[2:] not in (
            (), (config.input_size,)
        ):  # fmt: skip
            raise InputError(
                f"{where} has shape {list(batch.x.shape)}, the network takes {wanted}; correct "
                f"the task"
            )
        if symbols and not 0 <= batch.x.min() <= batch.x.max() < config.input_size:
            raise InputError(
                f"{where} holds symbols from {batch.x.min()} to {batch.x.max()}, the network knows "
                f"0 to {config.input_size - 1}; correct the task"
            )
        if not (np.isfinite(batch.x).all() and np.isfinite(batch.targets).all()):
            raise InputError(f"{where} holds a value that is not finite; look for it in the data")
        if batch.lengths.min(initial=1) < 1:
            raise InputError(f"{where} holds an empty sequence; remove it from the data")
        yield batch
