"""Settings of all tests."""

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings

# Builds are found again by content, also by the other test processes; the user's are left alone.
os.environ.setdefault("EDGERNN_CACHE", str(Path(tempfile.gettempdir()) / "edgernn-test-builds"))

settings.register_profile(
    "edgernn",
    derandomize=True,  # the same cases in every run, here and in CI
    database=None,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("edgernn")
