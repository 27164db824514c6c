"""What the measurements ran on, without anything that identifies a person or a network."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from edgernn_benchmarks.measure import timer_overhead_ns

PACKAGES = (
    "edgernn", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "torch", "onnxscript",
    "ziglang", "emx-onnx-cgen", "openvino", "tract",
)  # fmt: skip
_SYS = Path("/sys/devices/system/cpu")


def capture(targets: Sequence[str] = ()) -> dict[str, Any]:
    """Describe this machine and the software on it.

    Reads local files only, plus ``git`` for the revision of a source checkout of edgernn and, if
    ``cuda`` is among the targets, ``nvidia-smi``. No host name, user name, path or address.

    Args:
        targets: The targets that are measured.

    Returns:
        JSON values; None for what this system does not tell.
    """
    return {
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "architecture": platform.machine(),
        "cores_online": os.cpu_count(),
        "cores_usable": _usable_cores(),
        "cpu_governor": _first_line(_SYS / "cpu0/cpufreq/scaling_governor"),
        "memory_bytes": _memory_bytes(),
        "os": operating_system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": _versions(),
        "edgernn_revision": git_revision(),
        "gpu": _gpu() if "cuda" in targets else None,
        "timer_overhead_ns": timer_overhead_ns(),
    }


def conditions() -> dict[str, Any]:
    """Return what can change during a run: load average, clock in MHz, temperature in °C.

    The clock is what the system requested, where it tells that; throttling may be below it.
    """
    clock_khz = _number(_SYS / "cpu0/cpufreq/scaling_cur_freq")
    zones = Path("/sys/class/thermal").glob("thermal_zone*/temp")
    temperatures = [value / 1000 for zone in zones if (value := _number(zone)) is not None]
    return {
        "load_average_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "clock_mhz": clock_khz / 1000 if clock_khz is not None else None,
        "temperature_c": max(temperatures, default=None),
    }


def cpu_model() -> str | None:
    """Return the processor's name, or None if the system does not tell."""
    info = _read(Path("/proc/cpuinfo")) or ""
    for wanted in ("model name", "Model", "Hardware"):
        for line in info.splitlines():
            key, _, value = line.partition(":")
            if key.strip() == wanted and value.strip():
                return value.strip()
    return platform.processor() or None


def operating_system() -> str:
    """Return system and kernel release, such as ``Linux 6.1.0``, and whether it is real-time.

    What follows a dash in the release is left out, because it can name who built the kernel; a
    kernel with PREEMPT_RT says so, because its latencies are others.
    """
    name = f"{platform.system()} {platform.release().partition('-')[0]}"
    version = platform.version().replace("PREEMPT RT", "PREEMPT_RT")  # as Linux 4 spells it
    return name + (" PREEMPT_RT" if "PREEMPT_RT" in version else "")


def git_revision() -> str | None:
    """Return the commit of a source checkout of edgernn, with ``+`` if files were changed.

    An installed package inside somebody else's repository is not a checkout: the file must be
    tracked.
    """
    folder, git = Path(__file__).resolve().parent, shutil.which("git")
    if git is None or _run([git, "ls-files", "--error-unmatch", "__init__.py"], folder) is None:
        return None
    revision = _run([git, "rev-parse", "--short=12", "HEAD"], folder)
    changed = _run([git, "status", "--porcelain", "--untracked-files=no"], folder)
    return None if revision is None else revision + ("+" if changed else "")


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _usable_cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _gpu() -> str | None:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    answer = _run(query, None)
    return answer.splitlines()[0].replace(", ", ", driver ") if answer else None


def _run(command: list[str], folder: Path | None) -> str | None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=10, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def _first_line(path: Path) -> str | None:
    text = _read(path)
    return text.strip().splitlines()[0] if text and text.strip() else None


def _number(path: Path) -> float | None:
    try:
        return float(_first_line(path) or "")
    except ValueError:
        return None
