"""The task ``language``: the next character of a text."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.errors import InputError, ModelError
from edgernn.files import write_text
from edgernn.sessions import Session
from edgernn.tasks.base import (
    Arrays,
    DataSource,
    Metric,
    Network,
    Origin,
    Recipe,
    Run,
    Split,
    same_preprocessing,
)
from edgernn.tasks.fetch import RemoteFile, folder_of
from edgernn.tasks.files import find_file, read_text
from edgernn.tasks.outputs import output_of, require_examples
from edgernn.tasks.splits import SeriesSplit

KIND = "characters"
UNKNOWN = "\ufffd"
ALPHABET = "\n" + string.printable[:95] + UNKNOWN  # printable without the other white space
_PLACES = {character: place for place, character in enumerate(ALPHABET)}
_CONTEXT, _WINDOW, _PIECE = 200, 256, 1000
_SCORE_BATCH = 8
_COMMIT = "6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
TEXT = RemoteFile(
    "data/tinyshakespeare/input.txt",
    f"https://raw.githubusercontent.com/karpathy/char-rnn/{_COMMIT}/data/tinyshakespeare/input.txt",
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)
_GENERATED = 60_000
_TEMPERATURE = 0.7


class Language:
    """Predict each character of a text from all before it.

    The network emits logits ``y [B, T, 97]`` of the next character. The text is cut into 90 %
    training, 5 % validation and 5 % test.

    Example:
        >>> task = Language()
        >>> task.encode("so it is", {"kind": "characters"})["x"].shape
        (1, 8)
    """

    name = "language"
    summary = "the next character of a text"
    origin = Origin(
        "tiny shakespeare", "public domain", "https://github.com/karpathy/char-rnn", 1_115_394
    )
    metric = Metric("nats_per_character", higher_is_better=False)
    network = Network("language", "lstm", 384, embedding_size=64)
    recipe = Recipe(
        epochs=20,
        batch_size=32,
        learning_rate=4e-3,
        weight_decay=1e-2,
        dropout=0.25,
        clip_norm=1.0,
        patience=5,
        label_smoothing=0.0,
        ema_decay=0.995,
    )
    input_size = len(ALPHABET)
    output_size = len(ALPHABET)
    loss = "cross_entropy_of_steps"
    frame_rate_hz: float | None = None

    def splits(
        self, source: DataSource, preprocessing: Mapping[str, Any] | None = None
    ) -> Mapping[str, Split]:
        """Load ``train``, ``validation`` and ``test``.

        Args:
            source: Without a folder or a download: generated sentences. Else a text file, or the
                folder of tiny shakespeare.
            preprocessing: Of the model that is to run; None for this task's.

        Raises:
            InputError: The text cannot be read or downloaded, or is too short.
            ModelError: The model has other preprocessing.
            UsageError: A group was to be held out; there are none.
        """
        same_preprocessing(self.name, preprocessing, self.preprocessing())
        folder = folder_of(self.name, source, [TEXT], "tinyshakespeare")
        if folder is None:
            text = generated(_GENERATED)
        else:
            advice = "name a text file, or fetch tiny shakespeare with --download"
            text = read_text(find_file(folder, (Path(TEXT.name).name, TEXT.name), advice))
        symbols = places(text)
        ends = [len(symbols) * 90 // 100, len(symbols) * 95 // 100, len(symbols)]
        if ends[0] < 2 * _WINDOW or ends[1] - ends[0] < 2:
            raise InputError(f"the text has {len(symbols)} characters; give some thousands")
        parts = {}
        for name, begin, end in zip(
            ("train", "validation", "test"), (0, *ends[:-1]), ends, strict=True
        ):
            context = min(_CONTEXT, begin)
            read = symbols[begin - context : end]
            # A target is the character after; the first of the part follows the last before it.
            parts[name] = SeriesSplit(
                read[:-1], read[1:], max(context - 1, 0), _WINDOW, _WINDOW, _PIECE
            )
        return parts

    def preprocessing(self, splits: Mapping[str, Split] | None = None) -> dict[str, Any]:
        """Return how characters are numbered, which no data change."""
        return {"kind": KIND, "alphabet": ALPHABET}

    def score(self, run: Run, split: Split) -> dict[str, float]:
        """Measure the mean cross-entropy in nats and the share of characters guessed right.

        Args:
            run: Maps ``{"x": [B, T]}`` to ``{"y": [B, T, 97]}``.
            split: What to measure on.

        Raises:
            InputError: The outputs are not logits of characters, or the split is empty.
        """
        nats = right = 0.0
        count = 0
        for batch in split.batches(_SCORE_BATCH):
            wanted = batch.targets
            logits = _logits(run(batch.inputs))[:, -wanted.shape[1] :].astype(np.float64)
            logits -= logits.max(axis=2, keepdims=True)
            total = np.log(np.exp(logits).sum(axis=2))
            nats += float((total - np.take_along_axis(logits, wanted[..., None], 2)[..., 0]).sum())
            right += float((logits.argmax(axis=2) == wanted).sum())
            count += wanted.size
        require_examples(count)
        return {"nats_per_character": nats / count, "accuracy": right / count}

    def read(self, path: Path, preprocessing: Mapping[str, Any]) -> Arrays:
        """Turn a text file into ``{"x": [1, T]}`` int64.

        Raises:
            InputError: The file cannot be read or is empty.
            ModelError: The preprocessing is not of this task.
        """
        return self.encode(read_text(Path(path)), preprocessing)

    def encode(self, text: str, preprocessing: Mapping[str, Any]) -> Arrays:
        """Turn a text into ``{"x": [1, T]}`` int64; characters out of the alphabet are one.

        Raises:
            InputError: The text is empty.
            ModelError: The preprocessing is not of this task.
        """
        if preprocessing.get("kind") != KIND:
            raise ModelError(
                f"the model's preprocessing has kind {preprocessing.get('kind')!r}, task language "
                f"has {KIND!r}; train and export it again"
            )
        if not text:
            raise InputError("the text is empty; give at least one character")
        return {"x": places(text)[None]}

    def sample(self, folder: Path) -> Path:
        """Write generated sentences as ``text.txt``, and return its path.

        Raises:
            OutputError: The file cannot be written.
        """
        path = folder / "text.txt"
        write_text(path, generated(300))
        return path

    def answer(self, outputs: Mapping[str, NDArray[Any]], preprocessing: Mapping[str, Any]) -> str:
        """Name the three likeliest next characters with their probabilities.

        Raises:
            InputError: The outputs are not logits of characters.
        """
        shares = _shares(_logits(outputs)[-1, -1], 1.0)
        best = np.argsort(-shares)[:3]
        return "next: " + ", ".join(f"{ALPHABET[at]!r} ({shares[at]:.2f})" for at in best)

    def go_on(
        self, session: Session, text: str, *, count: int, seed: int = 0, greedy: bool = False
    ) -> str:
        """Let a model write on, character by character, in a stream.

        Args:
            session: The model, on any target.
            text: What it begins with.
            count: Characters to add.
            seed: Of the draw.
            greedy: Take the likeliest character instead of drawing.

        Raises:
            InputError: The text is empty.
            ModelError: The model is not of this task.
        """
        rng = np.random.default_rng(seed)
        stream = session.stream()
        inputs = self.encode(text, session.metadata.preprocessing or {})["x"]
        written = []
        for _ in range(count):
            logits = stream.step(inputs)[0, -1, : len(ALPHABET) - 1]  # never the unknown one
            if greedy:
                place = int(logits.argmax())
            else:
                place = int(rng.choice(len(logits), p=_shares(logits, _TEMPERATURE)))
            written.append(ALPHABET[place])
            inputs = np.array([[place]])
        return "".join(written)

    def labels(self) -> Sequence[str]:
        """Name the characters."""
        return tuple(ALPHABET)


def places(text: str) -> NDArray[np.int64]:
    """Number the characters of a text ``[T]``."""
    unknown = len(ALPHABET) - 1
    return np.array([_PLACES.get(character, unknown) for character in text], np.int64)


def generated(count: int) -> str:
    """Make sentences of a few words in changing order; no real text."""
    rng = np.random.default_rng(0)
    who = ("the cat", "a small dog", "my friend", "the old king", "nobody", "the rain")
    does = ("sees", "follows", "likes", "waits for", "sings to", "forgets")
    when = ("today", "at night", "in the garden", "once a year", "and so it ends")
    text = ""
    while len(text) < count:
        subject, verb, other, end = (rng.choice(words) for words in (who, does, who, when))
        text += f"{str(subject).capitalize()} {verb} {other} {end}.\n"
    return text[:count]


def _shares(logits: NDArray[Any], temperature: float) -> NDArray[np.float64]:
    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max())
    shares: NDArray[np.float64] = powers / powers.sum()
    return shares


def _logits(outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    shape = ("B", "T", len(ALPHABET))
    return output_of(outputs, "language", shape, "logits of the next character")


TASK = Language()
