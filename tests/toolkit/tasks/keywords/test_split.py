"""Splits: epochs that are the same again, batches that hold everything once."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.audio import LogMel
from edgernn.tasks.keywords.augment import Ranges
from edgernn.tasks.keywords.data import Clip
from edgernn.tasks.keywords.split import KeywordSplit


def make_split(count=20, repeats=1):
    rng = np.random.default_rng(0)
    clips = [
        Clip(0.1 * rng.standard_normal(size).astype(np.float32), number % 10, "ann", number)
        for number, size in enumerate(rng.integers(1500, 4000, count))
    ]
    return KeywordSplit(tuple(clips), LogMel(), Ranges(), repeats)


SPLIT = make_split()


def arrays(split, epoch, seed, batch_size=8):
    return [
        (batch.x, batch.lengths, batch.targets)
        for batch in split.epoch(epoch, seed=seed, batch_size=batch_size)
    ]


def same(one, other):
    return len(one) == len(other) and all(
        np.array_equal(a, b)
        for x, y in zip(one, other, strict=True)
        for a, b in zip(x, y, strict=True)
    )


@settings(max_examples=10, deadline=None)
@given(epoch=st.integers(0, 1000), seed=st.integers(0, 2**32 - 1))
def test_an_epoch_is_the_same_again(epoch, seed):
    first = arrays(SPLIT, epoch, seed)
    assert same(first, arrays(make_split(), epoch, seed))
    assert not same(first, arrays(SPLIT, epoch + 1, seed))
    assert not same(first, arrays(SPLIT, epoch, seed + 1))


@pytest.mark.parametrize("repeats", [1, 3])
def test_an_epoch_takes_every_clip(repeats):
    split = make_split(repeats=repeats)
    targets = np.concatenate([batch[2] for batch in arrays(split, 0, 0)])
    assert np.bincount(targets).tolist() == [2 * repeats] * 10
    assert len(split) == 20


def test_batches_have_the_agreed_types():
    for batch in (*SPLIT.epoch(0, seed=0, batch_size=7), *SPLIT.batches(7)):
        assert batch.x.dtype == np.float32
        assert batch.lengths.dtype == batch.targets.dtype == np.int64
        assert len(batch.x) == len(batch.lengths) == len(batch.targets) <= 7
        assert batch.x.shape[1:] == (batch.lengths.max(), 40)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_measuring_takes_every_clip_once_and_pads_nothing(batch_size):
    rows = []
    for batch in SPLIT.batches(batch_size):
        assert (batch.lengths == batch.x.shape[1]).all()
        rows += [(int(target), x) for target, x in zip(batch.targets, batch.x, strict=True)]
    assert len(rows) == len(SPLIT)
    features = {SPLIT.mel(clip.samples).tobytes() for clip in SPLIT.clips}
    assert {np.ascontiguousarray(x).tobytes() for _, x in rows} == features


def test_the_task_needs_numpy_only():
    code = (
        "import sys; from edgernn.tasks import get_task; get_task('keywords'); "
        "print([name for name in ('torch', 'pooch', 'onnx', 'requests') "
        "if name in sys.modules])"
    )
    path = ":".join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": path},
    )
    assert done.stdout.strip() == "[]"
