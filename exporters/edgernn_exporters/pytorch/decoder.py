"""One step of a decoder: what its arguments and results are, and its graph."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import onnx
import torch
from torch import Tensor, nn

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.errors import InputError, ModelError, first_line
from edgernn_exporters.pytorch.arguments import Arguments, read_arguments
from edgernn_exporters.pytorch.axes import resized_along
from edgernn_exporters.pytorch.observing import observe
from edgernn_exporters.pytorch.onnx_program import to_onnx
from edgernn_exporters.pytorch.outputs import flatten_outputs
from edgernn_exporters.pytorch.packed import packing
from edgernn_exporters.pytorch.rewiring import recurrent_layers, rewire
from edgernn_exporters.pytorch.sizes import open_len
from edgernn_exporters.pytorch.uses import Use

LOGITS = "logits"


@dataclass(frozen=True)
class Step:
    """Describe a decoder step.

    Attributes:
        arguments: Example arguments.
        sources: Encoder output by argument, of memory and of states that start at one.
        states: Arguments whose next values are returned.
        outputs: Names of the results that are no states; the logits come first.
        order: Place, in what ``forward`` returns, of each output and then of each next state.
        input_axes: Of every argument that is no state. Memory has no time axis: it is the same at
            each step.
        source_axes: Axis of a memory argument along which the encoder's time runs.
        state_axes: Batch axis of each state.
        output_axes: Of every output.
        count: How many tokens the logits are of.
        uses: Calls of recurrent layers.
    """

    arguments: Arguments
    sources: Mapping[str, str]
    states: tuple[str, ...]
    outputs: tuple[str, ...]
    order: tuple[int, ...]
    input_axes: Mapping[str, Axes]
    source_axes: Mapping[str, int]
    state_axes: Mapping[str, int]
    output_axes: Mapping[str, Axes]
    count: int
    uses: tuple[Use, ...]

    @property
    def token(self) -> str:
        """Argument of the last tokens."""
        return self.arguments.names[0]

    @property
    def memory(self) -> tuple[str, ...]:
        """Arguments that the encoder fills at each step."""
        return tuple(name for name in self.arguments.names[1:] if name not in self.states)

    @property
    def contract(self) -> Contract:
        """State contract of the exported step."""
        return Contract(
            tuple(
                StateSpec(name, f"{name}.next", self.state_axes[name], _dtype(self.example(name)))
                for name in self.states
            ),
            StreamSpec(True, dict(self.input_axes), dict(self.output_axes)),
        )

    def example(self, name: str) -> Tensor:
        """Return the example of one argument."""
        return self.arguments.tensors[self.arguments.names.index(name)]

    def at(self, batch: int) -> tuple[Tensor, ...]:
        """Return the example arguments for so many rows."""
        made = []
        for name, example in zip(self.arguments.names, self.arguments.tensors, strict=True):
            axis, along = self.batch_axis(name), self.source_axes.get(name)
            tensor = example if axis is None else resized_along(example, axis, batch)
            if along is not None:  # fewer than 3 would be fixed in the graph
                tensor = resized_along(tensor, along, max(tensor.shape[along], 3))
            made.append(tensor)
        return tuple(made)

    def results(self, decoder: nn.Module, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Call a decoder; return its outputs and then the next states."""
        found = flatten_outputs(self.arguments.call(decoder, tensors))[1]
        return [found[place] for place in self.order]

    def batch_axis(self, name: str) -> int | None:
        """Return the batch axis of an argument."""
        return self.state_axes[name] if name in self.states else self.input_axes[name].batch


def read_step(
    decoder: nn.Module,
    args: Sequence[object],
    encoder: Mapping[str, Axes],
    links: Mapping[str, str],
) -> Step:
    """Find out what the arguments and results of a decoder step are, by trying it.

    Args:
        decoder: In evaluation mode. Its forward takes the tokens first, then memory and states in
            any order and nesting. It returns the logits and the next states: in a dict under the
            names of the arguments, or as a tuple, the logits first and the next values of the last
            arguments after them.
        args: Example arguments.
        encoder: Axes of the encoder's outputs.
        links: Encoder output by argument, where the two have different names.

    Raises:
        InputError: An argument is neither memory nor state, a link names nothing, the tokens are
            not one integer of each row, or the decoder does not run.
        ModelError: It does not return logits of each row.
    """
    arguments = read_arguments(decoder, args)
    names = arguments.names
    token_axes = _token_axes(names[0], arguments.tensors[0])
    _check_links(links, names[1:], encoder)
    sources = {name: source for name in names[1:] if (source := links.get(name, name)) in encoder}
    returned, results = _tried(decoder, arguments, arguments.tensors)
    states, order = _next_states(names[1:], arguments.tensors[1:], returned, results)
    memory = [name for name in names[1:] if name not in states]
    if unknown := [name for name in memory if name not in sources]:
        raise InputError(
            f"argument {unknown[0]!r} of {type(decoder).__name__} is neither returned as a state "
            f"nor an output of the encoder, which are {sorted(encoder)}; name one of them with "
            f"links={{{unknown[0]!r}: …}}"
        )
    others = [place for place in range(len(results)) if place not in order]
    by_name = any(name in names for name in returned) or len(others) > 1
    outputs = tuple(returned[place] for place in others) if by_name else (LOGITS,)
    if LOGITS in outputs:
        first = others.pop(outputs.index(LOGITS))
        others.insert(0, first)
        outputs = (LOGITS, *(name for name in outputs if name != LOGITS))
    step = Step(
        arguments,
        sources,
        states,
        outputs,
        (*others, *order),
        {names[0]: token_axes}
        | {name: Axes(encoder[sources[name]].batch, None) for name in memory},
        {name: axis for name in memory if (axis := encoder[sources[name]].time) is not None},
        {name: _state_axis(name, arguments, sources, encoder) for name in states},
        output_axes={},
        count=0,
        uses=_uses(decoder, arguments),
    )
    return _with_outputs(decoder, step)


def trace_step(decoder: nn.Module, step: Step, opset: int) -> onnx.ModelProto:
    """Return the graph of a decoder step.

    Raises:
        ModelError: PyTorch cannot export it.
    """
    batch = torch.export.Dim("batch")
    tensors = step.at(2)
    sizes = {tensor.shape[step.source_axes[name]]
             for name, tensor in zip(step.arguments.names, tensors, strict=True)
             if name in step.source_axes}  # fmt: skip
    labels = ("source", *(f"source_{index}" for index in range(1, len(sizes))))
    dims = {
        size: torch.export.Dim(label) for size, label in zip(sorted(sizes), labels, strict=False)
    }
    shapes = []
    for name, tensor in zip(step.arguments.names, tensors, strict=True):
        axis = step.batch_axis(name)
        shape = {} if axis is None else {axis: batch}
        if name in step.source_axes:
            place = step.source_axes[name]
            shape[place] = dims[tensor.shape[place]]
        shapes.append(shape)
    return to_onnx(
        _Traceable(decoder, step),
        decoder,
        tensors,
        shapes,
        step.arguments.names,
        [*step.outputs, *(f"{name}.next" for name in step.states)],
        opset,
    )


class _Traceable(nn.Module):
    """A copy of a decoder whose recurrent layers call operators that the ONNX exporter knows."""

    def __init__(self, decoder: nn.Module, step: Step) -> None:
        super().__init__()
        self.module = copy.deepcopy(decoder).eval()
        _, self._tape = rewire(self.module, step.uses)
        self._step = step

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        self._tape.start({})
        with packing(self.module), open_len():
            return tuple(self._step.results(self.module, tensors))


def _check_links(
    links: Mapping[str, str], names: Sequence[str], encoder: Mapping[str, Axes]
) -> None:
    for name, source in links.items():
        if name not in names or source not in encoder:
            raise InputError(
                f"links names {name!r}: {source!r}, but the decoder's arguments after the tokens "
                f"are {list(names)} and the encoder's outputs {sorted(encoder)}; a link goes from "
                f"one of the first to one of the second"
            )


def _tried(
    decoder: nn.Module, arguments: Arguments, tensors: Sequence[Tensor]
) -> tuple[list[str], list[Tensor]]:
    try:
        with torch.no_grad():
            return flatten_outputs(arguments.call(decoder, tensors))
    except ModelError:
        raise
    except Exception as error:  # whatever the user's own forward raises
        shapes = {
            name: list(tensor.shape) for name, tensor in zip(arguments.names, tensors, strict=True)
        }
        raise InputError(
            f"{type(decoder).__name__} fails on arguments of the shapes {shapes}: "
            f"{first_line(error)}; give arguments that it takes, for any number of rows"
        ) from None


def _next_states(
    names: Sequence[str],
    tensors: Sequence[Tensor],
    returned: Sequence[str],
    results: Sequence[Tensor],
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return the arguments that are states, and where their next values are returned."""
    by_name = [name for name in names if name in returned]
    places = [list(returned).index(name) for name in by_name]
    if not by_name and set(returned) == {f"y{i}" for i in range(len(results))}:  # a tuple
        count = len(results) - 1
        by_name, places = list(names[len(names) - count :]), list(range(1, count + 1))
        if len(by_name) < count:
            raise ModelError(
                f"the decoder returns {count} tensors after the logits, but takes only "
                f"{list(names)} after the tokens; return the next states in a dict, under the "
                f"names of the arguments"
            )
    shapes = dict(zip(names, (tensor.shape for tensor in tensors), strict=True))
    for name, place in zip(by_name, places, strict=True):
        if results[place].shape != shapes[name]:
            raise ModelError(
                f"the next value of {name!r} would have the shape {list(results[place].shape)} "
                f"instead of {list(shapes[name])}; return (logits, next states in the order of "
                f"the last arguments), or a dict with the next states under their names"
            )
    return tuple(by_name), tuple(places)


def _token_axes(name: str, tokens: Tensor) -> Axes:
    whole = tokens.dtype in (torch.int32, torch.int64)
    if not whole or tokens.ndim not in (1, 2) or tokens.shape[1:] not in ((), (1,)):
        raise InputError(
            f"the first argument {name!r} is {tokens.dtype} {list(tokens.shape)}, but a decoder "
            f"step takes one token of each row: int64 [batch] or [batch, 1]"
        )
    return Axes(0, None if tokens.ndim == 1 else 1)


def _state_axis(
    name: str, arguments: Arguments, sources: Mapping[str, str], encoder: Mapping[str, Axes]
) -> int:
    if name in sources:
        axis = encoder[sources[name]].batch
    else:  # starts at zeros: the axis that has as many rows as there are tokens
        state = arguments.tensors[arguments.names.index(name)]
        rows = arguments.tensors[0].shape[0]
        fit = [axis for axis, size in enumerate(state.shape) if size == rows]
        axis = (1 if 1 in fit and state.ndim == 3 else fit[0]) if fit else None
    if axis is None:
        raise InputError(f"state {name!r} has no batch axis; give every row a state of its own")
    return axis


def _uses(decoder: nn.Module, arguments: Arguments) -> tuple[Use, ...]:
    seen = observe(decoder, recurrent_layers(decoder), arguments, arguments.tensors)
    counts: dict[str, int] = {}
    found = []
    for call in seen.calls:
        counts[call.path] = counts.get(call.path, 0) + 1
        found.append(Use(call.path, counts[call.path], carried=False))
    return tuple(found)


def _with_outputs(decoder: nn.Module, step: Step) -> Step:
    """Add the axes of the outputs and the number of tokens, found by trying more rows."""
    shapes = []
    for batch in (2, 3):
        results = _tried(decoder, step.arguments, step.at(batch))[1]
        shapes.append([tuple(results[place].shape) for place in step.order])
    axes = {}
    for name, before, after in zip(step.outputs, *shapes, strict=False):
        grown = [axis for axis, (a, b) in enumerate(zip(before, after, strict=False)) if a != b]
        axes[name] = Axes(grown[0] if grown else None, None)
    logits, shape = step.outputs[0], shapes[0][0]
    if axes[logits].batch != 0 or len(shape) not in (2, 3) or shape[1:-1] not in ((), (1,)):
        raise ModelError(
            f"the decoder's first output {logits!r} has the shape {list(shape)} for 2 rows, but "
            f"logits are [batch, tokens] or [batch, 1, tokens]; return them first, or in a dict as "
            f"{LOGITS!r}"
        )
    if len(shape) == 3:
        axes[logits] = Axes(0, 1)
    return replace(step, count=shape[-1], output_axes=axes)


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
