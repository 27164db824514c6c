"""The two corpora: their splits, what they refuse, and that no voice is in two splits."""

import wave

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgernn.errors import InputError, UsageError
from edgernn.tasks.keywords.data import (
    SHIPPED,
    mu_law_decode,
    mu_law_encode,
    read_fsdd,
    read_shipped,
    speakers,
)


def write_recordings(folder, names, rate_hz=8000):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        with wave.open(str(folder / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate_hz)
            file.writeframes(np.full(rate_hz // 10, 1000, "<i2").tobytes())


NAMES = [
    f"{digit}_{speaker}_{index}.wav"
    for digit in range(10)
    for speaker in ("ann", "bob")
    for index in (0, 4, 5, 6, 8, 49)
]


@given(hnp.arrays(np.float64, st.integers(0, 50), elements=st.floats(-1, 1)))
def test_mu_law_keeps_samples_to_its_precision(samples):
    decoded = mu_law_decode(mu_law_encode(samples))
    # One step is 2.2 % of the sample, and 0.0001 near zero.
    np.testing.assert_allclose(decoded, samples, rtol=0.023, atol=1e-4)


def test_the_shipped_voices_are_in_one_split_each():
    clips = read_shipped()
    assert list(clips) == ["test", "train", "validation"]
    voices = [speakers(part) for part in clips.values()]
    assert sum(map(len, voices)) == len(set.union(*voices)) == 58
    # Nor is a timbre: what follows the accent.
    timbres = [{voice.partition("+")[2] for voice in part} for part in voices]
    assert sum(map(len, timbres)) == len(set.union(*timbres))


def test_the_shipped_corpus_is_small_and_balanced():
    assert SHIPPED.stat().st_size < 2_000_000
    clips = read_shipped()
    for part in clips.values():
        counts = np.bincount([clip.digit for clip in part], minlength=10)
        assert (counts == counts[0]).all()
        for clip in part:
            assert clip.samples.dtype == np.float32
            assert np.abs(clip.samples).max() <= 1
            assert 1500 < len(clip.samples) <= 8000


def test_the_shipped_corpus_is_the_same_at_every_call():
    for one, other in zip(read_shipped()["test"], read_shipped()["test"], strict=True):
        np.testing.assert_array_equal(one.samples, other.samples)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 nothing", None])
def test_a_broken_corpus_says_install_again(tmp_path, content):
    path = tmp_path / "digits.npz"
    if content is None:
        np.savez(path, audio=np.zeros(3, np.uint8))
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="install edgernn again"):
        read_shipped(path)


def test_the_official_split_goes_by_index(tmp_path):
    write_recordings(tmp_path / "recordings", NAMES)
    clips = read_fsdd(tmp_path)
    assert {clip.index for clip in clips["test"]} == {0, 4}
    assert {clip.index for clip in clips["validation"]} == {5, 6}
    assert {clip.index for clip in clips["train"]} == {8, 49}
    assert sum(len(part) for part in clips.values()) == len(NAMES)


def test_the_inner_folder_gives_the_same(tmp_path):
    write_recordings(tmp_path / "recordings", NAMES, rate_hz=16000)
    (tmp_path / "recordings" / "README.md").write_text("ignored")
    outer, inner = read_fsdd(tmp_path), read_fsdd(tmp_path / "recordings")
    for name, part in outer.items():
        assert [(c.digit, c.speaker, c.index) for c in part] == [
            (c.digit, c.speaker, c.index) for c in inner[name]
        ]
        assert all(len(clip.samples) == 800 for clip in part)


def test_a_speaker_held_out_is_in_the_test_only(tmp_path):
    write_recordings(tmp_path, NAMES)
    clips = read_fsdd(tmp_path, holdout="bob")
    assert speakers(clips["test"]) == {"bob"}
    assert len(clips["test"]) == len(NAMES) // 2
    assert speakers(clips["train"]) | speakers(clips["validation"]) == {"ann"}
    assert {clip.index for clip in clips["train"]} == {0, 4, 8, 49}
    assert {clip.index for clip in clips["validation"]} == {5, 6}


def test_an_unknown_speaker_is_refused_with_the_known_ones(tmp_path):
    write_recordings(tmp_path, NAMES)
    with pytest.raises(UsageError, match="ann, bob"):
        read_fsdd(tmp_path, holdout="carl")


def test_folders_that_are_not_the_dataset(tmp_path):
    (tmp_path / "empty").mkdir()
    write_recordings(tmp_path / "wrong", ["seven.wav", "12_ann_3.wav", "7_ann.wav"])
    write_recordings(tmp_path / "part", ["1_ann_0.wav", "1_ann_1.wav"])
    for name in ("empty", "wrong", "none"):
        with pytest.raises(InputError, match=r"7_theo_12\.wav"):
            read_fsdd(tmp_path / name)
    with pytest.raises(InputError, match=r"no recordings for the train split .*validation 5 and 6"):
        read_fsdd(tmp_path / "part")


def test_a_broken_recording_is_named(tmp_path):
    write_recordings(tmp_path, NAMES)
    (tmp_path / "3_ann_8.wav").write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"3_ann_8\.wav"):
        read_fsdd(tmp_path)


def test_the_real_dataset_has_its_published_sizes(fsdd):
    official = read_fsdd(fsdd)
    assert {name: len(part) for name, part in official.items()} == {
        "train": 2580,
        "validation": 120,
        "test": 300,
    }
    held = read_fsdd(fsdd, holdout="theo")
    assert {name: len(part) for name, part in held.items()} == {
        "train": 2400,
        "validation": 100,
        "test": 500,
    }
    assert len(speakers(official["test"])) == 6
