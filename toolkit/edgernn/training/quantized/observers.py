"""What a layer is seen to take in and to hold: running minima and maxima, kept as buffers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgernn.errors import UsageError
from edgernn.integer import LayerRange
from edgernn.integer.ranges import with_reach


class Observer(nn.Module):
    """Hold the ranges of one layer, of which there are none until it is set or has seen inputs.

    Args:
        channels: Input channels K.
        directions: Of a recurrent layer, else 0.

    Attributes:
        low: Least input of each channel ``[K]``; infinite before the first.
        high: Largest input likewise.
        largest: Largest magnitude of the LSTM's cell state or the relu RNN's state ``[D]``.
        seen: Sequences and time steps ``[2]``.
    """

    low: Tensor
    high: Tensor
    largest: Tensor
    seen: Tensor

    def __init__(self, channels: int, directions: int, device: torch.device) -> None:
        super().__init__()
        self.register_buffer("low", torch.empty(channels, device=device))
        self.register_buffer("high", torch.empty(channels, device=device))
        self.register_buffer("largest", torch.empty(directions, device=device))
        self.register_buffer("seen", torch.empty(2, dtype=torch.int64, device=device))
        self.reset()

    @property
    def ready(self) -> bool:
        """Whether there are ranges."""
        return bool(torch.isfinite(self.low).all())

    def reset(self) -> None:
        """Forget everything."""
        self.low.fill_(torch.inf)
        self.high.fill_(-torch.inf)
        self.largest.zero_()
        self.seen.zero_()

    def see_input(self, x: Tensor, sequences: int) -> None:
        """Widen the ranges to finite inputs ``[N, K]``, the steps of some sequences."""
        if not len(x):
            return
        torch.minimum(self.low, x.amin(dim=0), out=self.low)
        torch.maximum(self.high, x.amax(dim=0), out=self.high)
        self.seen += torch.tensor([sequences, len(x)], device=self.seen.device)

    def see_state(self, direction: int, state: Tensor) -> None:
        """Widen the range of what one direction holds."""
        if not state.numel():
            return
        torch.maximum(self.largest[direction], state.abs().amax(), out=self.largest[direction])

    def set(self, found: LayerRange, name: str) -> None:
        """Take ranges that were found elsewhere.

        Raises:
            UsageError: They are of another number of channels or directions.
        """
        states = found.largest_cell or found.largest_state or (0.0,) * len(self.largest)
        channels = len(found.low), len(found.high)
        if not set(channels) <= {1, len(self.low)} or len(states) != len(self.largest):
            raise UsageError(
                f"{name}: the ranges are of {channels[0]} channels and {len(states)} directions, "
                f"the layer has {len(self.low)} and {len(self.largest)}; give those of this layer"
            )
        for buffer, values in ((self.low, found.low), (self.high, found.high)):
            buffer.copy_(torch.tensor(values).expand(len(buffer)))
        self.largest.copy_(torch.tensor(states))
        self.seen.zero_()

    def range_of(self, mode: str = "") -> LayerRange:
        """Return the ranges, for a layer of PyTorch's mode ``"LSTM"``, ``"RNN_RELU"`` and so on.

        Constant channels get a reach, as in calibration.
        """
        low, high = with_reach(self.low.cpu().double().numpy(), self.high.cpu().double().numpy())
        largest = tuple(self.largest.tolist())
        return LayerRange(
            low=tuple(low.tolist()),
            high=tuple(high.tolist()),
            largest_cell=largest if mode == "LSTM" else (),
            largest_state=largest if mode == "RNN_RELU" else (),
        )
