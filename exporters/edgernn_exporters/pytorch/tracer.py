"""Keep PyTorch's tracer quiet, and tell in one line why it failed."""

from __future__ import annotations

import contextlib
import io
import logging
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

_LOGGERS = ("torch.onnx", "torch.fx.experimental.symbolic_shapes")
_NOT_THE_USERS = tuple(str(Path(place).parent) for place in (torch.__file__, __file__))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence notes about packages that are not involved, and the graphs that failures print."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def reason_of(error: BaseException) -> str:
    """Return why a module cannot be traced, and the line of its code where known, in one line."""
    text = str(error).strip() or type(error).__name__
    if "data-dependent" in text:
        text = "the values of a tensor decide what is done, or a size"
    where = [
        f"{Path(frame.filename).name}, line {frame.lineno} ({frame.line}): "
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((*_NOT_THE_USERS, "<"))
    ]
    return ("".join(where[-1:]) + " ".join(filter(None, text.splitlines()[:3])))[:500]
