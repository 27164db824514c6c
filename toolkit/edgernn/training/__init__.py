"""Train recurrent networks with PyTorch and keep the result as safetensors and JSON.

This is the only part of the toolkit that uses PyTorch, and importing it does not: the names below
load their modules when first used, so that configuration alone stays cheap.

`to_quantized` and the layers `QuantLSTM`, `QuantGRU`, `QuantRNN` and `QuantLinear` bring
quantization-aware training to modules of your own. `recurrent_cell` marks a cell of your own, so
that a Python loop over it can be exported.

Example:
    >>> from edgernn.training import ModelConfig
    >>> ModelConfig("gru", input_size=40, hidden_size=64, output_size=10).layers
    1
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgernn.training.cells import recurrent_cell
    from edgernn.training.checkpoint import load_run, load_weights
    from edgernn.training.config import CELLS, PRECISIONS, ModelConfig, TrainOptions, advised
    from edgernn.training.loop import train
    from edgernn.training.losses import LOSSES
    from edgernn.training.models import (
        NETWORKS,
        ForecastModel,
        LanguageModel,
        SequenceModel,
        TextClassifier,
        build_model,
    )
    from edgernn.training.progress import Progress, show_progress
    from edgernn.training.quantized import (
        QuantGRU,
        QuantLinear,
        QuantLSTM,
        QuantRNN,
        observing,
        ranges_of,
        to_float,
        to_quantized,
    )
    from edgernn.training.runs import EpochRecord, QatInfo, RunInfo, read_run
    from edgernn.training.tensorboard import log_to_tensorboard

_MODULES = {
    "CELLS": "config",
    "LOSSES": "losses",
    "NETWORKS": "models",
    "PRECISIONS": "config",
    "EpochRecord": "runs",
    "ForecastModel": "models",
    "LanguageModel": "models",
    "ModelConfig": "config",
    "Progress": "progress",
    "QatInfo": "runs",
    "QuantGRU": "quantized",
    "QuantLSTM": "quantized",
    "QuantLinear": "quantized",
    "QuantRNN": "quantized",
    "RunInfo": "runs",
    "SequenceModel": "models",
    "TextClassifier": "models",
    "TrainOptions": "config",
    "advised": "config",
    "build_model": "models",
    "load_run": "checkpoint",
    "load_weights": "checkpoint",
    "log_to_tensorboard": "tensorboard",
    "observing": "quantized",
    "ranges_of": "quantized",
    "read_run": "runs",
    "recurrent_cell": "cells",
    "show_progress": "progress",
    "to_float": "quantized",
    "to_quantized": "quantized",
    "train": "loop",
}

__all__ = [
    "CELLS",
    "LOSSES",
    "NETWORKS",
    "PRECISIONS",
    "EpochRecord",
    "ForecastModel",
    "LanguageModel",
    "ModelConfig",
    "Progress",
    "QatInfo",
    "QuantGRU",
    "QuantLSTM",
    "QuantLinear",
    "QuantRNN",
    "RunInfo",
    "SequenceModel",
    "TextClassifier",
    "TrainOptions",
    "advised",
    "build_model",
    "load_run",
    "load_weights",
    "log_to_tensorboard",
    "observing",
    "ranges_of",
    "read_run",
    "recurrent_cell",
    "show_progress",
    "to_float",
    "to_quantized",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
