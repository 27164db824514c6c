"""Replace the forward of a recurrent layer, also where a subclass wraps it in its own."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

from torch import nn

from edgernn.errors import ModelError
from edgernn_exporters.pytorch.recurrent import KINDS

Forward = Callable[..., Any]


def base_of(layer: nn.RNNBase, path: str) -> type[nn.RNNBase]:
    """Return which of ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN`` a layer is.

    Raises:
        ModelError: It is none of them.
    """
    for base in KINDS:
        if isinstance(layer, base):
            return base
    raise ModelError(
        f"layer {path!r} is a {type(layer).__name__}, a recurrent layer that is no nn.LSTM, nn.GRU "
        f"or nn.RNN; derive it from the one whose equations it has"
    )


def has_own_forward(layer: nn.RNNBase, path: str) -> bool:
    """Tell whether a subclass has a forward of its own."""
    return type(layer).forward is not base_of(layer, path).forward


def replace_forward(layer: nn.RNNBase, path: str, forward: Forward) -> Callable[[], None]:
    """Replace what ``nn.GRU.forward`` and so on do, for one layer.

    A subclass's own forward stays; what it calls by ``super().forward`` is replaced.

    Args:
        layer: Layer to change in place.
        path: Its module path.
        forward: Function of the layer and the arguments of ``nn.GRU.forward``.

    Returns:
        A function that puts everything back.
    """
    if not has_own_forward(layer, path):
        return _set_attribute(layer, MethodType(forward, layer))
    before, base = type(layer), base_of(layer, path)
    # In the order of resolution this class comes between the subclass and nn.GRU.
    between = type(base.__name__, (base,), {"forward": forward})
    layer.__class__ = type(before.__name__, (before, between), {})

    def undo() -> None:
        layer.__class__ = before

    return undo


def require_super(layer: nn.RNNBase, path: str, calls: Callable[[], int]) -> Callable[[], None]:
    """Refuse, when it runs, a subclass whose own forward does without ``super().forward``.

    Args:
        layer: Layer whose forward is replaced (`replace_forward`).
        path: Its module path.
        calls: How often the replacement has been called so far.

    Returns:
        A function that puts everything back.
    """
    original = layer.forward

    def forward(self: nn.RNNBase, *args: Any, **kwargs: Any) -> Any:
        before = calls()
        result = original(*args, **kwargs)
        if calls() == before:
            raise ModelError(
                f"layer {path!r} is a {type(self).__name__}, whose own forward computes without "
                f"super().forward, so its state cannot be found; call super().forward there, or "
                f"use nn.{base_of(self, path).__name__} itself"
            )
        return result

    return _set_attribute(layer, MethodType(forward, layer))


def _set_attribute(layer: nn.RNNBase, forward: Forward) -> Callable[[], None]:
    before = vars(layer).get("forward")
    layer.forward = forward

    def undo() -> None:
        if before is None:
            del layer.forward
        else:
            layer.forward = before

    return undo
