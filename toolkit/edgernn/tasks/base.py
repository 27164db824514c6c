"""What a training task is: data, preprocessing, metric, and the words for its answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from edgernn.errors import ModelError

if TYPE_CHECKING:
    from edgernn.sessions import Session

Arrays = dict[str, NDArray[Any]]
Run = Callable[[Arrays], Arrays]


@dataclass(frozen=True)
class Metric:
    """Name one figure of merit.

    Attributes:
        name: Key in JSON results, such as ``"accuracy"``.
        higher_is_better: Direction of improvement.
    """

    name: str
    higher_is_better: bool


PADDING = -1
LONGEST = 60  # symbols of a sequence that is written
START, END = 1, 2  # symbols around a sequence that is written; 0 fills up what is read


@dataclass(frozen=True)
class Batch:
    """Hold one training batch, padded at the end of the time axis.

    Attributes:
        x: Features ``[B, T, F]`` float32, or symbols ``[B, T]`` int64; zero beyond each length.
        lengths: Valid time steps of each row ``[B]`` int64.
        targets: What the loss compares with (`edgernn.training.LOSSES`): a class of each row
            ``[B]`` or of each step ``[B, T]``, a sequence of symbols ``[B, L]``, all int64 and
            padded with `PADDING`; or float32 numbers ``[B, O]`` or ``[B, T, O]``.
        feeds_lengths: Whether the task's exported models take the lengths as an input.
    """

    x: NDArray[Any]
    lengths: NDArray[np.int64]
    targets: NDArray[Any]
    feeds_lengths: bool = False

    @property
    def inputs(self) -> Arrays:
        """What an exported model takes, by name."""
        return {"x": self.x, "lengths": self.lengths} if self.feeds_lengths else {"x": self.x}


@dataclass(frozen=True)
class DataSource:
    """Say where the data comes from.

    Attributes:
        folder: Folder with the real data set, or None for the data shipped in the package.
        download: Fetch the real data set from its public origin first.
        holdout: Name of the group kept for testing instead of the official split
            (for ``keywords``: a speaker), or None for the official split.
    """

    folder: Path | None = None
    download: bool = False
    holdout: str | None = None

    @property
    def is_real(self) -> bool:
        """Whether it is the real data set."""
        return self.download or self.folder is not None


@dataclass(frozen=True)
class Network:
    """Describe the network that a task recommends; ``edgernn train`` has options to change it.

    Attributes:
        kind: What is around the recurrent layers: a key of `edgernn.training.NETWORKS`.
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        hidden_size: Units of each layer and direction.
        layers: Stacked recurrent layers.
        bidirectional: Whether every layer also reads backwards.
        embedding_size: Numbers that stand for a symbol, where the input is symbols; else 0.
    """

    kind: str = "sequence"
    cell: str = "gru"
    hidden_size: int = 64
    layers: int = 1
    bidirectional: bool = False
    embedding_size: int = 0


@dataclass(frozen=True)
class Origin:
    """Say where a task's real data comes from.

    Attributes:
        data: Name of the data set.
        licence: As its authors state it.
        url: Where it is published.
        bytes: Size of the files that are read.
    """

    data: str
    licence: str
    url: str
    bytes: int


@dataclass(frozen=True)
class Recipe:
    """Hold the training hyperparameters a task recommends.

    Attributes:
        epochs: Upper bound; early stopping may end before it.
        batch_size: Sequences per optimizer step, over all processes.
        learning_rate: Peak of the one-cycle cosine schedule.
        weight_decay: Decoupled (AdamW).
        dropout: Probability on the recurrent layer's input and output.
        clip_norm: Gradient norm limit.
        patience: Epochs without a better validation metric before stopping. They count from the
            first epoch that was as good as the best; of equals the later weights are kept.
        label_smoothing: Probability mass spread over the other classes.
        ema_decay: Decay per step of the averaged weights that are validated and kept; 0 keeps
            the plain weights.
        memory_steps: How long the gates begin by keeping their state, at most (see
            `edgernn.training.remembering`); 0 for PyTorch's own biases.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    dropout: float
    clip_norm: float
    patience: int
    label_smoothing: float
    ema_decay: float = 0.0
    memory_steps: int = 0


class Split(Protocol):
    """One part of a data set, in memory."""

    def __len__(self) -> int:
        """Count the examples."""
        ...

    def epoch(self, epoch: int, *, seed: int, batch_size: int) -> Iterator[Batch]:
        """Yield the augmented, shuffled batches of one epoch.

        The same ``(epoch, seed)`` gives the same batches, in whatever order epochs are asked
        for, so that a resumed training sees what an uninterrupted one would have seen.
        """
        ...

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield every example once, as recorded; rows of one batch have equal lengths."""
        ...


class Task(Protocol):
    """A job that a recurrent network is trained for."""

    name: str
    summary: str
    origin: Origin
    metric: Metric
    network: Network
    recipe: Recipe
    input_size: int
    output_size: int
    loss: str
    frame_rate_hz: float | None

    def splits(
        self, source: DataSource, preprocessing: Mapping[str, Any] | None = None
    ) -> Mapping[str, Split]:
        """Load ``train``, ``validation`` and ``test``.

        Args:
            source: Where the data comes from.
            preprocessing: Of the model that is to run on it; None to begin anew, with what
                follows from the training data, such as a vocabulary.

        Raises:
            ModelError: The task has no such preprocessing.
        """
        ...

    def preprocessing(self, splits: Mapping[str, Split] | None = None) -> dict[str, Any]:
        """Return, as JSON, what turns a user's file into the model's input.

        Args:
            splits: What `splits` returned; may be None where it does not follow from data.
        """
        ...

    def score(self, run: Run, split: Split) -> dict[str, float]:
        """Measure the task's metric; ``run`` maps the model's inputs to ``{"y": ...}``."""
        ...

    def read(self, path: Path, preprocessing: Mapping[str, Any]) -> Arrays:
        """Turn a user's file into model inputs of one row, such as ``{"x": [1, T, F]}``."""
        ...

    def sample(self, folder: Path) -> Path:
        """Write one test example as a file that `read` takes, and return its path."""
        ...

    def answer(self, outputs: Mapping[str, NDArray[Any]], preprocessing: Mapping[str, Any]) -> str:
        """Say in the user's words what the outputs of a model with this preprocessing mean."""
        ...

    def labels(self) -> Sequence[str]:
        """Name the output classes; empty where outputs are numbers."""
        ...


@runtime_checkable
class ReadsText(Protocol):
    """A task whose models take a sentence (``edgernn run --text``)."""

    def encode(self, text: str, preprocessing: Mapping[str, Any]) -> Arrays:
        """Turn a text into model inputs of one row.

        Raises:
            InputError: Nothing in the text is known to the model.
        """
        ...


@runtime_checkable
class WritesOn(Protocol):
    """A task whose models go on with a text (``edgernn run --text``)."""

    def go_on(
        self, session: Session, text: str, *, count: int, seed: int = 0, greedy: bool = False
    ) -> str:
        """Return ``count`` further characters, drawn or the likeliest.

        Raises:
            InputError: The text is empty.
        """
        ...


def same_preprocessing(name: str, made: Mapping[str, Any] | None, now: Mapping[str, Any]) -> None:
    """Require that a model was made with the preprocessing that its task has.

    Args:
        name: Name of the task.
        made: Preprocessing of the model; None for any.
        now: Of the task.

    Raises:
        ModelError: They differ.
    """
    if made is not None and json.loads(json.dumps(made)) != json.loads(json.dumps(now)):
        raise ModelError(
            f"the model was made with other preprocessing than task {name} has now, so its "
            f"accuracy would be wrong; train and export it again, or use the version that made it"
        )
