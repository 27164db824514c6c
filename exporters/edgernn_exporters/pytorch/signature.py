"""Find the names, axes and states of what a module takes and returns, by trying it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from edgernn.contract import Axes
from edgernn.errors import EdgernnError, InputError, ModelError, first_line
from edgernn_exporters.pytorch.arguments import Arguments, read_arguments
from edgernn_exporters.pytorch.axes import BATCH, TIME, Dims, Run, find_axes, resized
from edgernn_exporters.pytorch.initial import find_states, from_inputs
from edgernn_exporters.pytorch.lengths import LengthsInput
from edgernn_exporters.pytorch.matching import StateArgument
from edgernn_exporters.pytorch.observing import Observation, observe
from edgernn_exporters.pytorch.probing import Probes, probe
from edgernn_exporters.pytorch.uses import Use


@dataclass(frozen=True)
class Request:
    """What the user said about a module, beside the module itself.

    Attributes:
        args: Example inputs by position.
        kwargs: Example inputs by name.
        output_names: Names to give the outputs, or None for those found.
        axes: Axes that the user has named, by input (see `edgernn_exporters.pytorch.axes`).
        states: Arguments that are states, with the outputs that are their next values; None to
            look for them.
        loops: The same, of those that loops over cells start from and end with.
    """

    args: Sequence[object]
    kwargs: Mapping[str, object] | None = None
    output_names: Sequence[str] | None = None
    axes: Mapping[str, Sequence[str | None]] | None = None
    states: Mapping[str, str] | None = None
    loops: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Signature:
    """Describe a module's inputs, outputs and states before it is traced.

    Attributes:
        arguments: The example arguments.
        args: Example inputs, brought to ``sizes``; states are not among them.
        input_names: Of ``args``.
        input_dims: Of ``args``.
        output_names: Of what forward returns, without states.
        output_axes: Of the same.
        outputs: Their places among the tensors that forward returns
            (see `edgernn_exporters.pytorch.outputs.flatten_outputs`).
        sizes: Of the dynamic axes by name: ``"batch"``, ``"time"`` and others.
        lengths: Inputs that tell the valid time steps of each row, by their places in ``args``.
        uses: The calls of the recurrent layers.
        given: The arguments of forward that are states.
        given_names: Input and output name of each.
        whole_only: Why the module can only run whole sequences; empty if it can run step by step.
        notes: What the user should know.
    """

    arguments: Arguments
    args: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    input_dims: tuple[Dims, ...]
    output_names: tuple[str, ...]
    output_axes: tuple[Axes, ...]
    outputs: tuple[int, ...]
    sizes: Mapping[str, int]
    lengths: tuple[LengthsInput, ...] = ()
    uses: tuple[Use, ...] = ()
    given: tuple[StateArgument, ...] = ()
    given_names: tuple[tuple[str, str], ...] = ()
    whole_only: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def input_axes(self) -> tuple[Axes, ...]:
        """Where batch and time lie in each input."""
        return tuple(axes_of(dims) for dims in self.input_dims)

    @property
    def batch(self) -> int | None:
        """Rows of ``args``; None without a batch axis."""
        return self.sizes.get(BATCH)

    @property
    def length(self) -> int | None:
        """Time steps of ``args``; None without a time axis."""
        return self.sizes.get(TIME)

    @property
    def lengths_name(self) -> str | None:
        """The one input with the length of each row, None if it is not that simple."""
        plain = [item for item in self.lengths if item.kind == "lengths"]
        along_time = [i for i in plain if self.input_dims[i.time[0]][i.time[1]] == TIME]
        return self.input_names[along_time[0].index] if len(along_time) == 1 else None

    def leaves(self, inputs: Sequence[Tensor], states: Sequence[Tensor]) -> list[Tensor]:
        """Put inputs and state arguments in the order of forward's tensors."""
        places = {argument.leaf: state for argument, state in zip(self.given, states, strict=True)}
        rest = iter(inputs)
        return [
            places[leaf] if leaf in places else next(rest)
            for leaf in range(len(self.arguments.names))
        ]

    def zeros(self, batch: int) -> list[Tensor]:
        """Return the state arguments at the start of a sequence."""
        found = []
        for argument in self.given:
            example = self.arguments.tensors[argument.leaf]
            shape = list(example.shape)
            if argument.batch_axis is not None:
                shape[argument.batch_axis] = batch
            found.append(example.new_zeros(shape))
        return found


def axes_of(dims: Dims) -> Axes:
    """Return where batch and time lie."""
    return Axes(*(dims.index(name) if name in dims else None for name in (BATCH, TIME)))


def read_signature(
    module: nn.Module, layers: Mapping[str, nn.RNNBase], request: Request
) -> Signature:
    """Run a module on its example inputs, then on other values and at other sizes.

    Args:
        module: Module in evaluation mode.
        layers: Its recurrent layers by path.
        request: What the user said.

    Raises:
        InputError: The example inputs, names, axes or states do not fit the module.
        ModelError: An output mixes batch and time in one axis, two tensors have one name, or the
            module's states or axes cannot be told.
    """
    arguments = read_arguments(module, request.args, request.kwargs)

    def run(tensors: Sequence[Tensor]) -> Observation:
        return observe(module, layers, arguments, tensors)

    _first_run(module, arguments, run)
    dims = find_axes(run, arguments.names, arguments.tensors, request.axes)
    # Sizes 0 and 1 are specialised by torch.export, so trace with others.
    least = {BATCH: 2, TIME: 3}
    sizes = {
        name: 2 if name == BATCH else max(arg.shape[axis], least.get(name, 2))
        for arg, place in zip(arguments.tensors, dims, strict=True)
        for axis, name in enumerate(place)
        if name is not None
    }
    probes = probe(run, arguments, dims, sizes)
    names = _output_names(probes.base.output_names, request.output_names)
    directions = {path: 2 if layer.bidirectional else 1 for path, layer in layers.items()}
    initial = find_states(probes, directions, request.states is None)
    given = list(initial.arguments)
    named = request.states
    if named is None:
        named = _returned_by_name(arguments.names, names, probes, given)
    else:
        given = []
    given += _named_states(named, arguments, dims, names, probes.base)
    given += _named_states(request.loops, arguments, dims, names, probes.base)
    returned = {argument.output for argument in given}
    kept = tuple(place for place in range(len(names)) if place not in returned)
    if request.output_names is None and len(kept) == 1 and names[kept[0]] == f"y{kept[0]}":
        names[kept[0]] = "y"
    if not kept:
        raise ModelError(
            "forward returns states only; return an output as well, or export with states={} "
            "to keep the states as outputs"
        )
    leaves = {argument.leaf for argument in given}
    by_inputs = from_inputs(probes, run, leaves) if named and initial.computed else set()
    places = [place for place in range(len(dims)) if place not in leaves]
    given_names = tuple(
        (arguments.names[a.leaf], _next_name(arguments.names[a.leaf], names[a.output]))
        for a in given
    )
    signature = Signature(
        arguments=arguments,
        args=tuple(resized(arguments.tensors[p], dims[p], sizes) for p in places),
        input_names=tuple(arguments.names[p] for p in places),
        input_dims=tuple(dims[p] for p in places),
        output_names=tuple(names[p] for p in kept),
        output_axes=tuple(_output_axes(names[p], p, probes) for p in kept),
        outputs=kept,
        sizes=sizes,
        lengths=tuple(item.among(places) for item in probes.lengths),
        uses=initial.uses,
        given=tuple(given),
        given_names=given_names,
        whole_only=(
            *initial.reasons,
            *(text for path, text in initial.computed.items() if not named or path in by_inputs),
            *_packed(probes),
        ),
        notes=tuple(
            f"layer {path!r} is not called by forward, so it is left out of the file"
            for path in layers
            if path not in {use.path for use in initial.uses}
        ),
    )
    of_states = [name for pair in given_names for name in pair]
    _require_distinct([*signature.input_names, *signature.output_names, *of_states])
    return signature


def _first_run(module: nn.Module, arguments: Arguments, run: Run) -> None:
    try:
        run(arguments.tensors)
    except EdgernnError:
        raise
    except Exception as error:  # whatever the user's own forward raises
        shapes = [list(arg.shape) for arg in arguments.tensors]
        raise InputError(
            f"{type(module).__name__} fails on example inputs of shapes {shapes}: "
            f"{first_line(error)}; give inputs that it takes, at any batch size and length"
        ) from None


def _packed(probes: Probes) -> tuple[str, ...]:
    reason = "forward packs rows of different lengths, and a stream cannot know where a row ends"
    return (reason,) if probes.base.packs else ()


def _output_names(found: Sequence[str], given: Sequence[str] | None) -> list[str]:
    if given is None:
        return list(found)
    if len(given) != len(found):
        raise InputError(
            f"output_names has {len(given)} names, but the module returns {len(found)} outputs; "
            f"give one name for each"
        )
    return list(given)


def _next_name(name: str, output: str) -> str:
    """Name the next value of a state as the user does, or after the state."""
    anonymous = output == name or (output.startswith("y") and output[1:].isdigit())
    return f"{name}.next" if anonymous else output


def _named_states(
    states: Mapping[str, str],
    arguments: Arguments,
    dims: Sequence[Dims],
    names: Sequence[str],
    run: Observation,
) -> list[StateArgument]:
    """Return the arguments that the user says are states."""
    found = []
    for name, output in states.items():
        if name not in arguments.names or output not in names:
            raise InputError(
                f"states says that {name!r} becomes {output!r}, but forward takes "
                f"{list(arguments.names)} and returns {list(names)}"
            )
        leaf, place = arguments.names.index(name), list(names).index(output)
        before, axes = arguments.tensors[leaf], axes_of(dims[leaf])
        after = run.outputs[place]
        fixed = [size for axis, size in enumerate(before.shape) if axis != axes.batch]
        left = [size for axis, size in enumerate(after.shape) if axis != axes.batch]
        if axes.time is not None or before.dtype != after.dtype or fixed != left:
            raise InputError(
                f"state {name!r} {list(before.shape)} cannot become {output!r} "
                f"{list(after.shape)}: both need one shape and type without a time axis"
            )
        found.append(StateArgument(leaf, place, batch_axis=axes.batch))
    return found


def _returned_by_name(
    names: Sequence[str], outputs: Sequence[str], probes: Probes, given: Sequence[StateArgument]
) -> dict[str, str]:
    """Return the arguments, not yet known as states, that come back changed by name."""
    known = {argument.leaf for argument in given}
    taken = {argument.output for argument in given}
    found = {}
    for leaf, name in enumerate(names):
        if leaf in known or TIME in probes.dims[leaf] or list(outputs).count(name) != 1:
            continue
        place, before = list(outputs).index(name), probes.args[leaf]
        after = probes.base.outputs[place]
        alike = before.shape == after.shape and before.dtype == after.dtype
        if place not in taken and alike and not torch.equal(before, after):
            found[name] = name
    return found


def _require_distinct(names: Sequence[str]) -> None:
    if twice := sorted({name for name in names if list(names).count(name) > 1}):
        raise ModelError(
            f"inputs and outputs must have distinct names, but {', '.join(twice)} occurs twice; "
            f"name the outputs with output_names, or rename the parameters of forward; for a state "
            f"that forward returns say states={{'h': 'hn'}} (--state h=hn)"
        )


def _output_axes(name: str, place: int, probes: Probes) -> Axes:
    """Compare the shape of an output with those for more rows and for more time steps."""
    base = probes.base.outputs[place].shape
    found = []
    for run in (probes.batch, probes.time):
        shape = base if run is None else run.outputs[place].shape
        if len(shape) != len(base):
            raise ModelError(
                f"output {name!r} changes its rank with the batch size or length; keep all axes"
            )
        grown = [axis for axis, (a, b) in enumerate(zip(base, shape, strict=True)) if a != b]
        found.append(grown[0] if grown else None)
    batch, time = found
    if batch is not None and batch == time:
        raise ModelError(
            f"output {name!r} has batch and time in one axis ({batch}); keep them apart, such as "
            f"[batch, time, features]"
        )
    return Axes(batch=batch, time=time)
