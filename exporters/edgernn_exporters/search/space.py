"""Which precisions each layer may have, and the choices that a search starts from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from edgernn_exporters.quantization.layers import FLOAT

Choice = tuple[str, ...]
"""One precision for each layer, in the order of `Space.layers`."""


@dataclass(frozen=True)
class Space:
    """Hold the layers of a model with the precisions that each may have.

    Attributes:
        layers: Precisions by the layer's name. A layer with a single one is fixed.

    Example:
        >>> space = Space({"rnn": ("int8", "float32"), "linear": ("int4", "int8", "float32")})
        >>> space.size, space.uniform("int4")
        (6, ('float32', 'int4'))
    """

    layers: Mapping[str, tuple[str, ...]]

    @property
    def size(self) -> int:
        """Number of choices, the one with every layer in float among them."""
        return math.prod(len(options) for options in self.layers.values())

    @property
    def base(self) -> Choice:
        """The choice that one-layer changes are made to: float where that is possible."""
        return self.uniform(FLOAT)

    def uniform(self, precision: str) -> Choice:
        """Give one precision to every layer; float, else the first, to those that lack it."""
        return tuple(
            precision if precision in options else FLOAT if FLOAT in options else options[0]
            for options in self.layers.values()
        )

    def all(self) -> Iterator[Choice]:
        """Yield every choice."""
        yield from product(*self.layers.values())

    def changes(self, choice: Choice) -> Iterator[tuple[str, Choice]]:
        """Yield every choice that differs in one layer, with that layer's name."""
        for index, (layer, options) in enumerate(self.layers.items()):
            for precision in options:
                if precision != choice[index]:
                    yield layer, (*choice[:index], precision, *choice[index + 1 :])

    def by_layer(self, choice: Choice) -> dict[str, str]:
        """Return the precision of each layer."""
        return dict(zip(self.layers, choice, strict=True))
