"""Import ONNX Runtime and open model files with it, turning its errors into ours."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from edgernn.errors import ModelError, TargetUnavailable, UsageError, first_line

# The part that matters of a message which begins with a long C++ signature.
_GPU_CALL = re.compile(r"\b(?:CUDA|CUDNN|CUBLAS|CUFFT|CURAND)\w* failure -?\d+: [^;\n]*")
_GPU_SETUP = re.compile(r"Invalid device ID|CUDA_PATH is set but CUDA")


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
        TargetUnavailable: onnxruntime is missing, or an operator has no kernel on the target,
            or the GPU fails.
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
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, got {threads}")
    try:
        return create_session(ort, str(file), providers, threads=threads, config=config)
    except Exception as error:
        text = onnxruntime_reason(error)
        if text is None:
            raise
        raise _explained(file, text, install) from None


def create_session(
    ort: Any,
    model: str | bytes,
    providers: Sequence[object],
    *,
    threads: int | None = None,
    config: Mapping[str, str] | None = None,
) -> Any:
    """Create an ``InferenceSession`` of a file or its content; errors are ONNX Runtime's own.

    ONNX Runtime's retry on the processor is off: it prints to stdout, and hides the first error.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4  # errors arrive as exceptions; the log would repeat them
    if threads is not None:
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
    for key, value in (config or {}).items():
        options.add_session_config_entry(key, value)
    return ort.InferenceSession(model, options, providers=list(providers), enable_fallback=0)


def runtime_failure(path: Path, error: Exception) -> Exception:
    """Return what to raise when a run failed: a `ModelError`, or a foreign error itself."""
    text = onnxruntime_reason(error)
    if text is None:
        return error
    return ModelError(
        f"{path}: ONNX Runtime failed while running it: {text}; "
        f"check the model with edgernn inspect"
    )


def onnxruntime_reason(error: Exception) -> str | None:
    """Return ONNX Runtime's reason in one line without its prefixes; None for foreign errors."""
    # ONNX Runtime's exceptions have no base class of their own.
    if not (type(error).__module__.startswith("onnxruntime") or type(error) is RuntimeError):
        return None
    failed = _GPU_CALL.search(str(error))
    if failed is not None:
        return failed.group().strip()
    line = first_line(error)
    if line.startswith("[ONNXRuntimeError]"):
        line = line.split(" : ", 3)[-1]
    return line[:400]


def _explained(file: Path, text: str, install: str) -> Exception:
    if "explicitly disabled" in text and "CPU EP" in text:
        return TargetUnavailable(
            f"{file}: some operators would run on the processor: those without a CUDA kernel, or "
            f"shape arithmetic; use target cpu, or allow it with --allow-fallback, in Python "
            f"allow_fallback=True ({text})"
        )
    if _GPU_CALL.search(text) or _GPU_SETUP.search(text):
        return TargetUnavailable(
            f"{file}: the GPU failed: {text}; look at its driver, number and memory with "
            f"nvidia-smi, or install again with: {install}"
        )
    return ModelError(
        f"{file}: ONNX Runtime cannot load it: {text}; check the file with edgernn inspect, or "
        f"export it again"
    )
