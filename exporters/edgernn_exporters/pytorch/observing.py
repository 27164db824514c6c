"""Watch the recurrent layers of a module while its own forward runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from edgernn_exporters.pytorch.arguments import Arguments
from edgernn_exporters.pytorch.interception import FullLengths, PackCall, intercepting
from edgernn_exporters.pytorch.loops.cells import watching_cells
from edgernn_exporters.pytorch.outputs import flatten_outputs
from edgernn_exporters.pytorch.subclasses import (
    base_of,
    has_own_forward,
    replace_forward,
    require_super,
)

States = tuple[Tensor, ...]


@dataclass(frozen=True)
class Call:
    """One call of a recurrent layer.

    Attributes:
        path: Module path of the layer.
        batch: Rows that it was given; None if its input had no batch axis.
        time: Steps that it was given.
        first: Copies of the initial states ``[L*D, B, H]``, h and for LSTM c; None if omitted.
        last: The states after the last step, as the layer returned them, in the same layout.
    """

    path: str
    batch: int | None
    time: int
    first: States | None
    last: States


@dataclass(frozen=True)
class Observation:
    """What one forward pass showed.

    Attributes:
        calls: Of the recurrent layers, in order.
        output_names: See `edgernn_exporters.pytorch.outputs.flatten_outputs`.
        outputs: In the same order.
        packs: Calls of ``pack_padded_sequence``.
        cells: Rows that each call of a cell was given.
    """

    calls: tuple[Call, ...]
    output_names: tuple[str, ...]
    outputs: tuple[Tensor, ...]
    packs: tuple[PackCall, ...]
    cells: tuple[int, ...] = ()


def observe(
    module: nn.Module,
    layers: Mapping[str, nn.RNNBase],
    arguments: Arguments,
    tensors: Sequence[Tensor],
) -> Observation:
    """Run a module and note the calls of its recurrent layers.

    Raises:
        Exception: Whatever the module's forward raises.
        ModelError: It returns no tensor.
    """
    calls: list[Call] = []
    cells: list[int] = []
    packing = FullLengths()
    watched = _watched(layers, calls.append), watching_cells(module, cells.append)
    with torch.no_grad(), watched[0], watched[1], intercepting(packing):
        names, outputs = flatten_outputs(arguments.call(module, tensors))
    return Observation(
        tuple(calls), tuple(names), tuple(outputs), tuple(packing.calls), tuple(cells)
    )


@contextlib.contextmanager
def _watched(layers: Mapping[str, nn.RNNBase], note: Callable[[Call], None]) -> Iterator[None]:
    """Put a watch around each layer's forward: unlike a hook, it also sees ``rnn.forward(x)``."""
    with contextlib.ExitStack() as undo:
        for path, layer in layers.items():
            seen: list[Call] = []
            undo.callback(replace_forward(layer, path, _watching(path, layer, note, seen.append)))
            if has_own_forward(layer, path):
                undo.callback(require_super(layer, path, seen.__len__))
        yield


def _watching(path: str, layer: nn.RNNBase, *notes: Callable[[Call], None]) -> Callable[..., Any]:
    base = base_of(layer, path)

    def forward(self: nn.RNNBase, input: Any, hx: Any = None) -> Any:
        first = None if hx is None else tuple(_batched(h).clone() for h in _tuple(hx))
        if hx is not None and isinstance(input, PackedSequence):  # PyTorch itself does not
            self.check_forward_args(input.data, hx, input.batch_sizes)
        output = base.forward(self, input, hx)
        batch, time = _sizes(self, input)
        last = tuple(_batched(h) for h in _tuple(output[1]))
        call = Call(path, batch, time, first, last)
        for note in notes:
            note(call)
        return output

    return forward


def _tuple(states: Any) -> States:
    return (states,) if isinstance(states, Tensor) else tuple(states)


def _batched(state: Tensor) -> Tensor:
    return state.unsqueeze(1) if state.ndim == 2 else state


def _sizes(layer: nn.RNNBase, x: Any) -> tuple[int | None, int]:
    if isinstance(x, PackedSequence):
        return int(x.batch_sizes[0]), len(x.batch_sizes)
    if x.ndim == 2:
        return None, x.shape[0]
    time_axis = 1 if layer.batch_first else 0
    return x.shape[1 - time_axis], x.shape[time_axis]
