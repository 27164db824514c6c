"""What the engines share: finding them, their errors, and how far off they may be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any

from edgernn.errors import ModelError, TargetUnavailable
from edgernn_runtimes import Probe

INSTALL = "pip install 'edgernn[peers]'"


@dataclass(frozen=True)
class Tolerance:
    """Say how far outputs may be from the right ones: the larger of the two.

    Attributes:
        absolute: Largest difference.
        relative: Largest difference as a share of the largest value.
    """

    absolute: float
    relative: float

    def allowed(self, largest: float) -> float:
        """Return the largest difference allowed where the largest value is ``largest``."""
        return max(self.absolute, self.relative * largest)


FLOAT = Tolerance(1e-3, 1e-5)
"""For float32. A rounding of other order stays below it; a gate or direction mixed up does not."""

INT8 = Tolerance(0.0, 0.1)
"""For an engine's own quantization, which cannot be as close."""


def import_engine(name: str, *, install: str = INSTALL) -> Any:
    """Import an engine's package.

    By name at run time, so that no part of edgernn depends on an engine that only a comparison
    needs.

    Raises:
        TargetUnavailable: It is not installed, or does not load.
    """
    found, reason = _imported(name)
    if found is None:
        raise TargetUnavailable(f"{reason}; install it with: {install}")
    return found


def probe_package(name: str, package: str, *, install: str = INSTALL) -> Probe:
    """Say whether an engine can be imported, and which version it is.

    Args:
        name: What is imported.
        package: What it is called where packages are installed from.
        install: Command that installs it.
    """
    found, reason = _imported(name)
    if found is None:
        return Probe(False, reason, install)
    return Probe(True, f"{package} {metadata.version(package)}")


def refused(engine: str, path: str | os.PathLike[str], error: object) -> ModelError:
    """Return the error for a model that an engine cannot run, with its reason in one line."""
    lines = [line.strip() for line in str(error).split("Stack backtrace")[0].splitlines()]
    text = " ".join(line for line in lines if line)
    return ModelError(
        f"{path}: {engine} cannot run it: {text[:300] or type(error).__name__}; measure this model "
        f"without that peer"
    )


def _imported(name: str) -> tuple[Any, str]:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return import_module(name), ""
    except (ImportError, OSError) as error:  # OSError: a library that the system lacks
        return None, f"{name} cannot be imported ({error})"
