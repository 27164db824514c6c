from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.graphs import normal
from helpers.models import write_model
from hypothesis import given
from hypothesis import strategies as st

from edgernn.errors import InputError, UsageError
from edgernn.metadata import Metadata
from edgernn.npz import write_npz
from edgernn.sessions import Arrays
from edgernn.tasks import get_task
from edgernn.tasks.base import DataSource
from edgernn_exporters.calibration import calibrate, read_sequences
from edgernn_exporters.calibration.sequences import _spread
from edgernn_exporters.onnx_files import read_model
from edgernn_runtimes import load


def read(
    folder: Path, arrays: Arrays, *, contract: bool = True, samples: int = 200
) -> list[Arrays]:
    path = write_model(folder / "a.onnx", contract=contract)
    write_npz(folder / "data.npz", arrays)
    return read_sequences(folder / "data.npz", read_model(path)[1], samples=samples)


@given(count=st.integers(1, 300), samples=st.integers(1, 300))
def test_samples_are_drawn_evenly_and_the_same_each_time(count: int, samples: int) -> None:
    chosen = _spread(count, samples)
    assert len(chosen) == min(count, samples)
    assert (np.diff(chosen) > 0).all()
    assert 0 <= chosen[0] <= chosen[-1] < count
    assert chosen[0] <= count / len(chosen)
    assert chosen[-1] >= count - count / len(chosen) - 1
    np.testing.assert_array_equal(chosen, _spread(count, samples))


def test_one_array_holds_sequences_of_one_length(tmp_path: Path) -> None:
    x = normal(1, 40, 7, 8)
    rows = np.concatenate([item["x"] for item in read(tmp_path, {"x": x})])
    np.testing.assert_array_equal(rows, x)
    rows = np.concatenate([item["x"] for item in read(tmp_path, {"x": x}, samples=10)])
    assert rows.shape == (10, 7, 8)


def test_numbered_arrays_are_sequences_of_their_own(tmp_path: Path) -> None:
    arrays = {f"x.{n}": normal(n, 1, n, 8) for n in range(1, 21)}
    got = read(tmp_path, arrays)
    assert [item["x"].shape[1] for item in got] == list(range(1, 21))
    assert len(read(tmp_path, arrays, samples=4)) == 4


def test_numbered_and_plain_names_do_not_mix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"name either all arrays with the number .* or none"):
        read(tmp_path, {"x": normal(1, 1, 9, 8), "x.1": normal(1, 1, 9, 8)})


def test_a_missing_number_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds sequences 0 and 2 and none between"):
        read(tmp_path, {"x.0": normal(1, 1, 9, 8), "x.2": normal(1, 1, 9, 8)})


@pytest.mark.parametrize("contract", [True, False])
def test_data_that_never_change_are_refused(tmp_path: Path, contract: bool) -> None:
    flat = np.zeros((3, 200, 8), np.float32)
    with pytest.raises(InputError, match="no channel of the data ever changes"):
        read(tmp_path, {"x": flat}, contract=contract)
    flat[2, 150, 7] = 1
    read(tmp_path, {"x": flat}, contract=contract)


def test_each_channel_is_looked_at_over_batch_time_and_sequences(tmp_path: Path) -> None:
    channels = np.arange(8, dtype=np.float32)
    flat = {f"x.{n}": np.tile(channels, (1, 9 + n, 1)) for n in range(3)}
    with pytest.raises(InputError, match="no channel of the data ever changes"):
        read(tmp_path, flat)
    read(tmp_path, {**flat, "x.2": flat["x.2"] + 1})


def test_without_a_contract_the_arrays_are_taken_as_they_are(tmp_path: Path) -> None:
    arrays = {"x": normal(1, 3, 9, 8), "h_l0": np.zeros((1, 3, 16), np.float32)}
    (got,) = read(tmp_path, arrays, contract=False)
    assert list(got) == ["x", "h_l0"]
    assert got["x"].shape == (3, 9, 8)


def test_wrong_arrays_reach_the_check_of_the_model(tmp_path: Path) -> None:
    for arrays in ({"z": normal(1, 5)}, {"x": np.float32(3)}, {"x": normal(1, 4)}):
        sequences = read(tmp_path, arrays)
        with pytest.raises(InputError, match="calibration sequence 0: "):
            calibrate(tmp_path / "a.onnx", sequences, load=load)


def test_a_task_gives_its_training_data_and_no_other() -> None:
    got = read_sequences("task:keywords", Metadata(task="keywords"), samples=30)
    rows = [row for item in got for row in item["x"]]
    assert len(rows) == 30
    lengths = {len(row) for row in rows}
    assert len(lengths) > 5
    train = [row for batch in get_task("keywords").splits(DataSource())["train"].batches(50)
             for row in batch.x]  # fmt: skip
    known = {row.tobytes() for row in train}
    assert all(row.tobytes() in known for row in rows)


def test_recordings_are_read_as_the_task_does(tmp_path: Path) -> None:
    task = get_task("keywords")
    wav = task.sample(tmp_path)
    path = write_model(
        tmp_path / "a.onnx", input_size=40, task="keywords", preprocessing=task.preprocessing()
    )
    metadata = read_model(path)[1]
    want = task.read(wav, task.preprocessing())["x"]
    for data in (wav, tmp_path):
        (got,) = read_sequences(data, metadata)
        np.testing.assert_array_equal(got["x"], want)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"there is no \.wav file in this folder"):
        read_sequences(tmp_path / "empty", metadata)
    plain = read_model(write_model(tmp_path / "b.onnx"))[1]
    with pytest.raises(InputError, match="names no task"):
        read_sequences(wav, plain)


def test_what_is_asked_for_must_exist(tmp_path: Path) -> None:
    metadata = read_model(write_model(tmp_path / "a.onnx"))[1]
    with pytest.raises(UsageError, match='no task "walking"'):
        read_sequences("task:walking", metadata)
    with pytest.raises(InputError, match="cannot be read: no such file"):
        read_sequences(tmp_path / "none.npz", metadata)
    with pytest.raises(UsageError, match="--samples must be at least 1, got 0"):
        read_sequences("task:keywords", metadata, samples=0)


@pytest.mark.parametrize("name", ["forecast", "sentiment"])  # a series, and rows
@pytest.mark.parametrize("samples", [1, 4])
def test_a_task_gives_as_many_sequences_as_asked_for(name: str, samples: int) -> None:
    found = read_sequences(f"task:{name}", Metadata(), samples=samples)
    assert sum(len(item["x"]) for item in found) == samples
