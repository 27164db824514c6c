"""The task ``translate``: English captions of pictures to German."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgernn.errors import InputError, ModelError
from edgernn.extras import needs
from edgernn.files import write_text
from edgernn.tasks.base import (
    END,
    Arrays,
    DataSource,
    Metric,
    Network,
    Origin,
    Recipe,
    Run,
    Split,
)
from edgernn.tasks.fetch import RemoteFile, folder_of
from edgernn.tasks.files import read_text
from edgernn.tasks.outputs import output_of, require_examples
from edgernn.tasks.splits import SequenceSplit

if TYPE_CHECKING:
    from tokenizers import Tokenizer

KIND = "subwords"
VOCABULARY = 6000  # of each language
_SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]  # in the order of 0, START, END
_SCORE_BATCH = 100
_COMMIT = "a3d2e0d26b56f3846f66a952536ffed4e401d05a"
_URL = f"https://raw.githubusercontent.com/multi30k/dataset/{_COMMIT}/data/task1/raw"
_SHA256 = {
    "train.en": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "train.de": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
    "val.en": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "val.de": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
    "test_2016_flickr.en": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    "test_2016_flickr.de": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
}
MULTI30K = tuple(
    RemoteFile(f"data/task1/raw/{name}.gz", f"{_URL}/{name}.gz", sha256)
    for name, sha256 in _SHA256.items()
)
_PARTS = {"train": "train", "validation": "val", "test": "test_2016_flickr"}
Pairs = list[tuple[str, str]]


class Translate:
    """Translate a sentence.

    A bidirectional GRU reads subwords ``x [B, S]`` with ``lengths [B]``; a GRU with attention
    writes subwords. ``y`` of a whole model are the subwords ``[B, L]``; in files, encoder and
    decoder step are two graphs.

    Example:
        >>> task = Translate()
        >>> task.metric.name
        'bleu'
    """

    name = "translate"
    summary = "captions of pictures from English to German"
    origin = Origin("Multi30k", "none stated", "https://github.com/multi30k/dataset", 1_320_000)
    metric = Metric("bleu", higher_is_better=True)
    network = Network("translation", "gru", 256, bidirectional=True, embedding_size=256)
    recipe = Recipe(
        epochs=14,
        batch_size=64,
        learning_rate=2e-3,
        weight_decay=1e-2,
        dropout=0.4,
        clip_norm=1.0,
        patience=5,
        label_smoothing=0.1,
        ema_decay=0.998,
    )
    input_size = VOCABULARY
    output_size = VOCABULARY
    loss = "cross_entropy_of_steps"
    frame_rate_hz: float | None = None

    def splits(
        self, source: DataSource, preprocessing: Mapping[str, Any] | None = None
    ) -> Mapping[str, Split]:
        """Load ``train``, ``validation`` and ``test``.

        Args:
            source: Without a folder or a download: generated sentences. Else the folder of
                Multi30k, tested on ``test_2016_flickr``.
            preprocessing: Subwords of a model; None for those of the training sentences.

        Raises:
            InputError: The data cannot be read or downloaded.
            ModelError: The preprocessing is not of this task.
            UsageError: A group was to be held out; there are none.
        """
        folder = folder_of(self.name, source, MULTI30K, "multi30k")
        if folder is None:
            sizes = {"train": 1500, "validation": 100, "test": 100}
            parts = {name: generated(size, name) for name, size in sizes.items()}
        else:
            parts = {name: read_pairs(folder, part) for name, part in _PARTS.items()}
        if preprocessing is None:
            texts = [learned(row[side] for row in parts["train"]) for side in (0, 1)]
            preprocessing = {"kind": KIND, "source": texts[0], "target": texts[1]}
        return {name: PairSplit.of(pairs, preprocessing) for name, pairs in parts.items()}

    def preprocessing(self, splits: Mapping[str, Split] | None = None) -> dict[str, Any]:
        """Return the subwords of both languages."""
        train = None if splits is None else splits["train"]
        if not isinstance(train, PairSplit):
            raise ValueError("the subwords follow from the data; give what splits returned")
        return dict(train.preprocessing)

    def score(self, run: Run, split: Split) -> dict[str, float]:
        """Measure BLEU as sacrebleu defines it, on sentences as they were written.

        Args:
            run: Maps ``{"x": [B, S], "lengths": [B]}`` to ``{"y": [B, L]}``, subwords.
            split: What to measure on.

        Raises:
            InputError: The outputs are not subwords, or the split is empty.
        """
        with needs("translate"):
            import sacrebleu
        if not isinstance(split, PairSplit):
            raise TypeError("the subwords are the split's; give one that splits returned")
        said: list[str] = []
        wanted: list[str] = []
        for batch in split.batches(_SCORE_BATCH):
            said += decode(_symbols(run(batch.inputs)), split.preprocessing)
            wanted += decode(batch.targets, split.preprocessing)
        require_examples(len(said))
        return {"bleu": float(sacrebleu.corpus_bleu(said, [wanted]).score)}

    def read(self, path: Path, preprocessing: Mapping[str, Any]) -> Arrays:
        """Turn a text file into model inputs of one row.

        Raises:
            InputError: The file cannot be read, or holds no word.
            ModelError: The preprocessing is not of this task.
        """
        return self.encode(read_text(Path(path)), preprocessing)

    def encode(self, text: str, preprocessing: Mapping[str, Any]) -> Arrays:
        """Turn a sentence into ``{"x": [1, S], "lengths": [1]}`` int64.

        Raises:
            InputError: The text holds no word.
            ModelError: The preprocessing is not of this task.
        """
        numbers = numbered(text.strip(), _tokenizer(preprocessing, "source"))
        if len(numbers) == 0:
            raise InputError("the text holds no word; give a sentence")
        return {"x": numbers[None], "lengths": np.array([len(numbers)])}

    def sample(self, folder: Path) -> Path:
        """Write a generated sentence as ``sentence.txt``, and return its path.

        Raises:
            OutputError: The file cannot be written.
        """
        path = folder / "sentence.txt"
        write_text(path, generated(1, "test")[0][0] + "\n")
        return path

    def answer(self, outputs: Mapping[str, NDArray[Any]], preprocessing: Mapping[str, Any]) -> str:
        """Give the translation; a line for each row.

        Raises:
            InputError: The outputs are not subwords.
            ModelError: The preprocessing is not of this task.
        """
        found = decode(_symbols(outputs), preprocessing)
        return "\n".join(sentence or "(nothing)" for sentence in found)

    def labels(self) -> Sequence[str]:
        """Return no names: the subwords are in the preprocessing."""
        return ()


@dataclass(frozen=True, kw_only=True)
class PairSplit(SequenceSplit):
    """Sentences of two languages; their subwords can be joined to what was written.

    Attributes:
        preprocessing: The subwords of both languages.
    """

    preprocessing: Mapping[str, Any]

    @staticmethod
    def of(pairs: Pairs, preprocessing: Mapping[str, Any]) -> PairSplit:
        """Number the subwords of all sentences."""
        read, written = (_tokenizer(preprocessing, side) for side in ("source", "target"))
        return PairSplit(
            sequences=[numbered(pair[0], read) for pair in pairs],
            targets=[np.append(numbered(pair[1], written), END) for pair in pairs],
            feeds_lengths=True,
            preprocessing=preprocessing,
        )


def read_pairs(folder: Path, part: str) -> Pairs:
    """Read sentences and their translations.

    Raises:
        InputError: A file is missing or broken, or they differ in their number of lines.
    """
    inner = folder / "data" / "task1" / "raw"
    folder = inner if inner.is_dir() else folder
    sides = []
    for language in ("en", "de"):
        path = folder / f"{part}.{language}.gz"
        try:
            with gzip.open(path, "rt", encoding="utf-8") as file:
                sides.append([line.strip() for line in file])
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path} cannot be read: {error}; name the folder of Multi30k, or fetch it with "
                f"--download"
            ) from None
    if len(sides[0]) != len(sides[1]) or not sides[0]:
        raise InputError(f"{folder}: {part}.en.gz and {part}.de.gz do not go together")
    return list(zip(*sides, strict=True))


def learned(sentences: Iterable[str]) -> str:
    """Learn subwords by merging what stands together most often; return the tokenizer's JSON.

    Source: Sennrich et al., "Neural machine translation of rare words with subword units",
    ACL 2016, on bytes.
    """
    with needs("translate"):
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(unk_token=_SPECIAL[3]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(sentences, trainer)
    return str(made.to_str())


def numbered(sentence: str, tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Number the subwords of a sentence ``[S]``."""
    return np.array(tokenizer.encode(sentence).ids, np.int64)


def decode(symbols: NDArray[Any], preprocessing: Mapping[str, Any]) -> list[str]:
    """Join subwords ``[B, L]`` to sentences."""
    tokenizer = _tokenizer(preprocessing, "target")
    rows = [[int(symbol) for symbol in row if symbol > END] for row in symbols]
    return [str(tokenizer.decode(row)).strip() for row in rows]


def generated(count: int, part: str) -> Pairs:
    """Make sentences in two languages from a few words; no real text."""
    rng = np.random.default_rng(sum(part.encode()))
    who = (
        ("a man", "ein Mann"),
        ("a woman", "eine Frau"),
        ("a child", "ein Kind"),
        ("a dog", "ein Hund"),
        ("two girls", "zwei Mädchen"),
    )
    does = (
        ("runs", "rennt", "run", "rennen"),
        ("sings", "singt", "sing", "singen"),
        ("waits", "wartet", "wait", "warten"),
        ("jumps", "springt", "jump", "springen"),
    )
    where = (
        ("in a park", "in einem Park"),
        ("on a street", "auf einer Straße"),
        ("near the water", "am Wasser"),
        ("at night", "nachts"),
    )
    pairs = []
    for _ in range(count):
        subject, verb, place = (rows[int(rng.integers(len(rows)))] for rows in (who, does, where))
        many = 2 if subject[0].startswith("two") else 0
        english, german = verb[many], verb[many + 1]
        if rng.integers(2):  # German turns verb and subject round after a place
            pairs.append(
                (f"{place[0]} {subject[0]} {english}.", f"{place[1]} {german} {subject[1]}.")
            )
        else:
            pairs.append(
                (f"{subject[0]} {english} {place[0]}.", f"{subject[1]} {german} {place[1]}.")
            )
    return pairs


def _tokenizer(preprocessing: Mapping[str, Any], side: str) -> Tokenizer:
    text = preprocessing.get(side)
    if preprocessing.get("kind") != KIND or not isinstance(text, str):
        raise ModelError(
            "the model's preprocessing is not the subwords of task translate; train and export it "
            "again"
        )
    return _opened(text)


@lru_cache(maxsize=4)
def _opened(text: str) -> Tokenizer:
    with needs("translate"):
        from tokenizers import Tokenizer
    try:
        return Tokenizer.from_str(text)
    except Exception:  # what the package raises has no type of its own
        raise ModelError("the model's subwords cannot be read; train and export it again") from None


def _symbols(outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    return output_of(outputs, "translate", ("B", "L"), "integers, subwords", integers=True)


TASK = Translate()
