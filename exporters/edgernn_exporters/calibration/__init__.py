"""Calibration: find the ranges of a model's layers on real sequences, with the state fed back."""

from edgernn_exporters.calibration.calibrate import DEFAULT_METHOD, calibrate, calibrate_file
from edgernn_exporters.calibration.methods import METHODS
from edgernn_exporters.calibration.sequences import SAMPLES, read_sequences

__all__ = [
    "DEFAULT_METHOD",
    "METHODS",
    "SAMPLES",
    "calibrate",
    "calibrate_file",
    "read_sequences",
]
