"""Target ``cuda``: ONNX Runtime on an NVIDIA GPU, state kept on the device."""

from __future__ import annotations

import os

from edgernn.errors import TargetUnavailable
from edgernn_runtimes.onnxruntime_loader import import_onnxruntime, open_session
from edgernn_runtimes.onnxruntime_session import OnnxRuntimeSession
from edgernn_runtimes.targets import Probe

PROVIDER = "CUDAExecutionProvider"
INSTALL = "pip uninstall -y onnxruntime; pip install 'edgernn[cuda]'  # needs CUDA 13 and cuDNN 9"


def load(
    path: str | os.PathLike[str], *, device: int = 0, allow_fallback: bool = False
) -> OnnxRuntimeSession:
    """Load a model on a GPU.

    Args:
        path: ONNX file.
        device: CUDA device number.
        allow_fallback: Let operators without a CUDA kernel run on the processor. Off by default:
            a model that quietly ran on the processor would be measured as a GPU model.

    Raises:
        TargetUnavailable: onnxruntime-gpu, CUDA, cuDNN or the device is missing, or an operator
            has no CUDA kernel.
        ModelError: The file is not a usable ONNX model.
    """
    found = probe()
    if not found.available:
        raise TargetUnavailable(f"target cuda: {found.detail}; install it with: {found.remedy}")
    config = {} if allow_fallback else {"session.disable_cpu_ep_fallback": "1"}
    providers: list[object] = [(PROVIDER, {"device_id": str(device)})]
    session = open_session(path, providers, config=config, install=INSTALL)
    if session.get_providers()[0] != PROVIDER:
        raise TargetUnavailable(
            f"target cuda: ONNX Runtime could not start its CUDA provider and offers "
            f"{session.get_providers()}; check CUDA 13, cuDNN 9 and the driver with nvidia-smi, or "
            f"reinstall: {INSTALL}"
        )
    session.disable_fallback()
    return OnnxRuntimeSession(session, target="cuda", path=path, device=("cuda", device))


def probe() -> Probe:
    """Say whether onnxruntime-gpu with a working CUDA provider is installed."""
    ort, reason = import_onnxruntime()
    if ort is None:
        return Probe(False, reason, INSTALL)
    if PROVIDER not in ort.get_available_providers():
        return Probe(False, f"onnxruntime {ort.__version__} here is built without CUDA", INSTALL)
    if not os.path.exists("/dev/nvidiactl") and not os.path.exists("/dev/dxg"):
        return Probe(False, "no NVIDIA driver on this machine", "install the NVIDIA driver")
    ort.preload_dlls()  # finds the CUDA and cuDNN libraries that come with PyTorch's wheels
    return Probe(True, f"onnxruntime-gpu {ort.__version__}")
