"""A module with its loops rolled, in the place of the one with Python loops when it is traced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from edgernn.errors import ModelError
from edgernn_exporters.pytorch.loops.cells import add_cell_weights, cell_weights, has_cells
from edgernn_exporters.pytorch.loops.choosing import choose_states, state_pairs
from edgernn_exporters.pytorch.loops.expressions import Loop, Program, Tree
from edgernn_exporters.pytorch.loops.planning import plan
from edgernn_exporters.pytorch.loops.rolling import Rolled, Shapes, roll
from edgernn_exporters.pytorch.loops.running import ProgramRun
from edgernn_exporters.pytorch.rewiring import StateTensor

_CONSTANT = "constant_"


class RolledModule(nn.Module):
    """Compute what a wrapper computes, with loops over time as operators and scans.

    ``forward(*args, *states)`` returns ``(*results, *next_states)``, where ``args`` and ``results``
    are those of the wrapper.

    Attributes:
        states: The states that the loops have beside those of the wrapper.
        whole_only: Why the model can only run whole sequences; empty if it can run step by step.
        pairs: Arguments that loops start from, with the results that are what they end with.
    """

    def __init__(self, wrapper: nn.Module, rolled: Rolled, shapes: Shapes, given: set[int]) -> None:
        super().__init__()
        module = wrapper.module
        assert isinstance(module, nn.Module)
        self.module = module
        self._program = rolled.program
        self._shapes = shapes
        self._constants = {name: f"{_CONSTANT}{i}" for i, name in enumerate(rolled.constants)}
        for name, own in self._constants.items():
            self.register_buffer(own, rolled.constants[name])
        add_cell_weights(module)
        _let_call(module)
        self._plans = {
            place: plan(rolled.program, place)
            for place, item in enumerate(rolled.program.items)
            if isinstance(item, Loop)
        }
        choice = choose_states(rolled.program, given, self._evaluate)
        self._places = list(choice.states)
        self.states: list[StateTensor] = list(choice.states.values())
        self.whole_only = choice.whole_only
        self.pairs = state_pairs(rolled.program)

    def forward(self, *args: Tensor) -> tuple[Tensor, ...]:
        """Run the module; see the class for the order of arguments and results."""
        inputs = args[: len(self._shapes)]
        states = dict(zip(self._places, args[len(inputs) :], strict=True))
        sizes = {
            name: arg.shape[axis]
            for arg, shape in zip(inputs, self._shapes, strict=True)
            for axis, name in shape.items()
        }
        run = self._run(self._program, inputs, sizes, states)
        outputs = run.run()
        following = [run.loops[place].next_state(number) for place, number in self._places]
        return (*outputs, *following)

    def _run(
        self,
        program: Program,
        inputs: Sequence[Tensor],
        sizes: Mapping[str, Any],
        states: Mapping[tuple[int, int], Tensor],
    ) -> ProgramRun:
        weights = partial(cell_weights, self)
        return ProgramRun(
            program, self._plans, inputs, sizes, self._parameter, self._within, states, weights
        )

    def _evaluate(self, tree: Tree) -> Tensor:
        """Return the value of a tree that depends on no input, for one row."""
        with torch.no_grad():
            value = self._run(Program((), (tree,)), (), {"batch": 1}, {}).run()[0]
        assert isinstance(value, Tensor)
        return value

    def _parameter(self, name: str) -> Tensor:
        owner, _, attribute = self._constants.get(name, name).rpartition(".")
        value = getattr(self.get_submodule(owner), attribute)
        assert isinstance(value, Tensor)
        return value

    def _within(self, path: str, call: Callable[[], Any]) -> Any:
        """Call a function inside of a module, so that nodes are named after it."""
        return self.module.get_submodule(path)(call)


def _let_call(module: nn.Module) -> None:
    """Let every part of a module call what it is given, in the place of its own forward."""
    for part in module.modules():
        part.forward = MethodType(_call, part)
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()


def _call(self: nn.Module, call: Callable[[], Any]) -> Any:
    return call()


def rolled_module(
    wrapper: nn.Module, args: Sequence[Tensor], shapes: Sequence[Mapping[int, Any]], given: set[int]
) -> RolledModule | None:
    """Return a module to trace in the place of one with Python loops over time.

    Args:
        wrapper: Takes ``args`` by position, returns a flat tuple, and holds a copy of the user's
            module as ``module``, which is changed.
        args: Example inputs.
        shapes: ``torch.export.Dim`` of the dynamic axes of each.
        given: Places of the arguments that are states.

    Returns:
        None if there are no loops whose steps follow the length.

    Raises:
        ModelError: The steps of a loop over cells are not alike, or PyTorch cannot trace it.
    """
    names = [{axis: dim.__name__ for axis, dim in shape.items()} for shape in shapes]
    try:
        rolled = roll(wrapper, args, names)
    except ModelError:
        module = wrapper.module
        assert isinstance(module, nn.Module)
        if has_cells(module):
            raise
        return None  # what does more for longer sequences need not be a loop
    return None if rolled is None else RolledModule(wrapper, rolled, names, given)
