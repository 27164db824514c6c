"""Run a program with loops, so that PyTorch's exporter sees operators and scans in their place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true

from edgernn.errors import ModelError
from edgernn_exporters.pytorch.loops.expressions import (
    Along,
    AlongLoop,
    Call,
    Input,
    Item,
    Linear,
    Local,
    Loop,
    Operation,
    Parameter,
    Piece,
    Program,
    Run,
    Size,
    StepValue,
    Tree,
    Value,
)
from edgernn_exporters.pytorch.loops.looping import LoopRun, run_loop
from edgernn_exporters.pytorch.loops.planning import Stage, is_last
from edgernn_exporters.pytorch.loops.whole import Series, cut

aten = torch.ops.aten
Within = Callable[[str, Callable[[], Any]], Any]


class ProgramRun:
    """One run of a program.

    Args:
        program: What to run.
        plans: Stages of its loops by place.
        inputs: Tensors.
        sizes: Of the dynamic axes by name.
        parameter: Returns a parameter by name.
        within: Calls a function inside of the module of a path, which names what it does.
        states: What loops start from instead of their own first values, by loop and number.
        cell_weights: Returns the weights of a cell in the layout of ONNX.
    """

    def __init__(
        self,
        program: Program,
        plans: dict[int, list[Stage]],
        inputs: Sequence[Tensor],
        sizes: Mapping[str, Any],
        parameter: Callable[[str], Tensor],
        within: Within,
        states: Mapping[tuple[int, int], Tensor],
        cell_weights: Callable[[Operation], Sequence[Tensor | None]],
    ) -> None:
        self.program = program
        self.parameter = parameter
        self.within = within
        self.states = states
        self.cell_weights = cell_weights
        self.loops: dict[int, LoopRun] = {}
        self._plans = plans
        self._inputs = inputs
        self._sizes = sizes
        self._values: list[Any] = []
        self._constants: dict[Call, Any] = {}

    def run(self) -> list[Tensor]:
        """Return the outputs."""
        for place, item in enumerate(self.program.items):
            if isinstance(item, Loop):
                self.loops[place] = run_loop(self, place, item, self._plans[place])
                self._values.append(None)
            else:
                self._values.append(self._operate(item))
        return [self.value(tree) for tree in self.program.outputs]

    def _operate(self, operation: Operation) -> Any:
        def call() -> Any:
            if any(isinstance(arg, tuple) and _has_run(arg) for arg in operation.args):
                return self._join(operation)
            args = [self.value(arg) for arg in operation.args]
            return operation.target(*args, **{n: self.value(t) for n, t in operation.kwargs})

        return self.within(operation.path, call)

    def _join(self, operation: Operation) -> Tensor:
        """Stack or concatenate lists with an element for each step."""
        stacks = operation.target is aten.stack.default
        if not stacks and operation.target is not aten.cat.default:
            raise ModelError(
                f"the results of all steps go into {operation.target} at once; stack them with "
                f"torch.stack first"
            )
        parts = []
        dim = operation.args[1] if len(operation.args) > 1 else 0
        for tree in operation.args[0]:
            if isinstance(tree, Run):
                series = self.series(tree.element, tree.count)
                axis = dim if dim >= 0 else dim + series.value.ndim - (not stacks)
                value = series.value.movedim(0, axis)
                if not stacks:
                    single = statically_known_true(value.shape[axis + 1] == 1)
                    value = value.squeeze(axis + 1) if single else value.flatten(axis, axis + 1)
                parts.append(value)
            else:
                value = self.value(tree)
                parts.append(value.unsqueeze(dim) if stacks else value)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim)

    def value(self, tree: Tree) -> Any:
        """Return the value of a tree outside of loops."""
        match tree:
            case tuple():
                return [self.value(item) for item in tree]
            case Input():
                return self._inputs[tree.index]
            case Parameter():
                return self.parameter(tree.name)
            case Size():
                return self._sizes[tree.name]
            case Linear():
                return tree.factor * self._sizes["time"] + tree.offset
            case Call():
                if tree not in self._constants:
                    kwargs = {name: self.value(value) for name, value in tree.kwargs}
                    self._constants[tree] = tree.target(*map(self.value, tree.args), **kwargs)
                return self._constants[tree]
            case Value():
                return self._values[tree.at]
            case Piece():
                return self._piece(tree)
            case StepValue():
                return self._of_step(tree, Local(tree.at))
            case Item():
                if isinstance(tree.source, StepValue):
                    return self._of_step(tree.source, Item(Local(tree.source.at), tree.index))
                return self.value(tree.source)[tree.index]
        return tree

    def _piece(self, tree: Piece) -> Tensor:
        source: Tensor = self.value(tree.source)
        index = self.value(tree.index)
        if isinstance(tree.index, Linear):  # from the end, where that is a number
            index = index - source.shape[tree.dim]
            index = -1 if statically_known_true(index == -1) else index + source.shape[tree.dim]
        if tree.keep:
            stop = 2**62 if isinstance(index, int) and index == -1 else index + 1
            kept: Tensor = aten.slice.Tensor(source, tree.dim, index, stop)
            return kept
        return source.select(tree.dim, index)

    def _of_step(self, at: StepValue, unit: Tree) -> Any:
        loop = self.loops[at.loop]
        last = is_last(at.step, loop.count)
        if last and (final := loop.final(unit)) is not None:
            return final
        series = loop.series(unit)
        if not series.varies:
            return series.value
        return series.value[-1 if last else self.value(at.step)]

    def series(self, tree: Tree, count: Tree) -> Series:
        """Return the values of a tree along a sequence or an earlier loop."""
        match tree:
            case Along():
                value = self.value(tree.source).movedim(tree.dim, 0)
                value = self.stretch(value, tree.start, tree.stride, count)
                return Series(value.unsqueeze(tree.dim + 1) if tree.keep else value, True)
            case AlongLoop():
                return self._along(tree, Local(tree.at), count)
            case Item() if isinstance(tree.source, AlongLoop):
                return self._along(tree.source, Item(Local(tree.source.at), tree.index), count)
            case Item():
                series = self.series(tree.source, count)
                return Series(series.value[tree.index], series.varies)
            case Piece():
                series = self.series(tree.source, count)
                return cut(series, tree) if series.varies else Series(self.value(tree), False)
        return Series(self.value(tree), False)

    def _along(self, tree: AlongLoop, unit: Tree, count: Tree) -> Series:
        series = self.loops[tree.loop].series(unit)
        if not series.varies:
            return series
        return Series(self.stretch(series.value, tree.start, tree.stride, count), True)

    def stretch(self, value: Tensor, start: Tree, stride: int, count: Tree) -> Tensor:
        """Return ``count`` steps of a tensor with the steps in front."""
        first, steps = self.value(start), self.value(count)
        if stride < 0:
            first = first - steps + 1
        whole = statically_known_true(first == 0) and statically_known_true(steps == value.shape[0])
        value = value if whole else aten.slice.Tensor(value, 0, first, first + steps)
        return value if stride > 0 else value.flip(0)


def _has_run(items: tuple[Tree, ...]) -> bool:
    return any(isinstance(item, Run) for item in items)
