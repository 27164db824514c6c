"""Two graphs that work together: an encoder, run once, and a decoder, run token by token.

The decoder's file says under ``edgernn.pair`` which encoder it belongs to and how the two connect
(`PairLink`); `Pair` runs them on any target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from edgernn.contract import Axes, Contract, StateSpec, TensorSpec
from edgernn.errors import ContractError, InputError, ModelError, UsageError
from edgernn.integer.activations import LIMIT
from edgernn.sessions import Array, Arrays, Session, Stream


def lone_decoder(where: str) -> UsageError:
    """Say that a file is a decoder and its encoder is not known."""
    return UsageError(
        f"{where} is the decoder of a pair, which does nothing without its encoder; name that "
        f"(--encoder), or put it beside as NAME.encoder.onnx"
    )


@dataclass(frozen=True)
class PairLink:
    """Connect a decoder step to its encoder (the value of ``edgernn.pair``).

    Attributes:
        encoder: SHA-256 of the encoder's file.
        token: Decoder input of the last tokens, integers ``[batch]`` or ``[batch, 1]``.
        logits: Decoder output of what comes next, ``[batch, tokens]`` or ``[batch, 1, tokens]``.
        states: Encoder output that a decoder state starts at, by the state's input. Other states
            start where the contract says.
        memory: Encoder output that is fed at each step, by decoder input.
        start: Token to begin with, or None.
        end: Token that ends a sequence, or None.
    """

    encoder: str
    token: str
    logits: str
    states: Mapping[str, str] = field(default_factory=dict)
    memory: Mapping[str, str] = field(default_factory=dict)
    start: int | None = None
    end: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the value of ``edgernn.pair``."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @staticmethod
    def from_json(value: Mapping[str, Any] | None, where: str) -> PairLink:
        """Read what `to_json` returned.

        Raises:
            ContractError: There is none, or it is malformed.
        """
        if value is None:
            raise ContractError(
                f"{where}: names no encoder, so it is no decoder of a pair; export both with "
                f"edgernn.export_pair"
            )
        try:
            link = PairLink(**value)
            texts = [link.encoder, link.token, link.logits, *link.states, *link.memory]
            texts += [*link.states.values(), *link.memory.values()]
            numbers = [number for number in (link.start, link.end) if number is not None]
            if not all(isinstance(text, str) for text in texts):
                raise TypeError("a name is not a text")
            if not all(type(number) is int and number >= 0 for number in numbers):
                raise TypeError("a token is not a number from 0 on")
        except (TypeError, AttributeError) as error:
            raise ContractError(
                f"{where}: unreadable link to the encoder ({error}); export both again with "
                f"edgernn.export_pair"
            ) from None
        return link

    def check_encoder(self, sha256: str, parent: str | None, encoder: str, decoder: str) -> None:
        """Compare the link with the content of an encoder's file.

        Args:
            sha256: Of the file.
            parent: Of the file that it was quantized from, or None.
            encoder: Name of the file, for messages.
            decoder: Name of the decoder's file, likewise.

        Raises:
            ContractError: It is another encoder.
        """
        if self.encoder not in (sha256, parent):
            raise ContractError(
                f"{decoder} was exported with the encoder of sha256 {self.encoder[:12]}…, but "
                f"{encoder} has {sha256[:12]}…; give that encoder, or a file quantized from it"
            )

    def check(self, encoder: Side, decoder: Side) -> None:
        """Compare the link with both graphs.

        Raises:
            ContractError: A tensor is missing, what the encoder gives does not fit, or the logits
                are of fewer tokens than ``start`` or ``end`` says.
        """
        where = decoder.where
        fed = {spec.name: spec for spec in decoder.inputs}
        given = {spec.name: spec for spec in encoder.outputs}
        returned = {spec.name: spec for spec in decoder.outputs}
        if set(fed) != {self.token, *self.memory} or self.logits not in returned:
            raise ContractError(
                f"{where}: the link feeds {sorted({self.token, *self.memory})} and reads "
                f"{self.logits!r}, but the graph takes {sorted(fed)} and returns "
                f"{sorted(returned)}; export both again with edgernn.export_pair"
            )
        token = fed[self.token]
        if token.dtype not in ("int32", "int64") or token.shape[1:] not in ((), (1,)):
            raise ContractError(
                f"{where}: the tokens {token} must be int32 or int64 [batch] or [batch, 1]; export "
                f"a decoder that takes one token of each row"
            )
        count = returned[self.logits].shape[-1]
        for name, number in (("start", self.start), ("end", self.end)):
            if number is not None and isinstance(count, int) and number >= count:
                raise ContractError(
                    f"{where}: {name} is token {number}, but {self.logits!r} are of {count} "
                    f"tokens; give a number from 0 to {count - 1}"
                )
        states = {state.input: state for state in decoder.contract.states}
        specs = {spec.name: spec for spec in decoder.states}
        if unknown := sorted(set(self.states) - set(states)):
            raise ContractError(
                f"{where}: the link starts {unknown}, which are no states of the graph; export "
                f"both again with edgernn.export_pair"
            )
        places = encoder.contract.stream.outputs
        wanted: list[tuple[str, TensorSpec, int | None, StateSpec | None]] = [
            (output, fed[name], decoder.contract.stream.inputs[name].batch, None)
            for name, output in self.memory.items()
        ]
        wanted += [
            (output, specs[name], states[name].batch_axis, states[name])
            for name, output in self.states.items()
        ]
        for output, spec, batch, state in wanted:
            if output not in given:
                raise ContractError(
                    f"{where}: takes {spec.name!r} from output {output!r} of {encoder.where}, "
                    f"which returns {sorted(given)}; give the encoder that it was exported with"
                )
            if not _fits(given[output], spec, state) or places[output].batch != batch:
                raise ContractError(
                    f"{encoder.where}: output {given[output]} does not fit {spec} of {where}; "
                    f"shapes, types and batch axes must agree; export both again"
                )


@dataclass(frozen=True)
class Side:
    """What is known of one of the two files before it is loaded.

    Attributes:
        where: Its name, for messages.
        inputs: Without states.
        outputs: Likewise.
        states: State inputs.
        contract: State contract.
    """

    where: str
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    states: Sequence[TensorSpec]
    contract: Contract


class Pair:
    """An encoder and its decoder on a target (see `edgernn.open_pair`).

    Args:
        link: How they connect; it has been checked.
        encoder: Loaded.
        decoder: What is known of the decoder.
        open_decoder: Loads the decoder for given sizes of the dynamic axes of its memory, such as
            ``{"source": 12}``; generated C needs them, other targets ignore them.
    """

    def __init__(
        self,
        link: PairLink,
        encoder: Session,
        decoder: Side,
        open_decoder: Callable[[Mapping[str, int]], Session],
    ) -> None:
        self.link = link
        self.encoder = encoder
        self._side = decoder
        self._open = open_decoder

    def decode(self, inputs: Mapping[str, Array], copies: int = 1) -> Decoding:
        """Run the encoder, and open a decoder on what it returns.

        Args:
            inputs: Of the encoder.
            copies: Rows of the decoder for each row of the inputs, one after another.

        Raises:
            InputError: The inputs do not fit the encoder.
        """
        encoded = self.encoder.run(inputs)
        contract = self._side.contract
        memory = {
            name: np.repeat(encoded[output], copies, axis)
            if (axis := contract.stream.inputs[name].batch) is not None else encoded[output]
            for name, output in self.link.memory.items()
        }  # fmt: skip
        specs = {spec.name: spec for spec in self._side.inputs}
        places = contract.stream.inputs
        sizes = {
            str(size): memory[name].shape[axis]
            for name in memory
            for axis, size in enumerate(specs[name].shape)
            if isinstance(size, str) and axis != places[name].batch
        }
        decoder = self._open(sizes)
        states = {state.input: state for state in contract.states}
        first = {
            name: _as_state(np.repeat(encoded[output], copies, states[name].batch_axis),
                            states[name])
            for name, output in self.link.states.items()
        }  # fmt: skip
        rows = _rows(self.encoder, inputs)
        stream = decoder.stream(rows * copies)
        if first:
            stream.state = {**stream.state, **first}
        return Decoding(self, stream, memory, specs[self.link.token], states, rows * copies)

    def close(self) -> None:
        """Free what the encoder's session holds; no decoding after this."""
        self.encoder.close()


class Decoding:
    """One live batch of sequences that are being decoded (made by `Pair.decode`).

    Attributes:
        rows: How many there are.
    """

    def __init__(
        self,
        pair: Pair,
        stream: Stream,
        memory: Arrays,
        token: TensorSpec,
        states: Mapping[str, StateSpec],
        rows: int,
    ) -> None:
        self.rows = rows
        self._link, self._stream, self._memory = pair.link, stream, memory
        self._token, self._states = token, states

    def advance(self, tokens: Array) -> Arrays:
        """Advance by one token of each row; return what the decoder's file returns.

        Args:
            tokens: Integers ``[rows]``.

        Raises:
            InputError: The decoder refuses the tokens.
        """
        given = np.asarray(tokens, self._token.dtype).reshape(self.rows, *self._token.shape[1:])
        outputs: Arrays = self._stream.step({self._link.token: given, **self._memory})
        return outputs

    def step(self, tokens: Array) -> Array:
        """Advance by one token of each row.

        Args:
            tokens: Integers ``[rows]``.

        Returns:
            Logarithms of the probabilities of what comes next, float64 ``[rows, tokens]``.

        Raises:
            InputError: The decoder refuses the tokens.
            ModelError: Its logits are NaN or infinite.
        """
        result = self.advance(tokens)
        logits = np.asarray(result[self._link.logits], np.float64).reshape(self.rows, -1)
        largest = logits.max(axis=1, keepdims=True)
        if not np.isfinite(largest).all():
            raise ModelError(
                f"the decoder's {self._link.logits!r} are NaN or infinite, so no token can be "
                f"chosen; look for a division by zero or a row that masks every token"
            )
        below = logits - largest
        found: Array = below - np.log(np.exp(below).sum(axis=1, keepdims=True))
        return found

    def reorder(self, rows: Array) -> None:
        """Let row ``i`` go on from the state of row ``rows[i]``."""
        self._stream.state = {
            name: np.take(value, rows, self._states[name].batch_axis)
            for name, value in self._stream.state.items()
        }


def _rows(session: Session, inputs: Mapping[str, Array]) -> int:
    contract = session.metadata.contract
    places: Mapping[str, Axes] = contract.stream.inputs if contract else {}
    for name, place in places.items():
        if place.batch is not None:
            return int(inputs[name].shape[place.batch])
    raise InputError("the encoder has no batch axis, so it is not known how many rows to decode")


def _fits(given: TensorSpec, wanted: TensorSpec, state: StateSpec | None) -> bool:
    integer = state is not None and state.scale is not None
    sizes = zip(given.shape, wanted.shape, strict=False)
    return (
        (given.dtype == wanted.dtype or integer)
        and len(given.shape) == len(wanted.shape)
        and all(a == b for a, b in sizes if isinstance(a, int) and isinstance(b, int))
    )


def _as_state(value: Array, state: StateSpec) -> Array:
    """Bring a value to the integers of a quantized state."""
    if state.scale is None:
        return value
    steps: Array = np.clip(np.rint(value / state.scale), -LIMIT, LIMIT).astype(state.dtype)
    return steps
