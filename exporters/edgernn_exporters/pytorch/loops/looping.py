"""Run the stages of one loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan
from torch.fx.experimental.symbolic_shapes import statically_known_true

from edgernn_exporters.pytorch.loops.expressions import (
    Along,
    AlongLoop,
    Carry,
    Item,
    Local,
    Loop,
    Piece,
    Size,
    Spec,
    Tree,
    arguments,
    children,
)
from edgernn_exporters.pytorch.loops.naming import CELLS
from edgernn_exporters.pytorch.loops.planning import Cell, Scanned, Stage, Whole, units
from edgernn_exporters.pytorch.loops.whole import Series, cut, run_whole

if TYPE_CHECKING:
    from edgernn_exporters.pytorch.loops.running import ProgramRun


BATCH = Size("batch")
PLAIN = torch.contiguous_format


class LoopRun:
    """One run of a loop.

    Attributes:
        count: Its steps.
    """

    def __init__(self, run: ProgramRun, place: int, loop: Loop) -> None:
        self.count = loop.count
        self.run = run
        self.loop = loop
        self.place = place
        self._series: dict[Tree, Series] = {}
        self._finals: dict[int, Tensor] = {}
        self._layered: dict[int, Tensor] = {}

    def keep(self, unit: Tree, series: Series) -> None:
        """Keep the values of an operation, or of one of its results, in all steps."""
        self._series[unit] = series

    def finish(self, number: int, value: Tensor) -> None:
        """Keep what the last step has left."""
        self._finals[number] = value

    def init(self, number: int) -> Tensor:
        """Return what the first step gets, in the shape in which it is carried."""
        carried = self.loop.carried[number]
        given = self.run.states.get((self.place, number))
        if given is not None:
            return unlayered(given, carried.spec)
        value: Tensor = self.run.value(carried.init)
        sizes = [self.run.value(size) for size in carried.spec.shape]
        same = value.ndim == len(sizes) and all(
            statically_known_true(a == b) for a, b in zip(value.shape, sizes, strict=True)
        )
        if not same and None not in sizes:
            value = value.expand(sizes)
        return value.to(carried.spec.dtype)

    def layered(self, number: int) -> Tensor:
        """Return what the first step of a cell gets as ``[1, B, H]``."""
        given = self.run.states.get((self.place, number))
        return self.init(number).unsqueeze(0) if given is None else given

    def finish_layered(self, number: int, value: Tensor) -> None:
        """Keep what the last step of a cell has left, ``[1, B, H]``."""
        self._layered[number] = value

    def next_state(self, number: int) -> Tensor:
        """Return what the last step has left in the layout of a state, ``[1, B, H]``."""
        if number not in self._layered:
            self._layered[number] = layered(self.final_of(number), self.loop.carried[number].spec)
        return self._layered[number]

    def final(self, unit: Tree) -> Tensor | None:
        """Return what the last step has left, if a result is carried."""
        for number, carried in enumerate(self.loop.carried):
            if carried.next == unit:
                return self.final_of(number)
        return None

    def final_of(self, number: int) -> Tensor:
        """Return what the last step has left of a carried value."""
        if number not in self._finals:
            series = self.series(self.loop.carried[number].next)
            self._finals[number] = series.value[-1] if series.varies else series.value
        return self._finals[number]

    def series(self, tree: Tree) -> Series:
        """Return the values of a tree of a step in all steps."""
        if tree in self._series:
            return self._series[tree]
        match tree:
            case Carry():
                self._series[tree] = self._shifted(tree.number)
                return self._series[tree]
            case Item():
                if isinstance(tree.source, Local):
                    source = self.series(tree.source)
                    return Series(source.value[tree.index], source.varies)
            case Piece():
                source = self.series(tree.source)
                if source.varies:
                    return cut(source, tree)
        return self.run.series(tree, self.count)

    def _shifted(self, number: int) -> Series:
        """Return what each step gets from the one before."""
        after = self.series(self.loop.carried[number].next)
        value = after.value
        if not after.varies:
            value = value.expand(self.run.value(self.count), *value.shape)
        _, before = scan(_delay, [self.init(number).contiguous()], [value], dim=0)
        return Series(before[0], True)


def batch_axis(spec: Spec) -> int | None:
    """Return the axis of the rows."""
    return spec.shape.index(BATCH) if BATCH in spec.shape else None


def layered(value: Tensor, spec: Spec) -> Tensor:
    """Bring a carried value to the layout of recurrent states, ``[1, B, H]``."""
    axis = batch_axis(spec)
    if axis is None:
        return value.reshape(1, 1, -1)
    if len(spec.shape) == 2 and axis == 0:
        return value.unsqueeze(0)
    return value.movedim(axis, 0).unsqueeze(1).flatten(1).unsqueeze(0)


def unlayered(state: Tensor, spec: Spec) -> Tensor:
    """Do the reverse of `layered`."""
    axis = batch_axis(spec)
    if axis is None:
        return state.reshape(spec.shape)
    if len(spec.shape) == 2 and axis == 0:
        return state.squeeze(0)
    sizes = [size for place, size in enumerate(spec.shape) if place != axis]
    rows = state.squeeze(0)
    return rows.reshape(rows.shape[0], *sizes).movedim(0, axis)


def run_loop(run: ProgramRun, place: int, loop: Loop, stages: Sequence[Stage]) -> LoopRun:
    """Run a loop over all of its steps."""
    state = LoopRun(run, place, loop)
    for stage in stages:
        match stage:
            case Cell():
                run.within(loop.body[stage.at].path, partial(_run_cell, state, stage))
            case Whole():
                run.within(loop.body[stage.at].path, partial(_run_operation, state, stage.at))
            case Scanned():
                _run_scan(state, stage)
    return state


def _run_operation(state: LoopRun, at: int) -> None:
    operation = state.loop.body[at]

    def series(tree: Tree) -> Any:
        return [series(t) for t in tree] if isinstance(tree, tuple) else state.series(tree)

    kwargs = {name: state.run.value(tree) for name, tree in operation.kwargs}
    state.keep(Local(at), run_whole(operation, [series(arg) for arg in operation.args], kwargs))


def _run_cell(state: LoopRun, stage: Cell) -> None:
    operation = state.loop.body[stage.at]
    series = state.series(operation.args[0])
    x = series.value
    if not series.varies:
        x = x.expand(state.run.value(state.count), *x.shape)
    kind = CELLS[operation.target]
    weights = state.run.cell_weights(operation)
    first = [state.layered(number) for number in stage.carried]
    if kind == "rnn":
        tanh = operation.target is torch.ops.aten.rnn_tanh_cell.default
        options = ("forward", "Tanh" if tanh else "Relu")
        y, *lasts = torch.ops.edgernn.rnn(x, *weights, None, *first, *options)
    else:
        y, *lasts = getattr(torch.ops.edgernn, kind)(x, *weights, None, *first, "forward")
    unit = Item(Local(stage.at), 0) if kind == "lstm" else Local(stage.at)
    state.keep(unit, Series(y, True))
    for number, last in zip(stage.carried, lasts, strict=True):
        state.finish(number, last.squeeze(0))
        state.finish_layered(number, last)


def _run_scan(state: LoopRun, stage: Scanned) -> None:
    """Run operations step by step; what is the same in all steps is computed before."""
    loop, run = state.loop, state.run
    own = {Local(at) for at in stage.ats} | {Carry(number) for number in stage.carried}
    carried = [loop.carried[number] for number in stage.carried]
    trees = [*(arguments(loop.body[at]) for at in stage.ats), *(c.next for c in carried)]
    given: dict[Tree, Tensor] = {}
    fixed: dict[Tree, Any] = {}
    for unit in dict.fromkeys(unit for tree in trees for unit in units(tree)):
        if unit in own or (isinstance(unit, Item) and unit.source in own):
            continue
        series = state.series(unit)
        (given if series.varies else fixed)[unit] = series.value
    for part in dict.fromkeys(part for tree in trees for part in _fixed_parts(tree)):
        fixed[part] = run.value(part)
    if not given:
        given[()] = torch.zeros(run.value(state.count))  # a scan needs something to run along

    def step(before: list[Tensor], xs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        known: dict[Tree, Any] = {**fixed, **dict(zip(given, xs, strict=True))}
        known |= {Carry(n): value for n, value in zip(stage.carried, before, strict=False)}
        for at in stage.ats:
            operation = loop.body[at]
            args = [_evaluate(arg, known) for arg in operation.args]
            kwargs = {name: _evaluate(tree, known) for name, tree in operation.kwargs}
            known[Local(at)] = operation.target(*args, **kwargs)
        after = [_evaluate(c.next, known).clone(memory_format=PLAIN) for c in carried]
        return after or [before[0].clone()], [_evaluate(unit, known).clone() for unit in stage.outs]

    # PyTorch's scan wants one memory layout before and after a step.
    first = [state.init(number).contiguous() for number in stage.carried]
    if not first:  # nor one without a state
        first = [torch.zeros(1)]
    finals, ys = scan(step, first, list(given.values()), dim=0)
    for unit, y in zip(stage.outs, ys, strict=True):
        state.keep(unit, Series(y, True))
    for number, final in zip(stage.carried, finals, strict=False):
        state.finish(number, final)


def _fixed_parts(tree: Tree) -> Iterator[Tree]:
    """Yield the largest parts of a tree that are the same in all steps, without literals."""
    if isinstance(tree, tuple):
        for item in tree:
            yield from _fixed_parts(item)
    elif is_dataclass(tree) and not any(True for _ in units(tree)):
        yield tree
    elif not isinstance(tree, Local | Carry | Along | AlongLoop):
        for child in children(tree):
            yield from _fixed_parts(child)


def _delay(before: list[Tensor], xs: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    return [xs[0].clone(memory_format=PLAIN)], [before[0].clone()]


def _evaluate(tree: Tree, known: dict[Tree, Any]) -> Any:
    """Return the value of a tree inside of a step."""
    if is_dataclass(tree) and tree in known:
        return known[tree]
    if isinstance(tree, tuple):
        return [_evaluate(item, known) for item in tree]
    if isinstance(tree, Item):
        return _evaluate(tree.source, known)[tree.index]
    if isinstance(tree, Piece):
        source = _evaluate(tree.source, known)
        if tree.keep:
            return source.narrow(tree.dim, tree.index, 1)
        return source.select(tree.dim, tree.index)
    return tree
