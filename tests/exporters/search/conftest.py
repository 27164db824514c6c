from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from helpers.fitted import write_keyword_model

from edgernn.integer import Ranges
from edgernn.tasks import get_task
from edgernn.tasks.base import DataSource
from edgernn_exporters.calibration import calibrate_file
from edgernn_exporters.search import Judge
from edgernn_runtimes import load

open_cpu = partial(load, target="cpu", threads=1)
MakeJudge = Callable[[Path], Judge]


@pytest.fixture(scope="session")
def keywords(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a GRU for keywords."""
    return write_keyword_model(tmp_path_factory.mktemp("search") / "kw.onnx")


@pytest.fixture(scope="session")
def ranges(keywords: Path) -> Ranges:
    return calibrate_file(keywords, "task:keywords", samples=60, load=open_cpu)


@pytest.fixture(scope="session")
def judge_of() -> MakeJudge:
    """Return what compares models with a float model on the validation split."""
    task = get_task("keywords")
    split = task.splits(DataSource())["validation"]
    return lambda path: Judge(task, split, open_cpu(path))
