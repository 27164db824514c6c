"""LSTM, GRU and RNN layers that compute with the integers of their exported form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from edgernn.errors import InputError, ModelError, UsageError
from edgernn.integer import LayerRange
from edgernn.training.onnx_layout import kind_of, onnx_weights
from edgernn.training.quantized.checks import (
    precision_named,
    require_finite,
    require_float32,
    require_ready,
)
from edgernn.training.quantized.constants import Kept, Recurrence, make_recurrence
from edgernn.training.quantized.float_cells import run_float
from edgernn.training.quantized.gradients import run_gru, run_lstm, run_product, run_rnn
from edgernn.training.quantized.observers import Observer
from edgernn.training.quantized.sequences import (
    at_the_end,
    packed_like,
    reversed_in_time,
    valid_steps,
)

States = list[Tensor]


class _QuantRecurrent(nn.RNNBase):
    """What `QuantLSTM`, `QuantGRU` and `QuantRNN` have in common."""

    _FLOAT: type[nn.RNNBase]

    def __init__(
        self,
        layer: nn.RNNBase,
        precision: str = "int8",
        ranges: Sequence[LayerRange] | None = None,
    ) -> None:
        known, own = precision_named(precision), type(self).__name__
        if type(layer) is not self._FLOAT:
            raise UsageError(
                f"{own} is made from an nn.{self._FLOAT.__name__}, not from a "
                f"{type(layer).__name__}"
            )
        if layer.proj_size:
            raise ModelError(
                f"the layer has proj_size={layer.proj_size}, for which ONNX has no attribute; "
                f"use proj_size=0 followed by nn.Linear"
            )
        require_float32(layer, own)
        super().__init__(**_options(layer))
        _share(layer, self)
        self.precision, self._widths = precision, known
        self.observing = False
        device = next(layer.parameters()).device
        outputs = self.hidden_size * self._directions
        self.observers = nn.ModuleList(
            Observer(outputs if index else self.input_size, self._directions, device)
            for index in range(self.num_layers)
        )
        self._kept = Kept()
        if ranges is not None:
            if len(ranges) != self.num_layers:
                raise UsageError(
                    f"{own} has {self.num_layers} layers, but {len(ranges)} ranges were given; "
                    f"give one for each"
                )
            for observer, found in zip(self._observers, ranges, strict=True):
                observer.set(found, own)
        self.train(layer.training)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Run a sequence; arguments and results are those of the float layer.

        The states are floats that stand for integers exactly, so chunks with the states handed
        on give what the whole sequence gives.

        Args:
            input: ``[T, B, I]``, ``[B, T, I]`` with ``batch_first``, ``[T, I]``, or packed.
            hx: Initial state ``[layers * D, B, H]``, for an LSTM a pair of them; zero if left
                out.

        Raises:
            ModelError: There are no ranges of the inputs yet, or the weights are not float32.
            InputError: The input has another number of axes or channels, or no time step; or it
                or a state holds NaN or infinity.
        """
        require_float32(self, type(self).__name__)
        lengths, squeezed = None, False
        if isinstance(input, PackedSequence):
            x, lengths = pad_packed_sequence(input)
            lengths = lengths.to(x.device)
        else:
            squeezed = input.ndim == 2
            x = input[:, None] if squeezed else input
            x = x.transpose(0, 1) if self.batch_first and not squeezed else x
        if x.ndim != 3 or x.shape[2] != self.input_size or len(x) == 0:
            raise InputError(
                f"{type(self).__name__} gets an input of shape {list(x.shape)}; it takes "
                f"[time, batch, {self.input_size}] with at least one time step"
            )
        given = self._initial(x, hx, squeezed)
        with torch.autocast(x.device.type, enabled=False):
            y, lasts = self._run(x.float(), given, lengths)
        states = [torch.stack(last) for last in zip(*lasts, strict=True)]
        if squeezed:
            y, states = y[:, 0], [state[:, 0] for state in states]
        elif self.batch_first and lengths is None:
            y = y.transpose(0, 1)
        output = y if lengths is None else packed_like(y, lengths, input)
        return output, (tuple(states) if self.mode == "LSTM" else states[0])

    def ranges(self) -> tuple[LayerRange, ...]:
        """Return the ranges of each stacked layer.

        Raises:
            ModelError: There are none yet.
        """
        own = type(self).__name__
        return tuple(require_ready(item, own).range_of(self.mode) for item in self._observers)

    def float_layer(self) -> nn.RNNBase:
        """Return a float layer with the same parameters (not copies of them)."""
        made = self._FLOAT(**_options(self))
        _share(self, made)
        made.flatten_parameters()
        return made.train(self.training)

    def extra_repr(self) -> str:
        """Describe the layer, for ``print(module)``."""
        return f"{super().extra_repr()}, precision={self.precision}"

    def flatten_parameters(self) -> None:
        """Do nothing: the float layer gathers its weights for cuDNN, which is not used here."""

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _observers(self) -> list[Observer]:
        return [item for item in self.observers if isinstance(item, Observer)]

    def _initial(self, x: Tensor, hx: Any, squeezed: bool) -> list[States]:
        """Return the initial states ``[B, H]``, one list for each layer and direction."""
        rows = self.num_layers * self._directions
        count = 2 if self.mode == "LSTM" else 1
        if hx is None:
            zeros = x.new_zeros(x.shape[1], self.hidden_size, dtype=torch.float32)
            return [[zeros] * count] * rows
        stacks = list(hx) if self.mode == "LSTM" else [hx]
        if squeezed:
            stacks = [stack[:, None] for stack in stacks]
        wanted = (rows, x.shape[1], self.hidden_size)
        for stack in stacks:
            if stack.shape != wanted:
                raise InputError(
                    f"{type(self).__name__} gets an initial state of shape {list(stack.shape)} "
                    f"instead of {list(wanted)}"
                )
            require_finite(stack, type(self).__name__, "hx")
        return [[stack[row].float() for stack in stacks] for row in range(rows)]

    def _run(
        self, x: Tensor, given: list[States], lengths: Tensor | None
    ) -> tuple[Tensor, list[States]]:
        lasts: list[States] = []
        for index, observer in enumerate(self._observers):
            require_finite(x, f"{type(self).__name__} layer {index}", "input")
            if self.observing:
                observer.see_input(valid_steps(x.detach(), lengths), x.shape[1])
            weights = None if self.observing else self._onnx_weights(index)
            outputs = []
            for direction in range(self._directions):
                states = given[index * self._directions + direction]
                if weights is None:
                    states = self._run_float(x, index, direction, states, lengths)
                else:
                    one = [weight[direction] for weight in weights]
                    layer = self._recurrence(index, direction, one)
                    states = _run_integer(x, layer, one, states, lengths, direction == 1)
                lasts.append([at_the_end(state, lengths) for state in states])
                y = states[0]
                outputs.append(reversed_in_time(y, lengths) if direction else y)
            x = torch.cat(outputs, dim=2) if len(outputs) > 1 else outputs[0]
            if self.dropout and index < self.num_layers - 1:
                x = functional.dropout(x, self.dropout, self.training)
        return x, lasts

    def _onnx_weights(self, index: int) -> list[Tensor]:
        w, r, b = onnx_weights(self, index)
        b = w.new_zeros(len(w), 2 * w.shape[1]) if b is None else b
        # Without gradients, the layers need not keep what these would be made of.
        return [w, r, b] if torch.is_grad_enabled() else [w.detach(), r.detach(), b.detach()]

    def _recurrence(self, index: int, direction: int, weights: list[Tensor]) -> Recurrence:
        observer = require_ready(self._observers[index], type(self).__name__)
        watched = [*weights, observer.low, observer.high, observer.largest]

        def make() -> Recurrence:
            w, r, b = weights
            return make_recurrence(
                kind_of(self),
                w,
                r,
                b,
                observer.range_of().input_scale(self._widths.input_bits),
                self._widths,
                largest=float(observer.largest[direction]),
                relu=self.mode == "RNN_RELU",
                name=f"{type(self).__name__} layer {index}",
            )

        return self._kept.get((index, direction), watched, make)

    def _run_float(
        self, x: Tensor, index: int, direction: int, states: States, lengths: Tensor | None
    ) -> States:
        suffix = "_reverse" if direction else ""
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[: 4 if self.bias else 2]
        weights = [getattr(self, f"{kind}_l{index}{suffix}") for kind in kinds]
        found = run_float(
            self.mode, reversed_in_time(x, lengths) if direction else x, weights, states
        )
        self._observers[index].see_state(direction, valid_steps(found[-1].detach(), lengths))
        return list(found)


def _run_integer(
    x: Tensor,
    layer: Recurrence,
    weights: list[Tensor],
    states: States,
    lengths: Tensor | None,
    backwards: bool,
) -> States:
    """Run one direction over ``x [T, B, I]``; return its states ``[T, B, H]`` in its own order."""
    w, r, b = weights
    of_input, of_recurrent = b.chunk(2)
    if layer.cell == "gru":
        size = r.shape[1]
        inside = of_recurrent.index_fill(0, torch.arange(2 * size, 3 * size, device=b.device), 0.0)
    else:
        inside = of_recurrent
    before = run_product(x, w, of_input + inside, layer.input)
    if backwards:
        before = reversed_in_time(before, lengths)
    if layer.cell == "lstm":
        return list(run_lstm(before, r, *states, layer))
    if layer.cell == "gru":
        return [run_gru(before, r, of_recurrent[2 * size :], *states, layer)]
    return [run_rnn(before, r, *states, layer)]


def _options(layer: nn.RNNBase) -> dict[str, Any]:
    """Return what a layer of the same shape is made with, without memory for parameters."""
    names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout",
             "bidirectional")  # fmt: skip
    options = {name: getattr(layer, name) for name in names}
    if layer.mode.startswith("RNN"):
        options["nonlinearity"] = layer.mode.removeprefix("RNN_").lower()
    return {**options, "device": "meta"}


def _share(source: nn.RNNBase, target: nn.RNNBase) -> None:
    for name, parameter in source.named_parameters():
        setattr(target, name, parameter)


class QuantLSTM(_QuantRecurrent, nn.LSTM):
    """An LSTM of precision ``int8``, ``w8a16`` or ``int4``, made from a float one.

    It has the parameters of the float layer under their names, takes and returns the same, and
    computes what the exported integer graph computes, bit for bit, in training and evaluation
    alike. Gradients go straight through the rounding. It needs the ranges of its inputs and
    cells first: from `edgernn.training.observing`, or given.

    Args:
        layer: The float layer; its parameters are shared.
        precision: ``"int8"``, ``"w8a16"`` or ``"int4"``.
        ranges: One for each stacked layer, if known.

    Attributes:
        precision: Name of the precision.
        observing: While true, it runs in float32 and notes the ranges.

    Raises:
        UsageError: The layer is no nn.LSTM, the precision is unknown, or the ranges do not fit.
        ModelError: The layer has a projection (``proj_size``), which ONNX has no attribute for,
            or its weights are not float32.

    Example:
        >>> lstm = QuantLSTM(nn.LSTM(3, 5), "int8", [LayerRange((-1.0,), (1.0,), (2.0,))])
        >>> y, (h, c) = lstm(torch.zeros(7, 2, 3))
    """

    _FLOAT = nn.LSTM


class QuantGRU(_QuantRecurrent, nn.GRU):
    """A GRU of precision ``int8``, ``w8a16`` or ``int4``, made from a float one.

    See `QuantLSTM`.

    Example:
        >>> gru = QuantGRU(nn.GRU(3, 5), "int4", [LayerRange((-1.0,), (1.0,))])
        >>> y, h = gru(torch.zeros(7, 2, 3))
    """

    _FLOAT = nn.GRU


class QuantRNN(_QuantRecurrent, nn.RNN):
    """An RNN, tanh or relu, of precision ``int8``, ``w8a16`` or ``int4``, made from a float one.

    See `QuantLSTM`.

    Example:
        >>> rnn = QuantRNN(nn.RNN(3, 5), "w8a16", [LayerRange((-1.0,), (1.0,))])
        >>> y, h = rnn(torch.zeros(7, 2, 3))
    """

    _FLOAT = nn.RNN
