"""Peer ``torch``: PyTorch's own layers, eager, in inference mode.

The layers are made from the weights in the file; stacked layers become one ``nn.LSTM`` or
``nn.GRU``, as one would write it. The number of threads holds for the whole process until the
session is closed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgernn.sessions import Array, Arrays
from edgernn_benchmarks.peers.engine import FLOAT, import_engine, probe_package
from edgernn_benchmarks.peers.model import PeerModel, Shapes, read_peer_model
from edgernn_benchmarks.peers.session import PeerSession, States
from edgernn_benchmarks.peers.torch_graph import (
    Activation,
    Embedding,
    Layer,
    Linear,
    Stage,
    Swap,
    read_chain,
)
from edgernn_runtimes import Probe

INSTALL = "pip install 'edgernn[export]'"
TOLERANCE = FLOAT

_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Place in ONNX's order of each of PyTorch's gates."""


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> PeerSession:
    """Rebuild a model in PyTorch.

    Raises:
        TargetUnavailable: torch is not installed.
        ModelError: The model is no chain of recurrent and linear layers.
    """
    torch = import_engine("torch", install=INSTALL)
    model = read_peer_model(path)
    return PeerSession(model, TorchEngine(torch, model, threads), "peer:torch")


def probe() -> Probe:
    """Say whether torch is installed and which version."""
    return probe_package("torch", "torch", install=INSTALL)


class TorchEngine:
    """A model in PyTorch (see `session.Engine`)."""

    def __init__(self, torch: Any, model: PeerModel, threads: int | None) -> None:
        self._torch = torch
        self._model = model
        self._steps: list[Callable[[Any], Any] | _Block] = _modules(torch, read_chain(model))
        self._blocks = [step for step in self._steps if isinstance(step, _Block)]
        self._threads = torch.get_num_threads()
        if threads is not None:
            torch.set_num_threads(threads)

    def prepare(self, shapes: Shapes) -> TorchEngine:
        """See `session.Engine`; the modules take all shapes."""
        return self

    def __call__(self, values: Sequence[Array], states: States) -> tuple[list[Array], States]:
        """See `session.Program`."""
        left, kept = iter(states), []
        with self._torch.inference_mode():
            y = self._torch.from_numpy(values[0])
            for step in self._steps:
                if isinstance(step, _Block):
                    y, state = step.module(y, next(left))
                    kept.append(state)
                else:
                    y = step(y)
            return [y.numpy()], kept

    def encode(self, states: Arrays) -> States:
        """See `session.Engine`."""
        return [
            block.pack([
                self._torch.from_numpy(np.concatenate([states[name] for name in names]))
                for names in block.names
            ])
            for block in self._blocks
        ]  # fmt: skip

    def decode(self, states: States) -> Arrays:
        """See `session.Engine`."""
        return {
            name: part.copy()
            for block, state in zip(self._blocks, states, strict=True)
            for names, tensor in zip(block.names, block.unpack(state), strict=True)
            for name, part in zip(
                names, np.split(tensor.numpy(), len(names)), strict=True
            )
        }  # fmt: skip

    def close(self) -> None:
        """See `session.Engine`."""
        self._torch.set_num_threads(self._threads)


class _Block:
    """Stacked layers as one module, and the names of their states: those of h, then those of c."""

    def __init__(self, torch: Any, layers: Sequence[Layer], batch_first: bool) -> None:
        first = layers[0]
        options: dict[str, Any] = {"num_layers": len(layers), "bias": first.b is not None}
        if first.kind == "RNN":
            options["nonlinearity"] = first.activation.lower()
        self.module = getattr(torch.nn, first.kind)(
            first.w.shape[2],
            first.r.shape[2],
            batch_first=batch_first,
            bidirectional=first.bidirectional,
            **options,
        ).eval()
        self.names = list(zip(*(layer.states for layer in layers), strict=True))
        for index, layer in enumerate(layers):
            for name, value in _parameters(layer, index).items():
                getattr(self.module, name).data = torch.from_numpy(value)
        self.module.flatten_parameters()

    def pack(self, tensors: list[Any]) -> Any:
        return tuple(tensors) if len(tensors) == 2 else tensors[0]

    def unpack(self, state: Any) -> tuple[Any, ...]:
        return state if isinstance(state, tuple) else (state,)


def _parameters(layer: Layer, index: int) -> dict[str, Array]:
    """Return a layer's parameters under PyTorch's names, with gates in PyTorch's order."""
    order = _GATES[layer.kind]

    def sorted_gates(value: Array) -> Array:
        gates = np.split(value, len(order))
        return np.concatenate([gates[place] for place in order])

    found: dict[str, Array] = {}
    for direction, suffix in enumerate(["", "_reverse"][: len(layer.w)]):
        end = f"l{index}{suffix}"
        found[f"weight_ih_{end}"] = sorted_gates(layer.w[direction])
        found[f"weight_hh_{end}"] = sorted_gates(layer.r[direction])
        if layer.b is not None:
            for name, value in zip(("ih", "hh"), np.split(layer.b[direction], 2), strict=True):
                found[f"bias_{name}_{end}"] = sorted_gates(value)
    return found


def _modules(torch: Any, stages: Sequence[Stage]) -> list[Callable[[Any], Any] | _Block]:
    made: list[Callable[[Any], Any] | _Block] = []
    index = 0
    while index < len(stages):
        stage = stages[index]
        swapped = isinstance(stage, Swap)
        start = index + swapped
        end = start
        while end < len(stages) and _stack(stages[start], stages[end]):
            end += 1
        layers = [layer for layer in stages[start:end] if isinstance(layer, Layer)]
        if layers and not swapped:
            made.append(_Block(torch, layers, batch_first=False))
            index = end
        elif layers and end < len(stages) and isinstance(stages[end], Swap):
            made.append(_Block(torch, layers, batch_first=True))
            index = end + 1
        else:
            made.append(_function(torch, stage))
            index += 1
    return made


def _stack(first: Stage, other: Stage) -> bool:
    """Say whether one module can hold both layers."""
    if not isinstance(first, Layer) or not isinstance(other, Layer):
        return False
    same = ("kind", "activation", "bidirectional")
    fits = other is first or other.w.shape[2] == first.r.shape[2] * len(first.w)
    return (
        fits
        and other.r.shape == first.r.shape
        and (other.b is None) == (first.b is None)
        and all(getattr(first, name) == getattr(other, name) for name in same)
    )


def _function(torch: Any, stage: Stage) -> Callable[[Any], Any]:
    if isinstance(stage, Linear):
        weight = torch.from_numpy(np.ascontiguousarray(stage.weight.T))
        bias = None if stage.bias is None else torch.from_numpy(stage.bias)
        return lambda x: torch.nn.functional.linear(x, weight, bias)
    if isinstance(stage, Embedding):
        table = torch.from_numpy(stage.table)
        return lambda x: torch.nn.functional.embedding(x, table)
    if isinstance(stage, Activation):
        found: Callable[[Any], Any] = getattr(torch, stage.name.lower())
        return found
    return lambda x: x.transpose(0, 1)
