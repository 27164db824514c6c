"""Find the packages and programs that parts of edgernn need beside the targets."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from edgernn_runtimes.targets import Probe


@dataclass(frozen=True)
class Tool:
    """Name something that may be missing.

    Attributes:
        purpose: What it is needed for.
        install: Command that installs it.
        package: Python package, or empty.
        program: Program on the PATH, or empty.
    """

    purpose: str
    install: str
    package: str = ""
    program: str = ""


TOOLS = {
    "torch": Tool("train, export", "pip install 'edgernn[train,export]'", package="torch"),
    "accelerate": Tool("train", "pip install 'edgernn[train]'", package="accelerate"),
    "onnxscript": Tool("export", "pip install 'edgernn[export]'", package="onnxscript"),
    "safetensors": Tool("train, export", "pip install 'edgernn[train]'", package="safetensors"),
    "pooch": Tool("train --download", "pip install 'edgernn[train]'", package="pooch"),
    "cmake": Tool("building emitted C projects", "apt-get install cmake", program="cmake"),
    "clang": Tool("testing emitted C", "apt-get install clang", program="clang"),
    "emx-onnx-cgen": Tool(
        "compile operators without a kernel of our own",
        "pip install 'edgernn[embedded]'",
        package="emx_onnx_cgen",
    ),
    "pyelftools": Tool(
        "measure emulated targets", "pip install 'edgernn[embedded]'", package="elftools"
    ),
    "ziglang": Tool(
        "build C where there is no other compiler",
        "pip install 'edgernn[embedded]'",
        package="ziglang",
    ),
    "espeak-ng": Tool(
        "making the spoken digits again", "apt-get install espeak-ng", program="espeak-ng"
    ),
    "chromium": Tool("testing the report page", "apt-get install chromium", program="chromium"),
}


def find_tool(name: str) -> Probe:
    """Say whether one of `TOOLS` is installed, and which version."""
    tool = TOOLS[name]
    if tool.package:
        if find_spec(tool.package) is None:
            return Probe(False, f"not installed; needed to {tool.purpose}", tool.install)
        try:
            return Probe(True, metadata.version(name))
        except metadata.PackageNotFoundError:  # installed without metadata, or under another name
            return Probe(True, "version unknown")
    path = shutil.which(tool.program)
    if path is None:
        return Probe(False, f"not installed; needed for {tool.purpose}", tool.install)
    return Probe(True, _version(path))


def _version(path: str) -> str:
    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True, text=True, errors="replace", timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return path
    return (done.stdout.strip().splitlines() or [path])[0]
