"""The task keywords: splits by source, the score, a user's files, the answer."""

import wave

import numpy as np
import pytest

from edgernn.audio import LogMel
from edgernn.errors import InputError, ModelError, UsageError
from edgernn.tasks import TASKS, get_task
from edgernn.tasks.base import DataSource, Task
from edgernn.tasks.keywords import TASK
from edgernn.tasks.keywords.data import Clip
from edgernn.tasks.keywords.fetch import FSDD
from edgernn.tasks.keywords.task import Keywords


def test_every_task_can_be_had_by_its_name():
    task: Task = get_task("keywords")
    assert task is TASK
    assert task.name == "keywords"
    assert "keywords" in TASKS
    with pytest.raises(UsageError, match=r'no task "cooking".*keywords'):
        get_task("cooking")


def test_sizes_and_labels_agree():
    assert TASK.output_size == len(TASK.labels()) == 10
    assert TASK.input_size == TASK.preprocessing()["bands"] == 40
    assert TASK.frame_rate_hz == 100.0
    assert LogMel.from_json(TASK.preprocessing()) == LogMel()


def test_the_recipe_can_stop_early():
    assert TASK.recipe.patience < TASK.recipe.epochs


def test_the_shipped_data_needs_no_folder():
    splits = TASK.splits(DataSource())
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 400,
        "validation": 60,
        "test": 120,
    }
    batch = next(splits["train"].epoch(0, seed=0, batch_size=16))
    assert batch.x.shape[0] == 16


def test_nobody_can_be_held_out_of_the_shipped_data():
    with pytest.raises(UsageError, match="--data"):
        TASK.splits(DataSource(holdout="theo"))


def test_a_folder_that_is_not_the_dataset(tmp_path):
    with pytest.raises(InputError, match="Free Spoken Digit Dataset"):
        TASK.splits(DataSource(folder=tmp_path))


def test_a_download_goes_into_the_folder(tmp_path, monkeypatch):
    asked = []

    def fake(folder):
        asked.append(folder)
        raise InputError("no network here")

    monkeypatch.setattr("edgernn.tasks.keywords.recordings.fetch", fake)
    with pytest.raises(InputError, match="no network"):
        TASK.splits(DataSource(folder=tmp_path, download=True))
    assert asked == [tmp_path]
    assert FSDD.url.startswith("https://github.com/Jakobovski/")


def test_the_real_dataset(fsdd):
    splits = TASK.splits(DataSource(folder=fsdd, holdout="george"))
    assert len(splits["test"]) == 500
    lengths = [batch.x.shape[1] for batch in splits["test"].batches(100)]
    assert min(lengths) >= 10


class OneSplit:
    """Ten clips whose features say what their digit is."""

    def __len__(self):
        return 10

    def epoch(self, epoch, *, seed, batch_size):
        raise AssertionError("a score is not measured on training batches")

    def batches(self, batch_size):
        from edgernn.tasks.base import Batch

        yield Batch(np.zeros((10, 4, 40), np.float32), np.full(10, 4), np.arange(10))


def test_the_score_goes_by_the_mean_over_time():
    logits = np.zeros((10, 4, 10), np.float32)
    logits[np.arange(10), 0, np.arange(10)] = 5.0
    logits[:, 1, 0] = 3.0  # Most frames are for zero, the mean is not.
    logits[:, 2, 0] = 1.0
    assert TASK.score(lambda inputs: {"y": logits}, OneSplit()) == {"accuracy": 1.0}
    logits[3:, 3, 0] = 3.0
    assert TASK.score(lambda inputs: {"y": logits}, OneSplit()) == {"accuracy": pytest.approx(0.3)}


@pytest.mark.parametrize(
    "outputs", [{}, {"y": np.zeros((10, 10))}, {"y": np.zeros((1, 4, 9))}, {"z": np.zeros(3)}]
)
def test_outputs_that_are_no_logits(outputs):
    with pytest.raises(InputError, match="trained for keywords"):
        TASK.score(lambda inputs: outputs, OneSplit())
    with pytest.raises(InputError, match="trained for keywords"):
        TASK.answer(outputs, {})


def test_an_empty_split_has_no_score():
    class Empty(OneSplit):
        def batches(self, batch_size):
            return iter(())

    with pytest.raises(InputError, match="empty"):
        TASK.score(lambda inputs: {}, Empty())


def test_the_answer_is_a_word():
    y = np.zeros((2, 5, 10), np.float32)
    y[0, :, 7] = 5.0
    y[1, :, 0] = 100.0
    assert TASK.answer({"y": y[:1]}, {}) == "seven (0.94)"
    assert TASK.answer({"y": y}, {}) == "seven (0.94), zero (1.00)"


def write_wav(path, samples, rate_hz, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(np.rint(samples * 32767).astype("<i2").repeat(channels).tobytes())


@pytest.mark.parametrize(("rate_hz", "channels"), [(8000, 1), (16000, 2), (44100, 1), (48000, 2)])
def test_a_recording_of_any_rate_gives_about_the_same_features(tmp_path, rate_hz, channels):
    time_s = np.arange(rate_hz // 2) / rate_hz
    tone = 0.3 * np.sin(2 * np.pi * 700 * time_s) * np.sin(2 * np.pi * time_s)
    write_wav(tmp_path / "a.WAV", tone, rate_hz, channels)
    x = TASK.read(tmp_path / "a.WAV", TASK.preprocessing())["x"]
    assert x.shape == (1, 48, 40)
    assert x.dtype == np.float32
    wanted = LogMel()(0.3 * np.sin(2 * np.pi * 700 * np.arange(4000) / 8000))
    assert x[0, 24].argmax() == wanted[24].argmax()


def test_features_from_npz(tmp_path):
    x = np.random.default_rng(0).standard_normal((7, 40))
    np.savez(tmp_path / "two.npz", x=x)
    np.savez(tmp_path / "three.npz", x=x[None].astype(np.float32))
    for name in ("two", "three"):
        read = TASK.read(tmp_path / f"{name}.npz", TASK.preprocessing())["x"]
        assert read.shape == (1, 7, 40)
        assert read.dtype == np.float32
        np.testing.assert_allclose(read[0], x, rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "reason"),
    [
        (np.zeros((7, 39)), "expected floating point"),
        (np.zeros((2, 7, 40)), "expected floating point"),
        (np.zeros((0, 40)), "expected floating point"),
        (np.zeros((7, 40), int), "expected floating point"),
        (np.array(["a"]), "expected floating point"),
        (np.full((7, 40), np.nan), "NaN"),
    ],
)
def test_features_that_do_not_fit(tmp_path, x, reason):
    np.savez(tmp_path / "a.npz", x=x)
    with pytest.raises(InputError, match=reason):
        TASK.read(tmp_path / "a.npz", TASK.preprocessing())


def test_files_that_are_none(tmp_path):
    preprocessing = TASK.preprocessing()
    (tmp_path / "text.npz").write_text("no zip")
    np.save(tmp_path / "array.npy", np.zeros((7, 40)))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    np.savez(tmp_path / "other.npz", y=np.zeros(3))
    np.savez(tmp_path / "object.npz", x=np.array([{}], object))
    for name in ("text.npz", "array.npz", "other.npz", "object.npz"):
        with pytest.raises(InputError, match=r"numpy\.savez"):
            TASK.read(tmp_path / name, preprocessing)
    for name in ("none.npz", "none.wav"):
        with pytest.raises(InputError, match="no such file"):
            TASK.read(tmp_path / name, preprocessing)
    write_wav(tmp_path / "slow.wav", np.zeros(10), 100)
    with pytest.raises(InputError, match="cut the recording"):
        TASK.read(tmp_path / "slow.wav", preprocessing)


def test_a_model_with_other_preprocessing(tmp_path):
    with pytest.raises(ModelError, match="kind"):
        TASK.read(tmp_path / "a.wav", {"kind": "mfcc"})


def test_clips_and_tasks_are_plain_values():
    assert Keywords().recipe == TASK.recipe
    assert Clip(np.zeros(1, np.float32), 1, "ann").index == 0
