"""Flatten what a forward pass returned."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from edgernn.errors import ModelError


def flatten_outputs(result: Any) -> tuple[list[str], list[Tensor]]:
    """Flatten what a forward pass returned into names and tensors; None is left out.

    A single tensor is ``y``; entries of dicts keep their keys, fields of named tuples and
    dataclasses their names; others are ``y0``, ``y1``, …

    Raises:
        ModelError: The result holds no tensor, or a packed sequence.
    """
    if is_dataclass(result) and not isinstance(result, type):
        result = {field.name: getattr(result, field.name) for field in fields(result)}
    leaves = pytree.tree_leaves_with_path(result, is_leaf=_is_packed)
    if any(_is_packed(leaf) for _, leaf in leaves):
        raise ModelError(
            "forward returns a PackedSequence, which a graph cannot give; return "
            "pad_packed_sequence(...)[0]"
        )
    leaves = [(path, leaf) for path, leaf in leaves if isinstance(leaf, Tensor)]
    if not leaves:
        raise ModelError(
            f"forward returned {type(result).__name__} without a tensor in it; return a tensor, or "
            f"a tuple or dict of tensors"
        )
    if isinstance(result, Tensor):
        return ["y"], [result]
    names = [_name(path[-1], index) for index, (path, _) in enumerate(leaves)]
    if len(leaves) == 1 and names == ["y0"]:
        names = ["y"]
    return names, [leaf for _, leaf in leaves]


def _name(key: Any, index: int) -> str:
    if isinstance(key, pytree.MappingKey):
        return str(key.key)
    return str(key.name) if isinstance(key, pytree.GetAttrKey) else f"y{index}"


def _is_packed(value: Any) -> bool:
    return isinstance(value, PackedSequence)
