from __future__ import annotations

import pytest

from edgernn.integer import Ranges
from edgernn_exporters.quantization.notes import notes

TRAINED = Ranges({}, "training", 1, 100, precisions={"rnn": "int4", "head": "w8a16"})


def calibrated(share: float = 0.0) -> Ranges:
    return Ranges({}, "minmax", 1, 100, {"rnn": {"pre_activation": share}})


@pytest.mark.parametrize(
    ("rnn", "head", "words"),
    [
        ("int4", "w8a16", []),
        ("int4", "float32", []),
        ("int4", "int8", ["head: trained for w8a16 and quantized to int8, "]),
        ("fp16", "fp16", ["rnn: trained for int4 and", "head: trained for w8a16 and"]),
    ],
)
def test_each_layer_is_held_against_its_training(rnn: str, head: str, words: list[str]) -> None:
    found = notes({"rnn": rnn, "head": head}, None, TRAINED)
    assert len(found) == len(words)
    assert all(line.startswith(start) for line, start in zip(found, words, strict=True))


@pytest.mark.parametrize("precision", ["fp16", "int8-dynamic"])
def test_calibration_that_is_not_used_is_noted(precision: str) -> None:
    (line,) = notes({"rnn": precision}, calibrated(0.9), None)
    assert line == "the calibration data are not used: no layer has int8 or w8a16 or int4"


def test_ranges_that_replace_others_are_noted() -> None:
    assert notes({"rnn": "int4"}, calibrated(), None) == ()
    (line,) = notes({"rnn": "int4", "head": "w8a16"}, calibrated(), TRAINED)
    assert "replace those from training" in line


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.5, 0), (0.63, 1)])
def test_data_on_another_scale_are_noted(share: float, count: int) -> None:
    found = notes({"rnn": "int8", "head": "int8"}, calibrated(share), None)
    assert len(found) == count
    assert all("63% of the pre-activations of rnn are beyond ±8" in line for line in found)
