"""The cells of a module: PyTorch's own, and those that `edgernn.training.recurrent_cell` marks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgernn.training.cells import is_recurrent_cell
from edgernn.training.onnx_layout import onnx_cell_weights
from edgernn_exporters.pytorch.loops.expressions import Operation, Parameter
from edgernn_exporters.pytorch.loops.naming import CELLS
from edgernn_exporters.pytorch.recurrent import library, shapes_of

library.define("state(Tensor x, str name) -> Tensor")  # type: ignore[no-untyped-call]


@shapes_of("edgernn::state")
def _state_shape(x: Tensor, name: str) -> Tensor:
    return torch.empty_like(x)


def has_cells(module: nn.Module) -> bool:
    """Say whether a module holds cells, which are called once for each step."""
    return any(_is_cell(part) for part in module.modules())


def _is_cell(module: nn.Module) -> bool:
    return isinstance(module, nn.RNNCellBase) or is_recurrent_cell(module)


@contextlib.contextmanager
def watching_cells(module: nn.Module, note: Callable[[int], None]) -> Iterator[None]:
    """Note the rows that each call of a cell is given."""

    def before(_: nn.Module, args: tuple[Any, ...]) -> None:
        if args and isinstance(args[0], Tensor) and args[0].ndim > 0:
            note(args[0].shape[0])

    hooks = [cell.register_forward_pre_hook(before) for cell in module.modules() if _is_cell(cell)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def naming_states(module: nn.Module) -> Iterator[None]:
    """Let marked cells note in a trace which tensors they are given as state, and their names."""
    changed: list[tuple[nn.Module, Any]] = []
    for path, cell in module.named_modules():
        if is_recurrent_cell(cell):
            changed.append((cell, vars(cell).get("forward")))
            cell.forward = _noting(cell.forward, f"{path}." if path else "")
    try:
        yield
    finally:
        for cell, forward in changed:
            if forward is None:
                del cell.forward
            else:
                cell.forward = forward


def _noting(forward: Callable[..., Any], prefix: str) -> Callable[..., Any]:
    def noting(x: Any, state: Any = None, *args: Any, **kwargs: Any) -> Any:
        if isinstance(state, Tensor):
            state = torch.ops.edgernn.state(state, f"{prefix}h")
        elif isinstance(state, tuple | list):
            noted = [
                torch.ops.edgernn.state(part, f"{prefix}state{place}")
                if isinstance(part, Tensor) else part
                for place, part in enumerate(state)
            ]  # fmt: skip
            named = isinstance(state, tuple) and hasattr(state, "_fields")
            state = type(state)(*noted) if named else type(state)(noted)
        return forward(x, state, *args, **kwargs)

    return noting


def add_cell_weights(module: nn.Module) -> None:
    """Give PyTorch's cells their weights in the layout of ONNX, as buffers."""
    for cell in module.modules():
        if isinstance(cell, nn.RNNCellBase):
            with torch.no_grad():
                weights = onnx_cell_weights(cell)
            for letter, weight in zip("WRB", weights, strict=True):
                cell.register_buffer(f"{letter}_l0", weight)


def cell_weights(wrapper: nn.Module, operation: Operation) -> Sequence[Tensor | None]:
    """Return the weights of the cell that an operation comes from, in the layout of ONNX."""
    assert operation.target in CELLS
    assert isinstance(operation.args[2], Parameter)
    cell = wrapper.get_submodule(operation.args[2].name.rpartition(".")[0])
    return [getattr(cell, f"{letter}_l0") for letter in "WRB"]
