"""Find the Free Spoken Digit Dataset, which is not part of the repository."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def fsdd():
    """Return the dataset's folder; skips where there is none."""
    beside = Path(__file__).parents[4].parent / "shared" / "data" / "fsdd"
    folder = Path(os.environ.get("EDGERNN_DATA") or beside)
    if not (folder / "recordings").is_dir():
        pytest.skip(f"no dataset in {folder}; set EDGERNN_DATA to a folder with recordings/")
    return folder
