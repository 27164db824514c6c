"""Target ``native``: generated C, built for this machine and loaded into this process."""

from __future__ import annotations

import os
from collections.abc import Mapping

from edgernn.c_project import Compile
from edgernn.errors import TargetUnavailable
from edgernn_runtimes.native.library import compiler_version, find_compiler
from edgernn_runtimes.native.session import NativeSession
from edgernn_runtimes.targets import Probe


def load(
    path: str | os.PathLike[str],
    *,
    compile: Compile,
    isa: str | None = None,
    chunk: int | None = None,
    fixed: Mapping[str, int] | None = None,
) -> NativeSession:
    """Build a model for this machine, once for each content, and open it.

    Args:
        path: ONNX file.
        compile: Makes the C project; the composition root gives it.
        isa: ``"portable"`` for plain C, ``"avx2"``, or None for the best instructions of this
            processor.
        chunk: Time steps that are processed at once; None for the generator's choice.
        fixed: Sizes of dynamic axes that are neither batch nor time, by name.

    Raises:
        UsageError: There is no such ``isa``, or this processor does not have it; or no such axis.
        TargetUnavailable: There is no C compiler.
        ModelError: The model cannot be turned into C, or the compiler fails.

    Example:
        >>> stream = edgernn.load("kw.onnx", target="native").stream()
    """
    return NativeSession(path, compile, isa=isa, chunk=chunk, fixed=dict(fixed or {}))


def probe() -> Probe:
    """Say whether there is a C compiler and which."""
    try:
        command = find_compiler()
    except TargetUnavailable as missing:
        reason, _, remedy = str(missing).partition("; install it with: ")
        return Probe(False, reason, remedy)
    return Probe(True, compiler_version(command))
