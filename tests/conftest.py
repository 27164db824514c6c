"""Settings of all tests."""

import os
import signal
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings

# Builds are found again by content, also by the other test processes; the user's are left alone.
os.environ.setdefault("EDGERNN_CACHE", str(Path(tempfile.gettempdir()) / "edgernn-test-builds"))

# A background job begins with Ctrl-C ignored, and so would the commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "edgernn",
    derandomize=True,  # the same cases in every run, here and in CI
    database=None,
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("edgernn")
