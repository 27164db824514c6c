"""Let a network begin by remembering for a while, instead of learning that first."""

from __future__ import annotations

import torch
from torch import nn

from edgernn.errors import UsageError
from edgernn.tasks.base import Recipe
from edgernn.training.config import ModelConfig
from edgernn.training.models import Model, build_model


def new_model(config: ModelConfig, recipe: Recipe) -> Model:
    """Make the network that a training with this recipe starts from.

    Raises:
        UsageError: The recipe asks for a memory, and the network has no recurrent layers ``rnn``.
    """
    model = build_model(config, dropout=recipe.dropout)
    if recipe.memory_steps > 0:
        remember_for(recurrent_layer(model), recipe.memory_steps)
    return model


def recurrent_layer(model: nn.Module) -> nn.RNNBase:
    """Return the recurrent layers of a network that `edgernn.training.build_model` made.

    Raises:
        UsageError: It has none of that name, as the translation network.
    """
    found = getattr(model, "rnn", None)
    if not isinstance(found, nn.RNNBase):
        raise UsageError(
            f"{type(model).__name__} has no recurrent layers of the name rnn; use a network of "
            f"another kind"
        )
    return found


@torch.no_grad()
def remember_for(rnn: nn.RNNBase, steps: int) -> None:
    """Draw the biases of the gates that keep the state, so that units keep it for 1 to ``steps``.

    A unit whose gate is sigmoid(b) keeps its state for about 1 + exp(b) steps; b is the logarithm
    of a number from 1 to ``steps`` - 1. An LSTM's input gate gets -b, so that what it adds is
    little where much is kept. A plain RNN has no such gate and stays as it is.

    Source: Tallec and Ollivier, "Can recurrent neural networks warp time?", ICLR 2018.

    Args:
        rnn: Changed in place; its biases are drawn from PyTorch's global generator.
        steps: The longest memory, at least 3.

    Raises:
        UsageError: The layers have no biases, or ``steps`` is too small.

    Example:
        >>> rnn = nn.GRU(2, 8)
        >>> remember_for(rnn, 100)
        >>> bool((rnn.bias_ih_l0[8:16] >= 0).all())
        True
    """
    if steps < 3:
        raise UsageError(f"memory_steps is {steps}; use at least 3, or 0 for PyTorch's own biases")
    if not rnn.bias:
        raise UsageError("layers without biases cannot begin with a memory; leave memory_steps 0")
    hidden = rnn.hidden_size
    kept = slice(hidden, 2 * hidden)  # PyTorch's gates: LSTM i f g o, GRU r z n
    for name, bias in rnn.named_parameters():
        if isinstance(rnn, nn.RNN) or not name.startswith("bias_ih"):
            continue
        other = rnn.get_parameter(name.replace("bias_ih", "bias_hh"))
        logarithms = torch.empty(hidden).uniform_(1, steps - 1).log()
        bias[kept], other[kept] = logarithms, 0.0
        if isinstance(rnn, nn.LSTM):
            bias[:hidden], other[:hidden] = -logarithms, 0.0
