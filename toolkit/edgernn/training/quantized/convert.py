"""Whole modules: float to quantized and back, and the ranges of all layers by name."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import nn

from edgernn.errors import ModelError
from edgernn.integer import LayerRange, Ranges
from edgernn.training.quantized.checks import precision_named
from edgernn.training.quantized.linear import QuantLinear
from edgernn.training.quantized.recurrent import QuantGRU, QuantLSTM, QuantRNN

M = TypeVar("M", bound=nn.Module)
QuantLayer = QuantLSTM | QuantGRU | QuantRNN | QuantLinear

_QUANTIZED: dict[type[nn.Module], Any] = {
    nn.LSTM: QuantLSTM,
    nn.GRU: QuantGRU,
    nn.RNN: QuantRNN,
    nn.Linear: QuantLinear,
}


def to_quantized(module: M, precision: str, ranges: Ranges | None = None) -> M:
    """Copy a module with every LSTM, GRU, RNN and linear layer quantized.

    For other choices, put `QuantLSTM` and so on into your module by hand.

    Args:
        module: Float module; it is left as it is.
        precision: ``"int8"``, ``"w8a16"`` or ``"int4"``.
        ranges: Of all its layers (see `layer_names`), if known.

    Raises:
        UsageError: The precision is unknown, or a range is of another layer.
        ModelError: ``ranges`` leaves out a layer, or a layer has a projection.

    Example:
        >>> model = to_quantized(nn.Sequential(nn.Linear(3, 2)), "int4")
        >>> type(model[0]).__name__
        'QuantLinear'
    """
    precision_named(precision)

    def replacement(path: str, layer: nn.Module) -> nn.Module | None:
        make = _QUANTIZED.get(type(layer))
        if make is None:
            return None
        found = None if ranges is None else [ranges.of(name) for name in layer_names(path, layer)]
        own = found[0] if found and isinstance(layer, nn.Linear) else found
        quantized: nn.Module = make(layer, precision, own)
        return quantized

    return _replaced(copy.deepcopy(module), replacement)


def to_float(module: M) -> M:
    """Copy a module with every quantized layer as the float layer that it was made from.

    The weights are the trained ones: quantizing them with `ranges_of` the module gives the
    integers that it computes with.

    Example:
        >>> type(to_float(to_quantized(nn.GRU(3, 5), "int8"))).__name__
        'GRU'
    """
    return _replaced(
        copy.deepcopy(module),
        lambda _, layer: layer.float_layer() if isinstance(layer, QuantLayer) else None,
    )


@contextmanager
def observing(module: nn.Module) -> Iterator[None]:
    """Find the ranges of a module's quantized layers: run it on typical inputs in this block.

    Inside, the module is in evaluation mode, without gradients, and computes in float32. What it
    had seen before is forgotten. Padding counts as input: give sequences without it, or packed.

    Example:
        >>> model = to_quantized(nn.GRU(3, 5), "int8")
        >>> with observing(model):
        ...     _ = model(torch.randn(20, 4, 3))
        >>> len(model.ranges()[0].low)
        3
    """
    modes = [(part, part.training) for part in module.modules()]
    layers = dict(quantized_layers(module)).values()
    module.eval()
    for layer in layers:
        observers = [layer.observer] if isinstance(layer, QuantLinear) else layer._observers
        for observer in observers:
            observer.reset()
        layer.observing = True
    try:
        with torch.no_grad():
            yield
    finally:
        for layer in layers:
            layer.observing = False
        for part, training in modes:
            part.training = training


def ranges_of(module: nn.Module) -> Ranges:
    """Return the ranges of all quantized layers of a module, by `layer_names`.

    Raises:
        ModelError: A layer has no ranges yet, or the module has no such layers.

    Example:
        >>> layer = QuantLinear(nn.Linear(3, 2), "int8", LayerRange((-1.0,), (1.0,)))
        >>> list(ranges_of(nn.Sequential(layer)).layers)
        ['0']
    """
    found: dict[str, LayerRange] = {}
    precisions: dict[str, str] = {}
    sequences = steps = 0
    for path, layer in quantized_layers(module):
        names = layer_names(path, layer)
        found |= zip(names, layer.ranges(), strict=True)
        precisions |= dict.fromkeys(names, layer.precision)
        if not isinstance(layer, QuantLinear):
            seen = [observer.seen.tolist() for observer in layer._observers]
            sequences = max(sequences, *(item[0] for item in seen))
            steps = max(steps, *(item[1] for item in seen))
    if not found:
        raise ModelError(
            f"{type(module).__name__} has no quantized layer; make it with "
            f"edgernn.training.to_quantized"
        )
    return Ranges(found, "training", sequences, steps, precisions=precisions)


def quantized_layers(module: nn.Module) -> Iterator[tuple[str, QuantLayer]]:
    """Yield the quantized layers of a module with their paths."""
    for path, layer in module.named_modules():
        if isinstance(layer, QuantLayer):
            yield path, layer


def layer_names(path: str, layer: nn.Module) -> tuple[str, ...]:
    """Return the names that one layer of a module has in an exported file.

    A linear layer has its path. A recurrent layer has one node, and so one name, for each of its
    stacked layers.

    Example:
        >>> layer_names("encoder.rnn", nn.GRU(3, 5, num_layers=2))
        ('encoder.rnn.l0', 'encoder.rnn.l1')
    """
    if not isinstance(layer, nn.RNNBase):
        return (path,)
    prefix = f"{path}." if path else ""
    return tuple(f"{prefix}l{index}" for index in range(layer.num_layers))


def _replaced(module: M, replacement: Any) -> M:
    """Put ``replacement(path, layer)`` in the place of each layer for which it is not None."""
    made: dict[int, nn.Module] = {}  # a layer that stands in two places stays one layer
    for path, layer in list(module.named_modules(remove_duplicate=False)):
        new = made.get(id(layer)) or replacement(path, layer)
        if new is None:
            continue
        made[id(layer)] = new
        if not path:
            return cast(M, new)  # a layer takes the place of a layer of its kind
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, new)
    return module
