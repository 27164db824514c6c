"""Import ONNX Runtime and open model files with it, turning its errors into ours."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from edgernn.errors import ModelError, TargetUnavailable, UsageError


def import_onnxruntime() -> tuple[Any, str]:
    """Import onnxruntime with its telemetry off, unless the user set it.

    Returns:
        The module and an empty string, or None and the reason.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        return import_module("onnxruntime"), ""
    except ImportError as error:
        return None, f"onnxruntime cannot be imported ({error})"


def open_session(
    path: str | os.PathLike[str],
    providers: Sequence[object],
    *,
    install: str,
    threads: int | None = None,
    config: Mapping[str, str] | None = None,
) -> Any:
    """Open a model file.

    Args:
        path: ONNX file.
        providers: Execution providers in ONNX Runtime's form.
        install: Command that installs ONNX Runtime for this target.
        threads: Intra-operator threads; None for ONNX Runtime's default.
        config: Session configuration entries.

    Returns:
        The ``onnxruntime.InferenceSession``.

    Raises:
        UsageError: ``threads`` is below 1.
        TargetUnavailable: onnxruntime is missing, or an operator has no kernel on the target.
        ModelError: The file is missing, empty or not a usable ONNX model.
    """
    ort, reason = import_onnxruntime()
    if ort is None:
        raise TargetUnavailable(f"{reason}; install it with: {install}")
    file = Path(path)
    if not file.is_file():
        raise ModelError(
            f"{file}: no such file; name an ONNX file, such as one from edgernn export"
        )
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors arrive as exceptions; the log would repeat them
    if threads is not None:
        if threads < 1:
            raise UsageError(f"threads must be at least 1, got {threads}")
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    try:
        return ort.InferenceSession(str(file), options, providers=list(providers))
    except Exception as error:
        if not _is_onnxruntime_error(error):
            raise
        raise _explained(file, error) from None


def runtime_failure(path: Path, error: Exception) -> Exception:
    """Return what to raise when a run failed: a `ModelError`, or a foreign error itself."""
    if not _is_onnxruntime_error(error):
        return error
    return ModelError(
        f"{path}: ONNX Runtime failed while running it: {_reason(error)}; "
        f"check the model with edgernn inspect"
    )


def _is_onnxruntime_error(error: Exception) -> bool:
    # ONNX Runtime's exceptions have no base class of their own.
    return type(error).__module__.startswith("onnxruntime") or type(error) is RuntimeError


def _reason(error: Exception) -> str:
    """Return the first line of ONNX Runtime's text without its status prefix."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    if line.startswith("[ONNXRuntimeError]"):
        line = line.split(" : ", 3)[-1]
    return line[:400]


def _explained(file: Path, error: Exception) -> Exception:
    text = _reason(error)
    if "explicitly disabled" in text and "CPU EP" in text:
        return TargetUnavailable(
            f"{file}: this model has operators without a CUDA kernel, and running them on the "
            f"processor instead is off; use target cpu, or allow_fallback=True ({text})"
        )
    return ModelError(
        f"{file}: ONNX Runtime cannot load it: {text}; check the file with edgernn inspect, or "
        f"export it again"
    )
