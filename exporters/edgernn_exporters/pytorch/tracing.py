"""Trace a module to an ONNX graph with explicit states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from edgernn.contract import ZEROS, StateSpec
from edgernn.errors import ModelError
from edgernn_exporters.pytorch.axes import BATCH, TIME, Dims, resized
from edgernn_exporters.pytorch.loops.counting import loops_over_time
from edgernn_exporters.pytorch.loops.module import rolled_module
from edgernn_exporters.pytorch.matching import StateArgument
from edgernn_exporters.pytorch.onnx_program import to_onnx
from edgernn_exporters.pytorch.outputs import flatten_outputs
from edgernn_exporters.pytorch.signature import Signature
from edgernn_exporters.pytorch.streaming import StreamingModule


def trace(
    module: nn.Module, traced: Signature, opset: int
) -> tuple[onnx.ModelProto, tuple[StateSpec, ...], tuple[str, ...]]:
    """Return the graph of a module, and the states that are its further inputs and outputs.

    Returns:
        The graph, its states, and why loops over cells can only run whole sequences.

    Raises:
        ModelError: PyTorch cannot export it.
    """
    wrapper = StreamingModule(module, traced)
    args, shapes = _examples(wrapper, traced)
    given = set(range(len(traced.args), len(args)))
    looping = _loops(module, traced)
    rolled = rolled_module(wrapper, args, shapes, given) if looping else None
    in_loops = [] if rolled is None else rolled.states
    shapes += [_of_state(traced) for _ in in_loops]
    args += [state.zeros(traced.batch or 1) for state in in_loops]
    named = list(zip(traced.given, traced.given_names, strict=True))
    whole = [(argument, names) for argument, names in named if not argument.states]
    states = [_whole_state(traced, argument, names) for argument, names in whole]
    renamed = _state_names(traced)
    for state in (*wrapper.states, *in_loops):
        source, target = renamed.get(state.name, (state.name, f"{state.name}.next"))
        init = ZEROS if state.first is None else f"{source}.init"
        states.append(StateSpec(input=source, output=target, batch_axis=1, init=init))
    model = to_onnx(
        wrapper if rolled is None else rolled,
        module,
        args,
        shapes,
        [*traced.input_names, *(state.input for state in states)],
        [*traced.output_names, *(state.output for state in states)],
        opset,
    )
    for state in (*wrapper.states, *in_loops):
        if state.first is not None:
            source = renamed.get(state.name, (state.name, ""))[0]
            value = state.first.detach().numpy()
            model.graph.initializer.append(onnx.numpy_helper.from_array(value, f"{source}.init"))
    return model, tuple(states), () if rolled is None else rolled.whole_only


def loop_states(module: nn.Module, traced: Signature) -> dict[str, str]:
    """Return the arguments that loops over cells start from, with the outputs that they end with.

    Raises:
        ModelError: A loop cannot be exported.
    """
    fixed = {n for n, dims in zip(traced.input_names, traced.input_dims, strict=True)
             if TIME not in dims and (BATCH in dims or traced.batch is None)}  # fmt: skip
    if not fixed or not _loops(module, traced):
        return {}
    wrapper = StreamingModule(module, traced)
    args, shapes = _examples(wrapper, traced)
    given = set(range(len(traced.args), len(args)))
    rolled = rolled_module(wrapper, args, shapes, given)
    pairs = {} if rolled is None else rolled.pairs
    with torch.no_grad():
        leaves = traced.leaves(traced.args, traced.zeros(traced.batch or 1))
        outputs = flatten_outputs(traced.arguments.call(module, leaves))[1]
    found = {
        traced.input_names[source]: traced.output_names[target]
        for source, target in pairs.items()
        if source not in given
        and target < len(traced.outputs)
        and traced.input_names[source] in fixed
        and outputs[traced.outputs[target]].shape == traced.args[source].shape
    }
    return found if len(found) < len(traced.outputs) else {}


def _loops(module: nn.Module, traced: Signature) -> bool:
    """Say whether forward has a Python loop over time."""
    if traced.length is None:
        return False

    def run(length: int) -> None:
        pairs = zip(traced.args, traced.input_dims, strict=True)
        args = [resized(arg, dims, {TIME: length}) for arg, dims in pairs]
        zeros = traced.zeros(traced.batch or 1)
        traced.arguments.call(module, traced.leaves(args, zeros))

    return loops_over_time(run, traced.length)


def _examples(wrapper: StreamingModule, traced: Signature) -> tuple[list[Tensor], list[Any]]:
    """Return what a wrapper is traced with, and the dynamic axes of each."""
    rows = traced.batch or 1
    dims = {name: torch.export.Dim(name) for name in traced.sizes}
    shapes = [_dynamic(place, dims) for place in traced.input_dims]
    whole = [argument for argument in traced.given if not argument.states]
    shapes += [{} if a.batch_axis is None else {a.batch_axis: dims[BATCH]} for a in whole]
    shapes += [_of_state(traced) for _ in wrapper.states]
    zeros = [z for z, a in zip(traced.zeros(rows), traced.given, strict=True) if not a.states]
    return [*traced.args, *zeros, *(state.zeros(rows) for state in wrapper.states)], shapes


def _of_state(traced: Signature) -> dict[int, Any]:
    return {1: torch.export.Dim(BATCH)} if BATCH in traced.sizes else {}


def _dynamic(place: Dims, dims: Mapping[str, Any]) -> dict[int, Any]:
    return {axis: dims[name] for axis, name in enumerate(place) if name is not None}


def _whole_state(traced: Signature, argument: StateArgument, names: tuple[str, str]) -> StateSpec:
    dtype = str(traced.arguments.tensors[argument.leaf].dtype).removeprefix("torch.")
    if argument.batch_axis is None:
        raise ModelError(
            f"state {names[0]!r} has no batch axis; give it one that grows with the inputs' batch"
        )
    return StateSpec(*names, batch_axis=argument.batch_axis, dtype=dtype)


def _state_names(traced: Signature) -> dict[str, tuple[str, str]]:
    """Return the user's names of layers' states, by the name after the module path.

    An argument that one layer starts from keeps its name. One for several layers is taken apart,
    because a state that goes straight to its layer costs no step and can be quantized
    (docs/decisions/0002): ``h`` becomes ``h_l0``, ``h_l1``, …
    """
    found: dict[str, tuple[str, str]] = {}
    for argument, (source, target) in zip(traced.given, traced.given_names, strict=True):
        ends = [name.rpartition("_")[2] for name in argument.states]
        if len(set(ends)) < len(ends):  # of several layers or letters: keep the whole name
            ends = list(argument.states)
        for name, end in zip(argument.states, ends, strict=True):
            last = "" if len(ends) == 1 else f"_{end}"
            following = f"{source}{last}.next" if target == f"{source}.next" else f"{target}{last}"
            found[name] = (f"{source}{last}", following)
    return found
