"""What the steps of an import tell the user, and what they tell each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Piece:
    """Say where a state of the new model lies in the original's tensors.

    Its values are ``original_input.reshape(-1)[index]``, its next values
    ``original_output.reshape(-1)[output_index]``, at the sizes that the original has (2 along axes
    without a number); both indices have the shape of the new state.

    Attributes:
        input: State input of the new model.
        output: Its next value.
        original_input: Graph input of the original that held it, perhaps among others.
        original_output: Graph output of the original that returned it.
        index: Flat positions in the input.
        output_index: Flat positions in the output.
    """

    input: str
    output: str
    original_input: str
    original_output: str
    index: NDArray[np.int64]
    output_index: NDArray[np.int64]


class Notes(list[str]):
    """Sentences in the order in which the steps added them.

    Attributes:
        pieces: States that were taken out of the original's inputs and outputs.
        added_time: Place of the time axis in inputs and outputs where the original has none.
        by_caches: True if the model streams only because its windows over time have caches.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[Piece] = []
        self.added_time: dict[str, int] = {}
        self.by_caches = False

    def add(self, sentence: str) -> None:
        """Append a sentence, once."""
        if sentence not in self:
            self.append(sentence)
