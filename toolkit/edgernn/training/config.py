"""What to train and how: plain values, checked when they are made, without PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from edgernn.errors import CheckpointError, UsageError
from edgernn.integer import INTEGER
from edgernn.tasks.base import DataSource, Task

CELLS = ("lstm", "gru", "rnn")
KINDS = {
    "sequence": False,
    "forecast": False,
    "text": True,
    "language": True,
    "translation": True,
}  # takes symbols?
PRECISIONS = ("fp32", "bf16", "fp16")
_MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class ModelConfig:
    """Describe one recurrent network.

    Attributes:
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"`` (tanh).
        input_size: Features of one time step, or symbols that there are.
        hidden_size: Units of each recurrent layer and direction.
        output_size: Outputs of one time step, or of one row.
        layers: Stacked recurrent layers.
        bidirectional: Whether every layer also reads backwards; such a model has no step form.
        kind: What is around the recurrent layers: a key of `edgernn.training.NETWORKS`.
        embedding_size: Numbers that stand for a symbol; 0 where the input is features.

    Raises:
        UsageError: A value is not allowed.

    Example:
        >>> ModelConfig("lstm", input_size=40, hidden_size=64, output_size=10).to_json()["cell"]
        'lstm'
    """

    cell: str
    input_size: int
    hidden_size: int
    output_size: int
    layers: int = 1
    bidirectional: bool = False
    kind: str = "sequence"
    embedding_size: int = 0

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise UsageError(f"cell {self.cell!r} is not known; choose one of {', '.join(CELLS)}")
        if self.kind not in KINDS:
            raise UsageError(f"kind {self.kind!r} is not known; choose one of {', '.join(KINDS)}")
        for name in ("input_size", "hidden_size", "output_size", "layers"):
            _require_integer(name, getattr(self, name), 1)
        if not isinstance(self.bidirectional, bool):
            raise UsageError(f"bidirectional is {self.bidirectional!r}; it must be true or false")
        _require_integer("embedding_size", self.embedding_size, int(KINDS[self.kind]))
        if self.embedding_size and not KINDS[self.kind]:
            raise UsageError(
                f"embedding_size is {self.embedding_size}, but a {self.kind} network takes "
                f"features, which have no embedding; use 0"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the values as a JSON object."""
        return asdict(self)

    @staticmethod
    def from_json(values: Any, where: str) -> ModelConfig:
        """Read what `to_json` returned.

        Args:
            values: The JSON object.
            where: File name for messages.

        Raises:
            CheckpointError: A key is missing, unknown or has a bad value.
        """
        names = {item.name for item in fields(ModelConfig)}
        if not isinstance(values, Mapping) or set(values) != names:
            raise CheckpointError(
                f"{where}: the model description must have exactly the keys "
                f"{', '.join(sorted(names))}; train the model again or restore the file"
            )
        try:
            return ModelConfig(**values)
        except UsageError as error:
            raise CheckpointError(f"{where}: {error}") from None


def advised(task: Task, **changes: Any) -> ModelConfig:
    """Return the architecture that a task recommends.

    Args:
        task: Its sizes and its network.
        **changes: Other values of `Network`, such as ``hidden_size=32``; None changes nothing.

    Raises:
        UsageError: A value is not allowed.

    Example:
        >>> from edgernn.tasks import get_task
        >>> advised(get_task("keywords"), cell="lstm").hidden_size
        64
    """
    given = {name: value for name, value in changes.items() if value is not None}
    network = replace(task.network, **given)
    return ModelConfig(input_size=task.input_size, output_size=task.output_size, **asdict(network))


@dataclass(frozen=True)
class TrainOptions:
    """Say how one training is to run.

    Attributes:
        folder: Run folder to write.
        seed: Start of all random numbers: weights, order, augmentation, dropout.
        epochs: Upper bound on the epochs instead of the recipe's, or None.
        patience: Epochs without a better validation metric before stopping, instead of the
            recipe's, or None.
        source: Where the data comes from.
        precision: ``"fp32"``, ``"bf16"``, ``"fp16"`` (a GPU only), or None for what
            ``accelerate launch`` was told, else fp32.
        resume: Continue the run in ``folder``; starts it if there is none yet.
        qat: ``"int8"``, ``"w8a16"`` or ``"int4"`` for quantization-aware training, or None.
        parent: Folder of the run whose best weights that starts from; None without ``qat``.

    Raises:
        UsageError: A value is not allowed, or two of them exclude each other.

    Example:
        >>> TrainOptions(Path("runs/kw"), seed=1).resume
        False
    """

    folder: Path
    seed: int = 0
    epochs: int | None = None
    patience: int | None = None
    source: DataSource = field(default_factory=DataSource)
    precision: str | None = None
    resume: bool = False
    qat: str | None = None
    parent: Path | None = None

    def __post_init__(self) -> None:
        _require_integer("seed", self.seed, 0)
        if self.seed > _MAX_SEED:
            raise UsageError(f"seed {self.seed} is too large; the largest is {_MAX_SEED}")
        for name in ("epochs", "patience"):
            if getattr(self, name) is not None:
                _require_integer(name, getattr(self, name), 1)
        if self.precision is not None and self.precision not in PRECISIONS:
            raise UsageError(
                f"precision {self.precision!r} is not known; choose one of {', '.join(PRECISIONS)}"
            )
        if self.qat is not None and self.qat not in INTEGER:
            raise UsageError(f"qat {self.qat!r} is not known; choose one of {', '.join(INTEGER)}")
        if (self.qat is None) != (self.parent is None):
            raise UsageError(
                "quantization-aware training needs two options, the precision (--qat) and the "
                "run that it starts from (--from); give both or none"
            )
        if self.qat is not None and self.precision not in (None, "fp32"):
            raise UsageError(
                f"quantization-aware training computes with integers, exactly, so it does not go "
                f"with precision {self.precision!r}; leave it out"
            )


def _require_integer(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{name} is {value!r}; it must be a whole number of at least {least}")
