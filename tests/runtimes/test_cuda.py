"""Target cuda: the refusal where there is no GPU, the real thing where there is one."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.graphs import normal
from onnx import helper

from edgernn.errors import InputError, ModelError, TargetUnavailable
from edgernn.streaming import run_in_chunks
from edgernn_runtimes import cuda, load, onnxruntime_loader
from edgernn_runtimes.onnxruntime_loader import create_session

FOUND = cuda.probe()
needs_gpu = pytest.mark.skipif(not FOUND.available, reason=f"no target cuda: {FOUND.detail}")
Write = Callable[..., Path]


@pytest.mark.skipif(FOUND.available, reason="target cuda is available")
def test_without_cuda_loading_says_what_to_install(model: Write) -> None:
    with pytest.raises(TargetUnavailable, match="install") as caught:
        load(model(), "cuda")
    assert caught.value.exit_code == 4
    assert FOUND.remedy in str(caught.value)


def test_the_proof_is_what_onnx_writes_and_runs() -> None:
    value = helper.make_tensor_value_info
    weights = helper.make_tensor("w", 1, [1, 4, 1], bytes(16), raw=True)
    node = helper.make_node("LSTM", ["x", "w", "w"], ["y"], hidden_size=1)
    graph = helper.make_graph(
        [node], "g", [value("x", 1, [1, 1, 1])], [value("y", 1, [1, 1, 1, 1])], [weights]
    )
    want = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(want, full_check=True)
    assert want.SerializeToString() == cuda.PROOF
    session = create_session(onnxruntime, cuda.PROOF, ["CPUExecutionProvider"])
    assert session.run(None, {"x": np.ones((1, 1, 1), np.float32)})[0] == [[[[0]]]]


class _Gpu:
    """Stand in for onnxruntime-gpu: it prints as the real one does, and fails as it is told."""

    def __init__(
        self,
        provider: str = cuda.PROVIDER,
        error: Exception | None = None,
        model_error: Exception | None = None,
        prints: str = "Failed to load libcublas.so.13: no such file\nPlease follow the page",
    ) -> None:
        self.__version__ = "1.31.1"
        self.SessionOptions = onnxruntime.SessionOptions
        self.severity = 2
        self.opened: list[tuple[Any, dict[str, Any]]] = []
        self._provider, self._prints = provider, prints
        self._errors = {True: error, False: model_error}

    def get_available_providers(self) -> list[str]:
        return [cuda.PROVIDER, "CPUExecutionProvider"]

    def preload_dlls(self) -> None:
        print(self._prints)

    def set_default_logger_severity(self, severity: int) -> None:
        self.severity = severity

    def InferenceSession(self, model: Any, options: Any, **given: Any) -> Any:
        self.opened.append((model, given))
        if (error := self._errors[model == cuda.PROOF]) is not None:
            raise error
        return SimpleNamespace(get_providers=lambda: [self._provider], run=lambda *_: [])


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[_Gpu], _Gpu]:
    def use(gpu: _Gpu) -> _Gpu:
        monkeypatch.setattr(cuda, "import_onnxruntime", lambda: (gpu, ""))
        monkeypatch.setattr(cuda, "_driver_fault", lambda device: None)
        return gpu

    return use


Pretend = Callable[[_Gpu], _Gpu]


def test_a_provider_that_cannot_load_is_named_before_the_model_is_opened(
    pretend: Pretend, model: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = pretend(_Gpu(provider="CPUExecutionProvider"))
    with pytest.raises(TargetUnavailable) as caught:
        load(model(), "cuda")
    text = str(caught.value)
    assert "1.31.1 cannot load its CUDA provider (Failed to load libcublas.so.13" in text
    assert "follow the page" not in text
    assert text.endswith(f"install it with: {cuda.INSTALL}")
    assert [opened for opened, _ in gpu.opened] == [cuda.PROOF]
    assert capsys.readouterr() == ("", "")


def test_the_proof_runs_on_the_device_asked_for_without_retry(
    pretend: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu = pretend(_Gpu())
    assert cuda.probe() == cuda.Probe(True, "onnxruntime-gpu 1.31.1")
    assert cuda._prove(3).available
    assert [given for _, given in gpu.opened] == [
        {"providers": [(cuda.PROVIDER, {"device_id": number})], "enable_fallback": 0}
        for number in ("0", "3")
    ]
    assert gpu.severity == 4
    assert capsys.readouterr() == ("", "")


CALL = (
    "/onnxruntime_src/onnxruntime/core/providers/cuda/cuda_call.cc:122 std::conditional_t<THRW, "
    "void, onnxruntime::common::Status> onnxruntime::CudaCall(ERRTYPE, const char*, const char*, "
    "SUCCTYPE, const char*, const char*, int) [with ERRTYPE = cudaError; bool THRW = true; "
    "SUCCTYPE = cudaError; std::conditional_t<THRW, void, common::Status> = void] "
) * 2
TAIL = " ; GPU=-1 ; hostname=h ; file=/a/cuda_execution_provider.cc ; line=336 ; expr=f(); \n"
OLD = "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version"
ERRORS = [
    (f"{CALL}{OLD}{TAIL}", OLD, cuda.DRIVER),
    (f"{CALL}CUDA failure 101: invalid device ordinal{TAIL}", "failure 101", "nvidia-smi -L"),
    ("Failed to parse provider option \"device_id\": Invalid device ID: 9, must be between 0 "
     "(inclusive) and 1 (exclusive).", "Invalid device ID: 9", "nvidia-smi -L"),
    (f"{CALL}CUDA failure 2: out of memory{TAIL}", "out of memory", "nvidia-smi "),
    (f"{CALL}CUDNN failure 1001: CUDNN_STATUS_NOT_INITIALIZED{TAIL}", "CUDNN", cuda.INSTALL),
    ("CUDA_PATH is set but CUDA wasn't able to be loaded. Please install the correct version of "
     "CUDA and cuDNN", "CUDA_PATH is set", cuda.INSTALL),
]  # fmt: skip


@pytest.mark.parametrize(("text", "detail", "remedy"), ERRORS)
def test_errors_of_the_provider_say_what_to_do(
    pretend: Pretend, text: str, detail: str, remedy: str
) -> None:
    pretend(_Gpu(error=RuntimeError(text), prints=""))
    found = cuda.probe()
    assert not found.available
    assert detail in found.detail
    assert "cuda_call.cc" not in found.detail
    assert "hostname" not in found.detail
    assert found.remedy.startswith(remedy)
    with pytest.raises(TargetUnavailable, match=detail):
        load("a.onnx", "cuda")


REFUSED = (
    "This session contains graph nodes that are assigned to the default CPU EP, but fallback to "
    "CPU EP has been explicitly disabled by the user."
)


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [(REFUSED, TargetUnavailable, "those without a CUDA kernel, or shape arithmetic.*-fallback"),
     (f"{CALL}CUDA failure 2: out of memory{TAIL}", TargetUnavailable, "CUDA failure 2: out of"),
     ("Node (a) has no such attribute", ModelError, "edgernn inspect")],
)  # fmt: skip
def test_errors_of_the_model_after_the_proof(
    pretend: Pretend,
    monkeypatch: pytest.MonkeyPatch,
    model: Write,
    text: str,
    kind: type[Exception],
    expected: str,
) -> None:
    gpu = pretend(_Gpu(model_error=RuntimeError(text)))
    monkeypatch.setattr(onnxruntime_loader, "import_onnxruntime", lambda: (gpu, ""))
    with pytest.raises(kind, match=expected):
        load(model(), "cuda")
    assert [given["enable_fallback"] for _, given in gpu.opened] == [0, 0]


def test_errors_that_are_not_of_onnxruntime_are_not_swallowed(pretend: Pretend) -> None:
    pretend(_Gpu(error=KeyError("mine")))
    with pytest.raises(KeyError, match="mine"):
        cuda.probe()


@pytest.mark.parametrize(
    ("code", "device", "detail", "remedy"),
    [(None, 0, "no NVIDIA driver", cuda.DRIVER), (100, 0, "shows no GPU", "nvidia-smi -L"),
     (803, 0, "cuInit returns 803", "nvidia-smi"),
     (0, 2, "no GPU number 2, the driver shows 2", "nvidia-smi -L"),
     (0, -1, "no GPU number -1", "nvidia-smi -L")],
)  # fmt: skip
def test_what_the_driver_lacks(
    monkeypatch: pytest.MonkeyPatch, code: int | None, device: int, detail: str, remedy: str
) -> None:
    _set_driver(monkeypatch, code)
    found = cuda._driver_fault(device)
    assert found is not None
    assert not found.available
    assert detail in found.detail
    assert found.remedy.startswith(remedy)


def test_a_driver_that_shows_the_device_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    _set_driver(monkeypatch, 0)
    assert cuda._driver_fault(1) is None


def _set_driver(monkeypatch: pytest.MonkeyPatch, code: int | None) -> None:
    def count(pointer: Any) -> int:
        pointer._obj.value = 2
        return 0

    def find(name: str) -> Any:
        if code is None:
            raise OSError(name)
        return SimpleNamespace(cuInit=lambda flags: code, cuDeviceGetCount=count)

    monkeypatch.setattr(ctypes, "CDLL", find)


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_cuda_equals_cpu_whole_and_in_chunks(model: Write, cell: str) -> None:
    path, x = model(cell=cell, layers=2), {"x": normal(1, 3, 50, 8)}
    want, session = load(path, "cpu").run(x)["y"], load(path, "cuda")
    np.testing.assert_allclose(session.run(x)["y"], want, atol=1e-3)  # TF32 products
    for chunk in (1, 7, 50):
        np.testing.assert_allclose(run_in_chunks(session, x, chunk)["y"], want, atol=1e-3)


@pytest.mark.cuda
@needs_gpu
def test_the_state_stays_on_the_device(model: Write) -> None:
    stream = load(model(cell="lstm"), "cuda").stream(2)
    buffers = [buffer for states in stream._states for buffer in states.values()]
    assert {buffer._value.device_name() for buffer in buffers} == {"cuda"}


@pytest.mark.cuda
@needs_gpu
def test_reset_restore_and_refusal_on_the_device(model: Write) -> None:
    stream, x = load(model(), "cuda").stream(2), normal(1, 2, 4, 8)
    first = stream.step(x)
    saved = stream.state
    second = stream.step(x)
    stream.state = saved
    with pytest.raises(InputError, match="holds nan"):
        stream.step(np.full_like(x, np.nan))
    np.testing.assert_array_equal(stream.step(x), second)
    stream.reset()
    np.testing.assert_array_equal(stream.step(x), first)


@pytest.mark.cuda
@needs_gpu
def test_an_operator_without_kernel_is_refused_unless_allowed(tmp_path: Path) -> None:
    node = helper.make_node("Det", ["x"], ["y"])
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", 1, ["n", 3, 3])],
        [helper.make_tensor_value_info("y", 1, ["n"])],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(made, tmp_path / "a.onnx")
    with pytest.raises(TargetUnavailable, match="without a CUDA kernel"):
        load(tmp_path / "a.onnx", "cuda")
    session = load(tmp_path / "a.onnx", "cuda", allow_fallback=True)
    assert session.run({"x": np.eye(3, dtype=np.float32)[None]})["y"] == [1]
