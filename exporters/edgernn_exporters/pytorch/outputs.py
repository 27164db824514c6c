"""Flatten what a forward pass returned."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from edgernn.errors import ModelError


def flatten_outputs(result: Any) -> tuple[list[str], list[Tensor]]:
    """Flatten what a forward pass returned into names and tensors; None is left out.

    A single tensor is ``y``; dict entries keep their keys; others are ``y0``, ``y1``, …

    Raises:
        ModelError: The result holds no tensor, or a packed sequence.
    """
    leaves = pytree.tree_leaves_with_path(result, is_leaf=_is_packed)
    if any(_is_packed(leaf) for _, leaf in leaves):
        raise ModelError(
            "forward returns a PackedSequence, which a graph cannot give; return "
            "pad_packed_sequence(...)[0]"
        )
    leaves = [(path, leaf) for path, leaf in leaves if isinstance(leaf, Tensor)]
    if not leaves:
        raise ModelError(f"forward returned {type(result).__name__} without a tensor in it")
    if isinstance(result, Tensor):
        return ["y"], [result]
    names = [
        str(path[-1].key) if isinstance(path[-1], pytree.MappingKey) else f"y{index}"
        for index, (path, _) in enumerate(leaves)
    ]
    if len(leaves) == 1 and names == ["y0"]:
        names = ["y"]
    return names, [leaf for _, leaf in leaves]


def _is_packed(value: Any) -> bool:
    return isinstance(value, PackedSequence)
