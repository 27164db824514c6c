"""A linear layer that computes with the integers of its exported form."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgernn.errors import InputError, UsageError
from edgernn.integer import LayerRange
from edgernn.training.quantized.checks import (
    precision_named,
    require_finite,
    require_float32,
    require_ready,
)
from edgernn.training.quantized.constants import Kept, Product, make_product
from edgernn.training.quantized.gradients import run_product
from edgernn.training.quantized.observers import Observer


class QuantLinear(nn.Linear):
    """A linear layer of precision ``int8``, ``w8a16`` or ``int4``, made from a float one.

    It has the parameters of the float layer under their names, and computes what the exported
    integer graph computes, bit for bit, in training and evaluation alike. Gradients go straight
    through the rounding. It needs the range of its inputs first: from
    `edgernn.training.observing`, or given.

    Args:
        linear: The float layer; its parameters are shared.
        precision: ``"int8"``, ``"w8a16"`` or ``"int4"``.
        ranges: Range of the inputs, if known.

    Attributes:
        precision: Name of the precision.
        observing: While true, it runs in float32 and notes the range of its inputs.

    Raises:
        UsageError: The precision is unknown, or the range is of another layer.
        ModelError: The weights are not float32.

    Example:
        >>> layer = QuantLinear(nn.Linear(3, 2), "int8", LayerRange((-1.0,), (1.0,)))
        >>> layer(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self, linear: nn.Linear, precision: str = "int8", ranges: LayerRange | None = None
    ) -> None:
        known = precision_named(precision)
        if type(linear) is not nn.Linear:
            raise UsageError(
                f"QuantLinear is made from an nn.Linear, not from a {type(linear).__name__}"
            )
        require_float32(linear, "QuantLinear")
        super().__init__(
            linear.in_features, linear.out_features, linear.bias is not None, device="meta"
        )
        self.weight, self.bias = linear.weight, linear.bias
        self.precision, self._widths = precision, known
        self.observing = False
        self.observer = Observer(linear.in_features, 0, linear.weight.device)
        self._kept = Kept()
        if ranges is not None:
            self.observer.set(ranges, "QuantLinear")
        self.train(linear.training)

    def forward(self, input: Tensor) -> Tensor:
        """Compute ``[..., K] -> [..., N]``.

        Raises:
            ModelError: There is no range of the inputs yet, or the weights are not float32.
            InputError: The input has another number of channels, or holds NaN or infinity.
        """
        require_float32(self, "QuantLinear")
        if input.ndim == 0 or input.shape[-1] != self.in_features:
            raise InputError(
                f"QuantLinear gets an input of shape {list(input.shape)}; it takes "
                f"[..., {self.in_features}]"
            )
        require_finite(input, "QuantLinear", "input")
        if self.observing:
            self.observer.see_input(input.detach().reshape(-1, self.in_features), 0)
            return functional.linear(input, self.weight, self.bias)
        with torch.autocast(input.device.type, enabled=False):
            return run_product(input.float(), self.weight, self.bias, self._product())

    def ranges(self) -> tuple[LayerRange, ...]:
        """Return the range of the inputs, as a tuple of one.

        Raises:
            ModelError: There is none yet.
        """
        return (require_ready(self.observer, "QuantLinear").range_of(),)

    def float_layer(self) -> nn.Linear:
        """Return a float layer with the same parameters (not copies of them)."""
        made = nn.Linear(self.in_features, self.out_features, self.bias is not None, device="meta")
        made.weight, made.bias = self.weight, self.bias
        return made.train(self.training)

    def extra_repr(self) -> str:
        """Describe the layer, for ``print(module)``."""
        return f"{super().extra_repr()}, precision={self.precision}"

    def _product(self) -> Product:
        observer = require_ready(self.observer, "QuantLinear")
        watched = [self.weight, observer.low, observer.high]
        watched += [] if self.bias is None else [self.bias]

        def make() -> Product:
            scale = observer.range_of().input_scale(self._widths.input_bits)
            return make_product(self.weight, self.bias, scale, self._widths, "linear")

        return self._kept.get("product", watched, make)
