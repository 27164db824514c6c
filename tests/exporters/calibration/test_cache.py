from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.graphs import normal
from helpers.models import write_model

from edgernn.errors import InputError
from edgernn.integer import Ranges
from edgernn.npz import write_npz
from edgernn_exporters.calibration import calibrate_file
from edgernn_exporters.calibration.cache import cache_path
from edgernn_runtimes import load

open_cpu = partial(load, target="cpu", threads=1)


class Runs:
    """Count how often a model is opened, that is, calibrated."""

    def __init__(self, folder: Path) -> None:
        self.model = write_model(folder / "kw.onnx", cell="lstm")
        self.data = folder / "data.npz"
        write_npz(self.data, {"x": normal(1, 30, 20, 8)})
        self.count = 0

    def __call__(self, **options: Any) -> Ranges:
        return calibrate_file(self.model, self.data, load=self._open, **options)

    def _open(self, path: Path) -> Any:
        self.count += 1
        return open_cpu(path)


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path)


def test_equal_calibrations_run_once(runs: Runs) -> None:
    first = runs()
    assert cache_path(runs.model).name == "kw.onnx.calibration.json"
    second = runs()
    assert runs.count == 1
    assert second == first
    assert Ranges.from_json(first.to_json(), "here") == first


def test_another_method_other_samples_data_or_weights_run_again(runs: Runs) -> None:
    runs(method="minmax")
    runs(method="percentile")
    assert runs.count == 2
    assert runs(method="percentile", samples=10).sequences == 10
    assert runs.count == 3
    write_npz(runs.data, {"x": normal(2, 30, 20, 8)})
    before = runs(method="percentile", samples=10)
    assert runs.count == 4
    write_model(runs.model, cell="lstm", seed=1)
    assert runs(method="percentile", samples=10) != before
    assert runs.count == 5
    runs(method="percentile", samples=10)
    assert runs.count == 5


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": 3}', "\udcff"])
def test_a_broken_file_is_replaced(runs: Runs, content: str) -> None:
    first = runs()
    cache_path(runs.model).write_bytes(content.encode(errors="surrogateescape"))
    assert runs() == first
    assert runs.count == 2
    assert runs() == first
    assert runs.count == 2


def test_a_refusal_is_not_kept(runs: Runs) -> None:
    write_npz(runs.data, {"x": normal(2, 1, 20, 8)})
    with pytest.raises(InputError, match="20 time steps"):
        runs()
    assert not cache_path(runs.model).exists()


def test_a_folder_that_cannot_be_written_to_does_no_harm(runs: Runs) -> None:
    first = runs()
    cache_path(runs.model).unlink()
    cache_path(runs.model).mkdir()  # stands for a folder without permission, also for root
    assert runs() == first
