"""Models that all tests of this folder may read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.models import write_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return what writes a small model once for each set of options."""
    folder = tmp_path_factory.mktemp("models")

    def write(**options: Any) -> Path:
        name = "-".join(f"{key}={value}" for key, value in sorted(options.items()))
        path = folder / f"{name}.onnx"
        return path if path.exists() else write_model(path, **options)

    return write
