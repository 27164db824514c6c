"""The calls of a module's recurrent layers in one forward pass, and the states that they carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from edgernn.errors import ModelError

AGAIN = "#"  # between a layer's path and the number of its use, from the second on


@dataclass(frozen=True)
class Use:
    """One call of a recurrent layer.

    Attributes:
        path: Module path of the layer.
        number: 1 for its first call in a forward pass.
        carried: True if the states before and after the call are states of the exported model;
            False if the call starts from what the module computed, or from zeros in each pass.
        first: Learned first values ``[D, 1, H]`` by the name of the state; others are zeros.
    """

    path: str
    number: int = 1
    carried: bool = True
    first: dict[str, Tensor] = field(default_factory=dict, compare=False)

    @property
    def prefix(self) -> str:
        """What the names of its states begin with, such as ``"encoder.rnn."``."""
        again = f"{AGAIN}{self.number}" if self.number > 1 else ""
        return f"{self.path}{again}." if self.path or again else ""


class Tape:
    """Carry states into the recurrent layers and their next values out of them.

    Args:
        uses: The calls that a forward pass makes, in any order.
    """

    def __init__(self, uses: Sequence[Use]) -> None:
        self._uses = {(use.path, use.number): use for use in uses}
        self._calls: dict[str, int] = {}
        self._given: dict[str, Tensor] = {}
        self._next: dict[str, Tensor] = {}

    def start(self, states: dict[str, Tensor]) -> None:
        """Lay out the states of one forward pass."""
        self._given, self._next, self._calls = states, {}, {}

    def enter(self, path: str) -> Use:
        """Return which use of a layer begins.

        Raises:
            ModelError: There are more than when the module was tried.
        """
        number = self._calls[path] = self._calls.get(path, 0) + 1
        if (path, number) not in self._uses:
            raise ModelError(
                f"layer {path!r} is called more often than when the module was tried "
                f"({number - 1} times); call it equally often at every length and batch size"
            )
        return self._uses[path, number]

    def take(self, name: str) -> Tensor:
        """Return a state before the pass."""
        return self._given[name]

    def give(self, name: str, value: Tensor) -> None:
        """Keep a state after the pass."""
        self._next[name] = value

    def finish(self, names: Sequence[str]) -> list[Tensor]:
        """Return the states after the pass, and forget them.

        Raises:
            ModelError: The pass did not reach the layers of all states.
        """
        if missing := [name for name in names if name not in self._next]:
            raise ModelError(
                f"forward did not reach the layers of states {missing} at this length or batch "
                f"size, but did when it was tried; call them in every pass"
            )
        values = [self._next[name] for name in names]
        self._given, self._next = {}, {}
        return values
