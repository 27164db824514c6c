"""Target ``cuda``: ONNX Runtime on an NVIDIA GPU, state kept on the device."""

from __future__ import annotations

import ctypes
import io
import os
import warnings
from contextlib import redirect_stdout
from typing import Any

import numpy as np

from edgernn.errors import TargetUnavailable
from edgernn_runtimes.onnxruntime_loader import (
    create_session,
    import_onnxruntime,
    onnxruntime_reason,
    open_session,
)
from edgernn_runtimes.onnxruntime_session import OnnxRuntimeSession
from edgernn_runtimes.targets import Probe

PROVIDER = "CUDAExecutionProvider"
INSTALL = "pip uninstall -y onnxruntime; pip install 'edgernn[cuda]'  # needs CUDA 13 and cuDNN 9"
DRIVER = "apt-get install nvidia-driver  # Debian; then restart. A container needs --gpus all"

# A serialized model of one LSTM of one unit, x [1, 1, 1] -> y, whose weights w are zero. An LSTM,
# because CUDA alone does not run one: cuDNN must load too.
PROOF = (
    b"\x08\x08:\x80\x01\n&\n\x01x\n\x01w\n\x01w\x12\x01y\"\x04LSTM*\x12\n\x0bhidden_size"
    b"\x18\x01\xa0\x01\x02\x12\x01g*\x1d\x08\x01\x08\x04\x08\x01\x10\x01B\x01wJ\x10" + bytes(16) +
    b"Z\x17\n\x01x\x12\x12\n\x10\x08\x01\x12\x0c\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x01"
    b"b\x1b\n\x01y\x12\x16\n\x14\x08\x01\x12\x10\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x01\n\x02\x08\x01"
    b"B\x04\n\x00\x10\x0e"
)  # fmt: skip


def load(
    path: str | os.PathLike[str], *, device: int = 0, allow_fallback: bool = False
) -> OnnxRuntimeSession:
    """Load a model on a GPU.

    Args:
        path: ONNX file.
        device: CUDA device number.
        allow_fallback: Let operators run on the processor that have no CUDA kernel, or that ONNX
            Runtime places there because they only compute shapes. Off by default: a model that
            quietly ran on the processor would be measured as a GPU model.

    Raises:
        TargetUnavailable: onnxruntime-gpu, CUDA, cuDNN, the driver or the device is missing, or
            an operator would run on the processor.
        ModelError: The file is not a usable ONNX model.
    """
    found = _prove(device)
    if not found.available:
        how = "install it with" if found.remedy in (INSTALL, DRIVER) else "look into it with"
        raise TargetUnavailable(f"target cuda: {found.detail}; {how}: {found.remedy}")
    config = {} if allow_fallback else {"session.disable_cpu_ep_fallback": "1"}
    session = open_session(path, _providers(device), config=config, install=INSTALL)
    return OnnxRuntimeSession(session, target="cuda", path=path, device=("cuda", device))


def probe() -> Probe:
    """Say whether ONNX Runtime runs a recurrent layer on the first GPU."""
    return _prove(0)


def _providers(device: int) -> list[object]:
    return [(PROVIDER, {"device_id": str(device)})]


def _prove(device: int) -> Probe:
    """Run `PROOF` on the GPU, because ONNX Runtime also lists a provider that it cannot load.

    If it cannot, it only logs that and takes the processor; with that forbidden, the error for
    the user's model would be about its operators.
    """
    ort, reason = import_onnxruntime()
    if ort is None:
        return Probe(False, reason, INSTALL)
    said = _preload(ort)
    if PROVIDER not in ort.get_available_providers():
        return Probe(False, f"onnxruntime {ort.__version__} here is built without CUDA", INSTALL)
    fault = _driver_fault(device)
    if fault is not None:
        return fault
    ort.set_default_logger_severity(4)  # the log would repeat on stderr what is said here
    try:
        session = create_session(ort, PROOF, _providers(device))
        session.run(None, {"x": np.zeros((1, 1, 1), np.float32)})
    except Exception as error:
        text = onnxruntime_reason(error)
        if text is None:
            raise
        return _refused(text, said)
    if session.get_providers()[0] != PROVIDER:
        return _refused(f"onnxruntime {ort.__version__} cannot load its CUDA provider", said)
    return Probe(True, f"onnxruntime-gpu {ort.__version__}")


def _preload(ort: Any) -> str:
    """Load CUDA and cuDNN from their wheels; return what ONNX Runtime prints about failures."""
    printed = io.StringIO()
    with redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ort.preload_dlls()
    lines = printed.getvalue().splitlines()
    return "; ".join(line for line in lines if line.startswith("Failed to load"))[:400]


def _driver_fault(device: int) -> Probe | None:
    """Start the NVIDIA driver and look for the device; return what is wrong, if anything."""
    try:
        driver = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return Probe(False, "no NVIDIA driver on this machine", DRIVER)
    code = driver.cuInit(0)
    if code == 100:  # CUDA_ERROR_NO_DEVICE
        return Probe(
            False, "the NVIDIA driver shows no GPU",
            "nvidia-smi -L  # must list one; CUDA_VISIBLE_DEVICES can hide it",
        )  # fmt: skip
    if code != 0:
        return Probe(
            False, f"the NVIDIA driver does not start (cuInit returns {code})",
            "nvidia-smi  # after an update of the driver, restart the machine",
        )  # fmt: skip
    count = ctypes.c_int(0)
    driver.cuDeviceGetCount(ctypes.byref(count))
    if not 0 <= device < count.value:
        return Probe(
            False, f"there is no GPU number {device}, the driver shows {count.value}",
            "nvidia-smi -L  # lists the numbers",
        )  # fmt: skip
    return None


def _refused(text: str, said: str) -> Probe:
    """Turn the reason why the proof failed, and what preloading printed, into a probe."""
    detail = f"{text} ({said})" if said else text
    if "driver version is insufficient" in text:
        return Probe(False, f"the NVIDIA driver is too old: {detail}", DRIVER)
    if "out of memory" in text:
        return Probe(False, detail, "nvidia-smi  # shows who uses the memory of the GPU")
    if "device ordinal" in text or "device ID" in text:
        return Probe(False, detail, "nvidia-smi -L  # lists the numbers")
    return Probe(False, detail, INSTALL)
