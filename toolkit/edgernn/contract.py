"""The state contract: which graph output is the next value of which graph input.

ONNX graphs are stateless. A model that streams carries, in its metadata, one entry per state
tensor (`StateSpec`) and the axes that mean time and batch (`StreamSpec`). Every adapter feeds
state back by it, so nobody wires states by hand. The contract is stored under the keys
``edgernn.state`` and ``edgernn.stream`` of the ONNX file's ``metadata_props``, as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from edgernn.errors import ContractError, InputError

ZEROS = "zeros"


@dataclass(frozen=True)
class TensorSpec:
    """Describe one input, output or state.

    Attributes:
        name: Name in the graph.
        dtype: numpy name, such as ``"float32"``.
        shape: One entry per axis: a size, or the name of a dynamic axis such as ``"time"``.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        """Render as ``x float32 [batch, time, 40]``."""
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class StateSpec:
    """Pair a state input with the output that holds its next value.

    Attributes:
        input: Graph input that takes the state.
        output: Graph output that returns the next state.
        batch_axis: Axis of the batch in both.
        dtype: numpy name of the element type.
        init: ``"zeros"``, or the name of an initializer with the first value.
        scale: For integer states, the value of one unit; None for float states.
    """

    input: str
    output: str
    batch_axis: int
    dtype: str = "float32"
    init: str = ZEROS
    scale: float | None = None


@dataclass(frozen=True)
class Axes:
    """Locate the batch and time axes of one tensor; None where it has no such axis."""

    batch: int | None
    time: int | None


@dataclass(frozen=True)
class StreamSpec:
    """Say along which axes time runs and whether the model can run step by step.

    Attributes:
        causal: True if an output depends on no later input; only then chunks and single steps
            give the same result as the whole sequence.
        inputs: Axes of every input that is not a state.
        outputs: Axes of every output that is not a state.
        lengths: Input with the number of valid time steps of each row, int32 or int64 ``[batch]``;
            None if all rows are as long as the time axis.
    """

    causal: bool
    inputs: Mapping[str, Axes] = field(default_factory=dict)
    outputs: Mapping[str, Axes] = field(default_factory=dict)
    lengths: str | None = None


@dataclass(frozen=True)
class Contract:
    """Hold what an adapter must know to run a recurrent graph."""

    states: tuple[StateSpec, ...]
    stream: StreamSpec

    def check(
        self, inputs: Mapping[str, TensorSpec], outputs: Mapping[str, TensorSpec], where: str
    ) -> None:
        """Compare the contract with the graph's tensors.

        Args:
            inputs: All graph inputs, states included.
            outputs: All graph outputs, states included.
            where: File name for the message.

        Raises:
            ContractError: A named tensor is missing or named twice, a state's input and output
                differ, a state varies in another axis than the batch, or the lengths are not one
                integer for each row.
        """
        for state in self.states:
            source, target = inputs.get(state.input), outputs.get(state.output)
            if source is None or target is None:
                side, name = ("input", state.input) if source is None else ("output", state.output)
                raise ContractError(
                    f"{where}: the state contract names {side} {name!r}, which the graph does not "
                    f"have; export the model again, or remove its edgernn.state metadata"
                )
            _check_pair(state, source, target, where)
        fed = {state.input for state in self.states}
        returned = {state.output for state in self.states}
        if len(fed) < len(self.states) or len(returned) < len(self.states):
            raise ContractError(
                f"{where}: the state contract names a state input or output twice; export the "
                f"model again"
            )
        self._check_axes(self.stream.inputs, inputs, fed, "input", where)
        self._check_axes(self.stream.outputs, outputs, returned, "output", where)
        if self.stream.lengths is not None:
            _check_lengths(self.stream.lengths, self.stream, inputs, where)

    @staticmethod
    def _check_axes(
        axes: Mapping[str, Axes],
        tensors: Mapping[str, TensorSpec],
        states: set[str],
        side: str,
        where: str,
    ) -> None:
        if set(axes) != set(tensors) - states:
            raise ContractError(
                f"{where}: the contract's {side}s {sorted(axes)} are not the graph's "
                f"{sorted(set(tensors) - states)}; export the model again"
            )
        for name, place in axes.items():
            rank = len(tensors[name].shape)
            for axis in (place.batch, place.time):
                if axis is not None and not 0 <= axis < rank:
                    raise ContractError(
                        f"{where}: the contract puts an axis of {side} {name!r} at {axis}, but "
                        f"its rank is {rank}; export the model again"
                    )

    def to_json(self) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        """Return the values of ``edgernn.state`` and ``edgernn.stream``."""
        states = [
            {key: value for key, value in asdict(state).items() if value is not None}
            for state in self.states
        ]
        stream = asdict(self.stream)
        if self.stream.lengths is None:
            del stream["lengths"]
        return states, stream

    @staticmethod
    def from_json(states: Any, stream: Any, where: str) -> Contract:
        """Read what `to_json` wrote.

        Raises:
            ContractError: A key is missing, unknown, or of the wrong type.
        """
        try:
            lengths = stream.get("lengths")  # files of earlier versions lack it
            return Contract(
                states=tuple(_state_from_json(entry) for entry in states),
                stream=StreamSpec(
                    causal=_typed(stream["causal"], bool),
                    inputs=_axes_from_json(stream["inputs"]),
                    outputs=_axes_from_json(stream["outputs"]),
                    lengths=None if lengths is None else _typed(lengths, str),
                ),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ContractError(
                f"{where}: unreadable state contract ({type(error).__name__}: {error}); "
                f"export the model again"
            ) from None


def _state_from_json(entry: Any) -> StateSpec:
    state = StateSpec(**entry)
    for text in (state.input, state.output, state.dtype, state.init):
        _typed(text, str)
    _typed(state.batch_axis, int)
    if state.scale is not None:
        _typed(state.scale, float)
    return state


def _axes_from_json(entries: Any) -> dict[str, Axes]:
    axes = {name: Axes(**entry) for name, entry in entries.items()}
    for place in axes.values():
        for axis in (place.batch, place.time):
            if axis is not None:
                _typed(axis, int)
    return axes


def _typed(value: Any, kind: type) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise TypeError(f"expected {kind.__name__}, got {value!r}")
    return value


def _check_pair(state: StateSpec, source: TensorSpec, target: TensorSpec, where: str) -> None:
    same_rank = len(source.shape) == len(target.shape)
    sizes = zip(source.shape, target.shape, strict=False)
    fits = all(a == b for a, b in sizes if isinstance(a, int) and isinstance(b, int))
    if not (same_rank and fits and source.dtype == target.dtype == state.dtype):
        raise ContractError(
            f"{where}: state input {source} and state output {target} must agree in shape and "
            f"in the dtype {state.dtype} of the contract; export the model again"
        )
    if not 0 <= state.batch_axis < len(source.shape):
        raise ContractError(
            f"{where}: batch_axis {state.batch_axis} of state {state.input!r} is outside its "
            f"rank {len(source.shape)}; export the model again"
        )
    fixed = [size for axis, size in enumerate(source.shape) if axis != state.batch_axis]
    if not all(isinstance(size, int) for size in fixed):
        raise ContractError(
            f"{where}: state {source} may vary in no axis but batch axis {state.batch_axis}, or "
            f"its first value cannot be made; export the model with fixed state sizes"
        )


def _check_lengths(
    name: str, stream: StreamSpec, inputs: Mapping[str, TensorSpec], where: str
) -> None:
    if name not in stream.inputs:
        raise ContractError(
            f"{where}: the contract's lengths {name!r} are none of the inputs "
            f"{sorted(stream.inputs)}; export the model again"
        )
    spec = inputs[name]
    whole = spec.dtype in ("int32", "int64") and len(spec.shape) == 1
    if not whole or stream.inputs[name] != Axes(batch=0, time=None):
        raise ContractError(
            f"{where}: the lengths {spec} must be int32 or int64 [batch], one for each row; "
            f"export the model again"
        )
    if all(place.time is None for place in stream.inputs.values()):
        raise ContractError(
            f"{where}: the contract has lengths {name!r}, but no input with a time axis; "
            f"export the model again"
        )


def require_stream(contract: Contract | None, where: str, batch: int) -> Contract:
    """Return the contract of a model that can run step by step.

    Args:
        contract: Of the model, if it has one.
        where: File name for the message.
        batch: Sequences that advance together.

    Raises:
        ContractError: The model has no contract, is not causal, or takes lengths.
        InputError: ``batch`` is below 1, or above 1 for inputs without a batch axis.
    """
    if contract is None:
        raise ContractError(
            f"{where}: no state contract, so it is not known which outputs are states; "
            f"export the model with edgernn export"
        )
    if not contract.stream.causal:
        raise ContractError(
            f"{where}: the model is not causal (it looks at later inputs, as bidirectional layers "
            f"do, or was exported so), so it has no step form; run whole sequences instead"
        )
    if contract.stream.lengths is not None:
        raise ContractError(
            f"{where}: the model takes the length of each row in {contract.stream.lengths!r}, "
            f"which a stream cannot know; run whole sequences instead"
        )
    if batch < 1:
        raise InputError(f"batch must be at least 1, got {batch}")
    places = contract.stream.inputs.values()
    if batch > 1 and places and all(place.batch is None for place in places):
        raise InputError(
            f"{where}: the model takes one sequence, without a batch axis, not a batch of {batch}; "
            f"open a stream for each sequence, or export the model with a batch axis"
        )
    return contract
