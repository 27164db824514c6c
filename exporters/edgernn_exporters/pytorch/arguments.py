"""Name the tensors among the arguments of a module's forward, however they are nested."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils import _pytree as pytree

from edgernn.errors import InputError

_EXAMPLE = "give the example inputs as a tuple of tensors: (torch.zeros([1, 100, 40]),)"


@dataclass(frozen=True)
class Arguments:
    """Hold example arguments with their tensors taken out.

    Attributes:
        names: Of the tensors: the parameter of ``forward``, its keys and positions.
        tensors: In the same order.
    """

    names: tuple[str, ...]
    tensors: tuple[Tensor, ...]
    _leaves: tuple[Any, ...]  # constants, and None in place of each tensor
    _places: tuple[int, ...]  # of the tensors among the leaves
    _structure: pytree.TreeSpec

    def call(self, module: nn.Module, tensors: Sequence[Tensor]) -> Any:
        """Call a module with other tensors in place of the example's."""
        leaves = list(self._leaves)
        for place, tensor in zip(self._places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = pytree.tree_unflatten(leaves, self._structure)
        return module(*args, **kwargs)


def read_arguments(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
) -> Arguments:
    """Take apart example arguments; None, numbers and texts in them are held constant.

    Args:
        module: Its ``forward`` gives the names: ``x``; ``state_0`` for the first tensor of a tuple
            ``state``; the key for an entry of a dict.
        args: By position, each a tensor or tuples, lists and dicts of tensors.
        kwargs: By name.

    Raises:
        InputError: There is no tensor, one has no values, or an argument is of a kind that a graph
            cannot take.
    """
    if isinstance(args, Tensor) or not isinstance(args, Sequence):
        raise InputError(_EXAMPLE)
    given = (tuple(args), dict(kwargs or {}))
    paths, structure = pytree.tree_flatten_with_path(
        given,
        is_leaf=lambda value: isinstance(value, PackedSequence),  # else a tuple of its parts
    )
    labels = _labels(module, len(args))
    names, tensors, places, leaves = [], [], [], []
    for place, (path, leaf) in enumerate(paths):
        name = _name(path, labels)
        _check_leaf(name, leaf)
        leaves.append(None if isinstance(leaf, Tensor) else leaf)
        if isinstance(leaf, Tensor):
            places.append(place)
            names.append(name)
            tensors.append(leaf.detach().cpu())
    if not tensors:
        raise InputError(_EXAMPLE)
    return Arguments(tuple(names), tuple(tensors), tuple(leaves), tuple(places), structure)


def _labels(module: nn.Module, count: int) -> list[str]:
    """Return a name for each positional argument."""
    names: list[str] = []
    for parameter in inspect.signature(module.forward).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return names + [f"{parameter.name}_{i}" for i in range(count - len(names))]
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            names.append(parameter.name)
    return names + [f"x{i}" for i in range(len(names), count)]


def _name(path: Sequence[Any], labels: Sequence[str]) -> str:
    """Name a leaf by its path through ``(args, kwargs)``."""
    by_position = path[0].idx == 0
    name = labels[path[1].idx] if by_position else str(path[1].key)
    for key in path[2:]:
        if isinstance(key, pytree.MappingKey):
            name = str(key.key)
        elif isinstance(key, pytree.SequenceKey):
            name = f"{name}_{key.idx}"
        else:
            name = str(getattr(key, "name", key))
    return name


def _check_leaf(name: str, leaf: Any) -> None:
    if isinstance(leaf, PackedSequence):
        raise InputError(
            f"argument {name!r} is a PackedSequence, which a graph cannot take; let forward take "
            f"the padded tensor and the lengths, and pack them there"
        )
    if isinstance(leaf, np.ndarray):
        raise InputError(
            f"argument {name!r} is a numpy array; give a tensor: torch.from_numpy(array)"
        )
    if isinstance(leaf, Tensor) and leaf.numel() == 0:
        raise InputError(
            f"argument {name!r} has the shape {list(leaf.shape)} and no values; give at least one "
            f"row and one time step, such as [1, 100, 40]"
        )
