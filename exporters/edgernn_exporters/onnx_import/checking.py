"""Let another process look at a foreign file before this one does."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from typing import Any

from edgernn.errors import ModelError
from edgernn_exporters.onnx_import.limits import CHECK_SECONDS

_CHILD = "edgernn_exporters.onnx_import.child"
_GRACE_SECONDS = 10
_LOCK = threading.Lock()
_started: list[_Process] = []  # at most one


def check(content: bytes, budget: int) -> None:
    """Have a file parsed and checked by another process.

    That process starts with the first file and stays; it forks for each file, so that whatever a
    file does to its parser ends with it.

    Args:
        content: The ONNX file.
        budget: Bytes that its constants may take.

    Raises:
        ModelError: It is broken or unsafe, or its check crashes or does not end.
    """
    with _LOCK:
        if _started and _started[0].owner != os.getpid():
            _started.clear()  # of the process that this one was forked from
        if not _started:
            _started.append(_Process())
        try:
            answer = _started[0].ask(content, budget)
        except BaseException:
            _end()
            raise
        if answer.get("last"):
            _end()
    if "late" in answer:
        raise _late()
    if "signal" in answer:
        raise _crashed(answer["signal"])
    if "failed" in answer:
        raise _failed(answer["failed"])
    if "error" in answer:
        raise ModelError(answer["error"])


def close() -> None:
    """End the other process, if there is one; the next check starts another."""
    with _LOCK:
        if _started and _started[0].owner == os.getpid():
            _end()


def _end() -> None:
    _started.pop().end()


atexit.register(close)


class _Process:
    """The other process.

    Attributes:
        owner: The process that started it.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        # -P: no module is imported from the working directory, which may be that of the file
        command = [sys.executable, "-P", "-m", _CHILD]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "OPENBLAS_NUM_THREADS": "1",  # its threads would reserve memory
        }
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 # as long as the process
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            env=environment,
        )  # fmt: skip

    def ask(self, content: bytes, budget: int) -> dict[str, Any]:
        """Return the answer for a file.

        Raises:
            ModelError: The process ends without one.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        request = {"bytes": len(content), "budget": budget, "seconds": CHECK_SECONDS}
        killed = threading.Event()
        timer = threading.Timer(CHECK_SECONDS + _GRACE_SECONDS, self._kill, [killed])
        timer.start()
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.write(content)
            stdin.flush()
            line = stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            timer.cancel()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = self._process.wait()
        if killed.is_set():
            raise _late()
        if code < 0:
            raise _crashed(-code)
        self._log.seek(0)
        last = self._log.read().decode(errors="replace").strip().splitlines()[-1:]
        raise _failed(last[0] if last else f"exit code {code}")

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:  # what it did not read any more
                continue
        self._log.close()

    def _kill(self, killed: threading.Event) -> None:
        killed.set()
        self._process.kill()


def _late() -> ModelError:
    return ModelError(
        f"checking it takes more than {CHECK_SECONDS} s; such a file is broken or an attack"
    )


def _crashed(number: int) -> ModelError:
    name = signal.Signals(number).name
    return ModelError(f"ONNX's parser crashes on it ({name}); it is broken or an attack")


def _failed(reason: str) -> ModelError:
    return ModelError(f"ONNX's parser fails on it ({reason[:300]}); export it again")
