"""Trace a module at two short lengths and roll its Python loops over time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgernn.errors import EdgernnError, ModelError, first_line
from edgernn_exporters.pytorch.axes import TIME, resized_along
from edgernn_exporters.pytorch.loops.cells import naming_states
from edgernn_exporters.pytorch.loops.expressions import Loop, Program
from edgernn_exporters.pytorch.loops.finding import Complaint, find_loops, repeated
from edgernn_exporters.pytorch.loops.lengths import for_any_length
from edgernn_exporters.pytorch.loops.matching import IrregularError
from edgernn_exporters.pytorch.loops.reading import Reading, read
from edgernn_exporters.pytorch.tracer import quiet, reason_of

LENGTHS = ((4, 7), (16, 23), (64, 91))  # tried in this order: some modules need long sequences

Shapes = Sequence[Mapping[int, str]]


@dataclass(frozen=True)
class Rolled:
    """A module whose loops over time have been found.

    Attributes:
        program: What it computes, at any length.
        constants: Tensors that it makes out of numbers, by name.
    """

    program: Program
    constants: Mapping[str, Tensor]


def roll(wrapper: nn.Module, args: Sequence[Tensor], shapes: Shapes) -> Rolled | None:
    """Trace a module at two short lengths and roll its loops over time; None if it has none.

    Args:
        wrapper: Takes ``args`` by position and returns a flat tuple; it holds the user's module,
            of which it may change what is called, as ``module``.
        args: Example inputs.
        shapes: Names of the dynamic axes of each; one of them is ``"time"``.

    Raises:
        ModelError: A loop's steps are not alike, or PyTorch cannot trace the module.
    """
    if not any(TIME in shape.values() for shape in shapes):
        return None
    lengths, (short, long) = _readings(wrapper, args, shapes)
    repeats = [repeated(short, long), repeated(long, short)]
    if not any(repeats[0]):
        return None
    _require_equal_constants(short, long)
    found = [
        find_loops(reading, own, length)
        for reading, own, length in zip((short, long), repeats, lengths, strict=True)
    ]
    try:
        program = for_any_length(found[0][0], found[1][0], lengths)
    except IrregularError as error:
        complaints = [complaint for _, own in found for complaint in own]
        raise ModelError(_refusal(complaints, str(error))) from None
    _require_steps(program)
    return Rolled(program, short.constants)


def _readings(
    wrapper: nn.Module, args: Sequence[Tensor], shapes: Shapes
) -> tuple[tuple[int, int], tuple[Reading, Reading]]:
    module = wrapper.module
    assert isinstance(module, nn.Module)
    with naming_states(module), torch.no_grad(), quiet():
        for pair in LENGTHS:
            try:
                short, long = (_read(wrapper, args, shapes, length) for length in pair)
            except EdgernnError:
                raise
            except Exception as error:  # whatever the user's own forward or the tracer raises
                last = error
            else:
                return pair, (short, long)
    if found := re.search(r"Constraints violated \((\w+)", first_line(last)):
        raise ModelError(
            f"the size {found[1]!r} of an input was found to vary, but forward needs it as it is "
            f"in the example; say which axes of the input are fixed with axes={{...}} (--axes): "
            f'axes={{"x": ("batch", "time", None)}}'
        )
    raise ModelError(
        f"PyTorch cannot trace {type(module).__name__}: {reason_of(last)}; use tensor operations "
        f"instead of Python control flow on values"
    )


def _read(wrapper: nn.Module, args: Sequence[Tensor], shapes: Shapes, length: int) -> Reading:
    sized = []
    for arg, shape in zip(args, shapes, strict=True):
        axis = next((axis for axis, name in shape.items() if name == TIME), None)
        sized.append(arg if axis is None else resized_along(arg, axis, length))
    names = dict.fromkeys(name for shape in shapes for name in shape.values() if name != TIME)
    dims = {name: torch.export.Dim(name) for name in names}
    open_ = [{axis: name for axis, name in shape.items() if name != TIME} for shape in shapes]
    program = torch.export.export(
        wrapper,
        tuple(sized),
        dynamic_shapes=(tuple({a: dims[n] for a, n in shape.items()} for shape in open_),),
        strict=False,
    )
    return read(program, open_)


def _require_equal_constants(short: Reading, long: Reading) -> None:
    for name, value in short.constants.items():
        other = long.constants.get(name)
        if other is None or other.shape != value.shape or not torch.equal(other, value):
            raise ModelError(
                f"forward makes the constant tensor {name!r} out of the length of the sequence; "
                f"make it with tensor operations, such as torch.arange"
            )


def _require_steps(program: Program) -> None:
    """Refuse loops without a step: ONNX Runtime ends the process on a GRU of length 0."""
    for loop in program.items:
        if isinstance(loop, Loop) and loop.count.factor + loop.count.offset < 1:
            names = ", ".join(repr(carried.name) for carried in loop.carried)
            raise ModelError(
                f"the Python loop over time that hands on {names} has no step where a sequence has "
                f"only one, which ONNX Runtime cannot run; let the loop run over all steps"
            )


def _refusal(complaints: Sequence[Complaint], otherwise: str) -> str:
    where, reason = "in forward", otherwise
    if complaints:
        where = f"around {complaints[0].path!r}" if complaints[0].path else where
        reason = complaints[0].reason
    return (
        f"the Python loop over time {where} cannot be rolled back into a graph: {reason}; let "
        f"every step do the same with one piece of the sequence and with what the step before has "
        f"left, or use nn.LSTM, nn.GRU or nn.RNN"
    )
