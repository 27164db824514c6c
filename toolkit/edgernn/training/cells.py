"""Mark recurrent cells of your own, so that a Python loop over time can be exported."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

Cell = TypeVar("Cell", bound=type[nn.Module])

_MARK = "_edgernn_recurrent_cell"


def recurrent_cell(cell: Cell) -> Cell:
    """Mark a module class as a recurrent cell, which forward calls once for each time step.

    The exporter turns the loop around a cell into an ONNX ``Scan`` over one traced step, with batch
    and time left open, and makes the cell's state an input and output of the model, so that the
    model streams. The state of a cell at module path ``PATH`` is named ``PATH.h``; a tuple of
    states ``PATH.state0``, ``PATH.state1``, …

    A cell's ``forward(x, state)`` takes one step of its input, ``[B, I]`` for example, and the
    state: a tensor, a tuple of tensors, or None for the first step. It returns
    ``(output, new_state)``, or the new state alone. ``nn.LSTMCell``, ``nn.GRUCell`` and
    ``nn.RNNCell`` need no mark.

    Every step of the loop must do the same with one piece of the sequence and with what the step
    before has left. The loop may run forward or backward, over ``range(x.shape[1])``,
    ``x.unbind(1)``, ``x.split(1, dim=1)`` or ``enumerate(x.transpose(0, 1))``, and may hold other
    modules beside the cell.

    Args:
        cell: A class derived from ``nn.Module``.

    Returns:
        The class, for use as a decorator.

    Raises:
        TypeError: It is not a module class.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from edgernn.training import recurrent_cell
        >>> @recurrent_cell
        ... class IndRNNCell(nn.Module):
        ...     def __init__(self, inputs, hidden):
        ...         super().__init__()
        ...         self.w = nn.Linear(inputs, hidden)
        ...         self.u = nn.Parameter(torch.full((hidden,), 0.9))
        ...
        ...     def forward(self, x, h):
        ...         return torch.relu(self.w(x) + self.u * h)
        >>> class Model(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.cell = IndRNNCell(8, 16)
        ...
        ...     def forward(self, x):
        ...         h, outputs = x.new_zeros(len(x), 16), []
        ...         for t in range(x.shape[1]):
        ...             h = self.cell(x[:, t], h)
        ...             outputs.append(h)
        ...         return torch.stack(outputs, dim=1)
        >>> Model()(torch.zeros(2, 5, 8)).shape
        torch.Size([2, 5, 16])

        ``edgernn.export(Model(), (torch.zeros(1, 100, 8),), "model.onnx")`` then writes a model
        with the state ``cell.h``.
    """
    if not (isinstance(cell, type) and issubclass(cell, nn.Module)):
        raise TypeError(
            f"recurrent_cell marks classes derived from torch.nn.Module, got {cell!r}; put "
            f"@recurrent_cell above the class of the cell"
        )
    setattr(cell, _MARK, True)
    return cell


def is_recurrent_cell(module: nn.Module) -> bool:
    """Say whether a module is of a class that `recurrent_cell` has marked."""
    return bool(getattr(type(module), _MARK, False))
