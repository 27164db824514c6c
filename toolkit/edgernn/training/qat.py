"""Quantization-aware training: a finished run goes on for a few epochs as the integers it will be.

The weights start as the best of another run. Ranges are observed once on its training recordings
and stay. Each step computes forward what the exported integer graph computes, validation does
likewise, and gradients go straight through (`edgernn.training.quantized`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from edgernn.errors import CheckpointError, UsageError
from edgernn.tasks.base import Recipe, Split, Task
from edgernn.training.checkpoint import load_run
from edgernn.training.config import ModelConfig, TrainOptions
from edgernn.training.models import Model, build_model
from edgernn.training.quantized import observing, ranges_of, to_float, to_quantized
from edgernn.training.runs import QatInfo, RunInfo, read_run
from edgernn.training.tensors import put_into

EPOCHS = 5
RATE_DIVISOR = 10.0


def qat_recipe(recipe: Recipe) -> Recipe:
    """Return the recipe of quantization-aware training after a training with ``recipe``.

    Example:
        >>> qat_recipe(Recipe(80, 64, 0.01, 0.01, 0.05, 1.0, 70, 0.1)).epochs
        5
    """
    return replace(
        recipe,
        epochs=EPOCHS,
        patience=EPOCHS,
        learning_rate=recipe.learning_rate / RATE_DIVISOR,
    )


def recipe_and_start(
    task: Task, config: ModelConfig, options: TrainOptions, precision: str
) -> tuple[Recipe, QatInfo | None]:
    """Return what is trained with, and for quantization-aware training what it starts from.

    Args:
        task: The task.
        config: Architecture.
        options: Names the precision and the parent.
        precision: Floats that this process trains with.

    Raises:
        UsageError: The parent is of another task or architecture, or training is to use fewer
            bits than fp32.
        CheckpointError: The parent is no run, or no epoch of it has ended.
    """
    if options.qat is None or options.parent is None:
        return task.recipe, None
    if precision != "fp32":
        raise UsageError(
            f"quantization-aware training computes with integers, exactly, so it does not go with "
            f"{precision}; launch it with --mixed_precision no"
        )
    parent = read_run(options.parent)
    for name, there, here in (
        ("task", parent.task, task.name),
        ("architecture", parent.model.to_json(), config.to_json()),
    ):
        if there != here:
            raise UsageError(
                f"{name} of {options.parent} is {there}, of this training {here}; "
                f"quantization-aware training goes on with the same, or start from another run"
            )
    if parent.parent is None:
        raise CheckpointError(
            f"{options.parent}: no epoch of this run has ended; finish it with --resume first"
        )
    return qat_recipe(parent.recipe), QatInfo(options.qat, str(options.parent), parent.parent)


def quantized_network(run: RunInfo, parent: Path, split: Split) -> Model:
    """Make the network of a quantization-aware training at its start, with its ranges.

    Args:
        run: The training; says precision and dropout.
        parent: Run folder with the weights.
        split: Training recordings, which the ranges are observed on.
    """
    assert run.qat is not None
    weights = to_float(load_run(parent)[0]).state_dict()
    network = build_model(run.model, dropout=run.recipe.dropout)
    put_into(network, weights, parent)
    quantized = to_quantized(network, run.qat.precision)
    with observing(quantized):
        for batch in split.batches(run.recipe.batch_size):
            quantized(torch.from_numpy(batch.x), torch.from_numpy(batch.lengths))
    return quantized


def with_ranges(run: RunInfo, network: Model) -> RunInfo:
    """Note the ranges of a network in its run, if it has any."""
    if run.qat is None:
        return run
    return replace(run, qat=replace(run.qat, ranges=ranges_of(network).to_json()))
