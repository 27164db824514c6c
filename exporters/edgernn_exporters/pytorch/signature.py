"""Find the names and the batch and time axes of what a module takes and returns, by trying it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgernn.contract import Axes
from edgernn.errors import EdgernnError, InputError, ModelError
from edgernn_exporters.pytorch.streaming import flatten_outputs


@dataclass(frozen=True)
class Signature:
    """Describe a module's inputs and outputs before it is traced.

    Attributes:
        args: The example inputs, brought to the sizes below.
        input_names: Names of the parameters of ``forward``.
        input_axes: One for each input.
        output_names: Flattened (see `edgernn_exporters.pytorch.streaming.flatten_outputs`).
        output_axes: One for each output.
        batch: Rows of ``args``.
        length: Time steps of ``args``.
    """

    args: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    input_axes: tuple[Axes, ...]
    output_names: tuple[str, ...]
    output_axes: tuple[Axes, ...]
    batch: int
    length: int


def read_signature(
    module: nn.Module,
    args: Sequence[Tensor],
    layers: Mapping[str, nn.RNNBase],
    output_names: Sequence[str] | None,
) -> Signature:
    """Run a module on its example inputs, then on more rows and more time steps.

    Args:
        module: Module in evaluation mode.
        args: Example inputs.
        layers: Its recurrent layers; the first one's ``batch_first`` says where the axes are.
        output_names: Names to give the outputs, or None for those found.

    Raises:
        InputError: The example inputs or the names do not fit the module.
        ModelError: An output mixes batch and time in one axis, or two tensors have one name.
    """
    layer = next(iter(layers.values()))
    batch_axis, time_axis = (0, 1) if layer.batch_first else (1, 0)
    args = _checked(args, f"[1, 100, {layer.input_size}]")
    first = args[0]
    axes = tuple(_axes_like(first, arg, batch_axis, time_axis) for arg in args)
    # Sizes 0 and 1 are specialised by torch.export, so trace with others.
    batch, length = 2, max(int(first.shape[time_axis]), 3)

    def at(batch: int, length: int) -> tuple[Tensor, ...]:
        return tuple(resized(a, place, batch, length) for a, place in zip(args, axes, strict=True))

    names, base = _outputs_of(module, at(batch, length))
    _, with_batch = _outputs_of(module, at(batch + 1, length))
    _, with_time = _outputs_of(module, at(batch, 2 * length))
    if output_names is not None:
        if len(output_names) != len(names):
            raise InputError(
                f"output_names has {len(output_names)} names, but the module returns "
                f"{len(names)} outputs; give one name for each"
            )
        names = list(output_names)
    parameters = list(inspect.signature(module.forward).parameters)
    enough = len(parameters) >= len(args)
    input_names = parameters[: len(args)] if enough else [f"x{i}" for i in range(len(args))]
    _require_distinct([*input_names, *names])
    return Signature(
        args=at(batch, length),
        input_names=tuple(input_names),
        input_axes=axes,
        output_names=tuple(names),
        output_axes=tuple(
            _output_axes(name, shapes)
            for name, *shapes in zip(names, base, with_batch, with_time, strict=True)
        ),
        batch=batch,
        length=length,
    )


def resized(arg: Tensor, axes: Axes, batch: int, length: int) -> Tensor:
    """Repeat or cut an example along its batch and time axes."""
    for axis, size in ((axes.batch, batch), (axes.time, length)):
        if axis is not None:
            arg = arg.index_select(axis, torch.arange(size) % arg.shape[axis])
    return arg


def runs(module: nn.Module, signature: Signature, length: int) -> bool:
    """Say whether a module takes sequences of this length."""
    examples = zip(signature.args, signature.input_axes, strict=True)
    try:
        with torch.no_grad():
            module(*(resized(arg, axes, signature.batch, length) for arg, axes in examples))
    except Exception:  # whatever the user's own forward raises
        return False
    return True


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _checked(args: Sequence[Tensor], shape: str) -> tuple[Tensor, ...]:
    if isinstance(args, Tensor) or not args or not all(isinstance(a, Tensor) for a in args):
        raise InputError(f"give the example inputs as a tuple of tensors: (torch.zeros({shape}),)")
    if args[0].ndim < 2:
        raise InputError(
            f"the first example input has shape {list(args[0].shape)}; it needs a batch and a "
            f"time axis, such as {shape}"
        )
    for arg in args:
        if arg.numel() == 0:
            raise InputError(
                f"an example input has the shape {list(arg.shape)} and no values; give at least "
                f"one row and one time step, such as {shape}"
            )
    return tuple(arg.detach().cpu() for arg in args)


def _require_distinct(names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise ModelError(
            f"inputs and outputs must have distinct names, but {', '.join(twice)} occurs twice; "
            f"name the outputs with output_names, or rename the parameters of forward"
        )


def _axes_like(first: Tensor, arg: Tensor, batch_axis: int, time_axis: int) -> Axes:
    """Find an input's axes by comparing its sizes with the first input's."""

    def same(axis: int) -> int | None:
        return axis if arg.ndim > axis and arg.shape[axis] == first.shape[axis] else None

    if arg is first:
        return Axes(batch=batch_axis, time=time_axis)
    time = same(time_axis) if arg.ndim >= 2 else None
    return Axes(batch=same(batch_axis) if time is not None or batch_axis == 0 else None, time=time)


def _outputs_of(
    module: nn.Module, args: tuple[Tensor, ...]
) -> tuple[list[str], list[tuple[int, ...]]]:
    """Return the names and shapes of what a module returns."""
    try:
        with torch.no_grad():
            names, outputs = flatten_outputs(module(*args))
    except EdgernnError:
        raise
    except Exception as error:  # whatever the user's own forward raises
        shapes = [list(arg.shape) for arg in args]
        raise InputError(
            f"{type(module).__name__} fails on example inputs of shapes {shapes}: "
            f"{first_line(error)}; give inputs that it takes, at any batch size and length"
        ) from None
    return names, [tuple(output.shape) for output in outputs]


def _output_axes(name: str, shapes: Sequence[tuple[int, ...]]) -> Axes:
    """Compare the shape of an output with those for more rows and for more time steps."""
    base, with_batch, with_time = shapes
    if not len(base) == len(with_batch) == len(with_time):
        raise ModelError(
            f"output {name!r} changes its rank with the batch size or length; keep all axes"
        )
    batch, time = _grown(base, with_batch), _grown(base, with_time)
    if batch is not None and batch == time:
        raise ModelError(
            f"output {name!r} has batch and time in one axis ({batch}); keep them apart, such as "
            f"[batch, time, features]"
        )
    return Axes(batch=batch, time=time)


def _grown(before: tuple[int, ...], after: tuple[int, ...]) -> int | None:
    changed = [axis for axis, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    return changed[0] if changed else None
