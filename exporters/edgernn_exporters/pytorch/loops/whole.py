"""Apply an operation of a step to all steps at once, the steps in front as a further axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from edgernn_exporters.pytorch.loops.expressions import Operation, Piece, Tree

aten = torch.ops.aten


@dataclass(frozen=True)
class Series:
    """A value in all steps.

    Attributes:
        value: A tensor with the steps in front if it varies, a tuple of such, or a literal.
        varies: False for a value that is the same in all steps, without an axis for them.
    """

    value: Any
    varies: bool


_POINTWISE = {
    *(getattr(aten, name).default for name in (
        "sigmoid", "tanh", "relu", "exp", "log", "neg", "sqrt", "rsqrt", "abs", "sin", "cos", "erf",
        "silu", "gelu", "elu", "leaky_relu", "hardtanh", "hardsigmoid", "hardswish", "softplus",
        "relu6", "selu", "mish", "log_sigmoid", "reciprocal", "square", "clamp", "clamp_min",
        "clamp_max", "maximum", "minimum", "sign", "round", "floor", "logical_not", "log1p",
    )),
    *(getattr(aten, name).Tensor for name in (
        "add", "sub", "mul", "div", "rsub", "eq", "ne", "lt", "le", "gt", "ge",
    )),
    *(getattr(aten, name).Scalar for name in (
        "add", "sub", "mul", "div", "rsub", "eq", "ne", "lt", "le", "gt", "ge",
    )),
    aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor, aten.where.self, aten.lerp.Tensor,
    aten.lerp.Scalar, aten.to.dtype, aten.type_as.default, aten.addcmul.default,
}  # fmt: skip

# Operations on one tensor with axes among their arguments: where these are, and what they are if
# left out.
_AXES: dict[Any, tuple[tuple[int, Any], ...]] = {
    aten.softmax.int: ((1, None),),
    aten.log_softmax.int: ((1, None),),
    aten.unsqueeze.default: ((1, None),),
    aten.squeeze.dim: ((1, None),),
    aten.transpose.int: ((1, None), (2, None)),
    aten.chunk.default: ((2, 0),),
    aten.split.Tensor: ((2, 0),),
    aten.split_with_sizes.default: ((2, 0),),
    aten.slice.Tensor: ((1, 0),),
    aten.select.int: ((1, None),),
    aten.glu.default: ((1, -1),),
    aten.sum.dim_IntList: ((1, None),),
    aten.mean.dim: ((1, None),),
    aten.amax.default: ((1, None),),
    aten.cumsum.default: ((1, None),),
}

# Operations that treat all axes in front of the last ones alike; only the first argument may vary.
_TRAILING = {aten.linear.default, aten.layer_norm.default, aten.rms_norm.default, aten.pad.default,
             aten.constant_pad_nd.default}  # fmt: skip


def runs_whole(operation: Operation, varies: Callable[[Tree], bool]) -> bool:
    """Say whether there is a rule for an operation.

    Args:
        operation: Operation of a step.
        varies: Says whether a tree has another value in each step.
    """
    target, args = operation.target, operation.args
    if any(varies(value) for _, value in operation.kwargs):
        return False
    if target in _POINTWISE or target is aten.cat.default:
        return True
    if target is aten.embedding.default:
        return not varies(args[0])
    if target in _AXES:
        axes = [place for place, _ in _AXES[target]]
        return all(
            _axis(args, place, default) is not None for place, default in _AXES[target]
        ) and (not any(varies(arg) for place, arg in enumerate(args) if place > 0 or place in axes))
    return target in _TRAILING and not any(varies(arg) for arg in args[1:])


def run_whole(operation: Operation, args: Sequence[Any], kwargs: dict[str, Any]) -> Series:
    """Run an operation on all steps, or once if none of its arguments varies.

    Args:
        operation: One that `runs_whole`.
        args: Series and tuples of them.
        kwargs: Values that are the same in all steps.
    """
    target = operation.target
    if not _any_varies(args):
        return Series(target(*_plain(args), **kwargs), False)
    if target is aten.cat.default:
        values = _joined(args[0])
        axis = args[1].value if len(args) > 1 else 0
        return Series(torch.cat(values, _shifted(axis)), True)
    plain = _plain(args)
    if target in _AXES:
        for place, default in _AXES[target]:
            plain += [None] * (place + 1 - len(plain))
            plain[place] = _shifted(default if plain[place] is None else plain[place])
    elif target in _POINTWISE:
        plain = _aligned(args)
    return Series(target(*plain, **kwargs), True)


def cut(series: Series, piece: Piece) -> Series:
    """Return a piece of a value in all steps."""
    value: Tensor = series.value
    if piece.keep:
        return Series(value.narrow(piece.dim + 1, piece.index, 1), True)
    return Series(value.select(piece.dim + 1, piece.index), True)


def _any_varies(args: Any) -> bool:
    if isinstance(args, Series):
        return args.varies
    return isinstance(args, list | tuple) and any(map(_any_varies, args))


def _plain(args: Any) -> Any:
    if isinstance(args, Series):
        return args.value
    return [_plain(arg) for arg in args] if isinstance(args, list | tuple) else args


def _axis(args: Sequence[Any], place: int, default: Any) -> Any:
    return args[place] if len(args) > place else default


def _shifted(axis: Any) -> Any:
    """Return axes counted from the front, behind that of the steps."""
    if isinstance(axis, list | tuple):
        return [_shifted(item) for item in axis]
    return axis + 1 if axis >= 0 else axis


def _aligned(args: Sequence[Any]) -> list[Any]:
    """Give tensors of fewer axes new ones behind that of the steps, so that they broadcast."""
    tensors = [arg for arg in args if isinstance(arg, Series) and isinstance(arg.value, Tensor)]
    rank = max(arg.value.ndim - arg.varies for arg in tensors)
    result = []
    for arg in args:
        value = _plain(arg)
        if isinstance(arg, Series) and arg.varies:
            for _ in range(rank - (value.ndim - 1)):
                value = value.unsqueeze(1)
        result.append(value)
    return result


def _joined(parts: Sequence[Any]) -> list[Tensor]:
    """Repeat the parts of a concatenation that are the same in all steps."""
    steps = next(part.value.shape[0] for part in parts if part.varies)
    return [
        part.value if part.varies else part.value.expand(steps, *part.value.shape) for part in parts
    ]
