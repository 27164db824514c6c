"""The data, the training and the verdicts of the script on integer accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

SCRIPTS = Path(__file__).parents[3] / "benchmarks" / "scripts"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Write a file like ETTh1.csv: seven sums of waves, an hour a row."""
    hours = np.arange(14500)[:, None]
    waves = np.sin(hours * 2 * np.pi / np.array([24, 12, 8, 24, 48, 24, 6])) + 0.01 * hours
    lines = [f"2016,{','.join(f'{value:.4f}' for value in row)}" for row in waves]
    path = tmp_path / "ETTh1.csv"
    path.write_text("\n".join(["date,a,b,c,d,e,f,g", *lines]))
    return path


def test_windows_follow_one_another_and_know_only_the_training_rows(table: Path) -> None:
    import etth_forecast

    series = etth_forecast.read(table)
    assert series.rows.shape == (14400, 7)
    np.testing.assert_allclose(series.rows[:8640].mean(axis=0), 0, atol=1e-3)
    for split, count in (("train", 8640 - 119), ("validation", 2880 - 23), ("test", 2880 - 23)):
        x, wanted = series.windows(split)
        assert x.shape == (count, 96, 7)
        assert wanted.shape == (count, 24, 7)
    np.testing.assert_array_equal(wanted[-1], series.rows[-24:])
    np.testing.assert_array_equal(x[1, -1], series.rows[11520])


def test_the_error_is_that_of_the_last_forecast(table: Path) -> None:
    import etth_forecast

    series = etth_forecast.read(table)

    def repeat_last(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.tile(x, (1, 1, 24))

    x, wanted = series.windows("test")
    expected = np.square(x[:, -1:] - wanted).mean()
    assert etth_forecast.mean_squared_error(repeat_last, series, "test") == pytest.approx(expected)


def test_training_keeps_the_best_epoch(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import etth_forecast

    monkeypatch.setitem(etth_forecast.SPLITS, "train", (0, 500))
    monkeypatch.setitem(etth_forecast.SPLITS, "validation", (500, 700))
    series = etth_forecast.read(table)
    torch.manual_seed(0)
    model = etth_forecast.Forecaster(4)

    def error() -> float:
        return etth_forecast.mean_squared_error(
            lambda x: model(torch.from_numpy(x)).numpy(), series, "validation"
        )

    before = error()
    etth_forecast.train(model, series, epochs=3, rate=1e-2, seed=0)
    assert error() < before


def test_each_number_is_judged_by_its_limit() -> None:
    import integer_accuracy

    names = ["float32", *integer_accuracy.KEYWORDS_LIMITS]
    accuracy = dict.fromkeys(names, 0.9) | {"w8a16": 0.898}
    sizes = {"float32": 1000, "int8": 290, "int4": 200}
    folds = [{"cell": cell, "accuracy": accuracy, "bytes": sizes} for cell in ("gru", "lstm")]
    errors = {"float32": 0.5, "int8": 0.51, "w8a16": 0.5, "int8 trained": 0.6}
    found = {item.what: item for item in integer_accuracy.judge(folds, errors)}
    failed = {what for what, item in found.items() if not item.holds}
    assert failed == {
        *(f"{cell}-64 w8a16, points below float32" for cell in ("gru", "lstm")),
        *(f"{cell}-64 int4, share of the float32 file" for cell in ("gru", "lstm")),
        "forecast int8 trained, error above float32",
    }
    assert found["gru-64 w8a16, points below float32"].value == pytest.approx(0.2)
