"""How much a recurrent network's last state depends on its earlier ones.

Source: Bengio, Simard and Frasconi, "Learning long-term dependencies with gradient descent is
difficult", IEEE Transactions on Neural Networks 1994. An error at the last step reaches step t
through the Jacobian ∂h_T/∂h_t; where its norm is near zero, step t cannot be learned from.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from edgernn.errors import UsageError
from edgernn.tasks.base import Recipe
from edgernn.training.config import ModelConfig
from edgernn.training.remembering import new_model, recurrent_layer
from edgernn.training.schedule import seed_of

Norms = dict[str, NDArray[np.float64]]
"""State's name to ``[B, T]``."""


def state_gradients(rnn: nn.RNNBase, x: ArrayLike) -> Norms:
    """Return the norms of the Jacobians of a layer's last hidden state by its states at each step.

    The states of a step are taken as independent of each other, as they are when they are handed
    from step to step: the path from an LSTM's ``h_t`` goes through the gates of step t + 1, that
    from its cell state ``c_t`` also past them. Computed in float64, because the norms fall below
    what float32 can hold.

    Args:
        rnn: One layer in one direction, batch first; it is not changed.
        x: Inputs ``[B, T, I]``; the state before them is zero.

    Returns:
        For ``"h"``, and of an LSTM for ``"c"``, the largest singular values of ``∂h_T/∂h_t`` and
        ``∂h_T/∂c_t`` for t from 1 to T, ``[B, T]``: by how much the network can at most lengthen
        a change of that state.

    Raises:
        UsageError: The layer is a stack, bidirectional, projected or not batch first, or the
            inputs do not fit.

    Example:
        >>> norms = state_gradients(torch.nn.GRU(2, 8, batch_first=True), np.zeros((1, 5, 2)))
        >>> norms["h"].shape, float(norms["h"][0, -1])
        ((1, 5), 1.0)
    """
    given = torch.tensor(np.asarray(x, np.float64))
    _check(rnn, given)
    layer = copy.deepcopy(rnn).double().requires_grad_(False)
    states = _states(layer, given)
    last = states["h"][-1]
    rows: dict[str, list[list[Tensor]]] = {name: [[] for _ in values]
                                           for name, values in states.items()}  # fmt: skip
    for unit in range(rnn.hidden_size):
        wanted = [value for values in states.values() for value in values]
        found = iter(
            torch.autograd.grad(
                last[0, :, unit].sum(), wanted, retain_graph=True, allow_unused=True
            )
        )
        for name, values in states.items():
            for step, value in enumerate(values):
                gradient = next(found)
                rows[name][step].append(torch.zeros_like(value) if gradient is None else gradient)
    return {
        name: np.stack([_largest(jacobian) for jacobian in steps], axis=1)
        for name, steps in rows.items()
    }


def initial_gradients(config: ModelConfig, recipe: Recipe, seed: int, x: ArrayLike) -> Norms:
    """Return `state_gradients` of the network that a training with this seed starts from.

    Example:
        >>> from edgernn.tasks import get_task
        >>> config = ModelConfig("lstm", input_size=2, hidden_size=4, output_size=1)
        >>> recipe = get_task("adding").recipe
        >>> sorted(initial_gradients(config, recipe, 0, np.zeros((1, 5, 2))))
        ['c', 'h']
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, 0, 0))
        model = new_model(config, recipe)
    return state_gradients(recurrent_layer(model), x)


def _check(rnn: nn.RNNBase, x: Tensor) -> None:
    wrong = {
        f"{rnn.num_layers} layers": rnn.num_layers != 1,
        "two directions": rnn.bidirectional,
        "a projection": rnn.proj_size != 0,
        "the batch second": not rnn.batch_first,
    }
    for what, present in wrong.items():
        if present:
            raise UsageError(
                f"the layer has {what}; gradients are measured of one layer in one direction, "
                f"batch first, without projection"
            )
    if x.ndim != 3 or x.shape[2] != rnn.input_size or 0 in x.shape:
        raise UsageError(
            f"inputs must have shape [rows, steps, {rnn.input_size}], got {list(x.shape)}"
        )


def _states(rnn: nn.RNNBase, x: Tensor) -> dict[str, list[Tensor]]:
    """Run step by step; return the states after each step ``[1, B, H]``."""
    zeros = x.new_zeros(1, len(x), rnn.hidden_size).requires_grad_()
    names = ("h", "c") if isinstance(rnn, nn.LSTM) else ("h",)
    state = tuple(zeros for _ in names)
    kept: dict[str, list[Tensor]] = {name: [] for name in names}
    for step in range(x.shape[1]):
        given = state if len(names) > 1 else state[0]
        _, after = rnn(x[:, step : step + 1], given)
        state = after if len(names) > 1 else (after,)
        for name, value in zip(names, state, strict=True):
            kept[name].append(value)
    return kept


def _largest(rows: list[Tensor]) -> NDArray[np.float64]:
    """Return the largest singular value of each example, from H gradients ``[1, B, H]``."""
    jacobians = torch.cat(rows).transpose(0, 1).numpy()  # [B, H, H]
    found: NDArray[np.float64] = np.linalg.norm(jacobians, ord=2, axis=(1, 2))
    return found
