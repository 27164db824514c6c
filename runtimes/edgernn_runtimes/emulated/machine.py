"""Run an emulator and exchange frames with the program in it, with a time limit on every wait."""

from __future__ import annotations

import os
import select
import signal
import struct
import subprocess
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgernn.errors import ModelError, TargetUnavailable, UsageError
from edgernn_runtimes.emulated.boards import Board
from edgernn_runtimes.emulated.faults import fault_text

# Frames and their numbers as in runner.c.
FIRST, RESET, RUN, STEP, NOTHING = range(5)
PAINT = 1
_DONE, _REFUSED, _CRASHED, _STACK_OVERFLOW = range(4)
_FRAME = struct.Struct("<6I")
_MAGIC = 0x4E4E5245
_START_TIMEOUT_S = 30.0
_NOT_SHOWN = "uncaught target signal"  # QEMU prints it, and the exit code tells it too


@dataclass(frozen=True)
class Reply:
    """Answer of the program.

    Attributes:
        code: What the model's function returned.
        value: Bytes of stack that it used, if that was asked for.
        payload: State and outputs.
    """

    code: int
    value: int
    payload: bytes


class Machine:
    """One emulator with one program, started when it is needed and again after a failure.

    Args:
        command: Emulator and its arguments.
        board: What it emulates.
        where: Model file, for messages.
        name_of: Says which function an address belongs to.
    """

    def __init__(
        self, command: Sequence[str], board: Board, where: str, name_of: Callable[[int], str]
    ) -> None:
        self._command = tuple(command)
        self._board = board
        self._where = where
        self._name_of = name_of
        self._lock = threading.Lock()
        self._running: _Process | None = None
        self._closed = False

    def request(
        self, command: int, *, steps: int = 0, flags: int = 0, payload: bytes = b"",
        reply_bytes: int = 0, timeout_s: float,
    ) -> Reply:  # fmt: skip
        """Send one request and wait for the answer; safe to call from several threads.

        Args:
            command: Such as `RUN`.
            steps: Time steps.
            flags: `PAINT` or 0.
            payload: State and inputs.
            reply_bytes: Size of the answer's payload where all goes well.
            timeout_s: Longest time to wait.

        Raises:
            UsageError: The machine was closed.
            ModelError: The program crashed, ended, or did not answer in time.
            TargetUnavailable: The emulator does not start.
        """
        with self._lock:
            try:
                self._refuse_closed()
                process = self._running or self._start()
                frame = (command, steps, flags, payload)
                return process.request(frame, reply_bytes, timeout_s)
            except _Failed as failure:
                self._stop()
                self._refuse_closed()
                raise self._explained(failure, steps, timeout_s) from None
            except BaseException:  # an interrupted exchange cannot be taken up again
                self._stop()
                raise

    def close(self) -> None:
        """Stop the emulator, even in the middle of a request; no request after this."""
        self._closed = True
        process = self._running
        if process is not None:
            process.interrupt()  # whoever waits for an answer sees the end of it, and lets go
        with self._lock:
            self._stop()

    def _start(self) -> _Process:
        process = _Process(self._command)
        self._running = process
        try:
            process.receive(time.monotonic() + _START_TIMEOUT_S, 0, 0)
        except _Failed as failure:
            self._stop()
            self._refuse_closed()
            raise TargetUnavailable(
                f"target {self._board.name}: {self._command[0]} did not start the program: "
                f"{failure.text}; does this version emulate {self._board.machine}?"
            ) from None
        return process

    def _stop(self) -> None:
        if self._running is not None:
            self._running.kill()
            self._running = None

    def _refuse_closed(self) -> None:
        if self._closed:
            raise UsageError(f"{self._where}: this session was closed; load the model again")

    def _explained(self, failure: _Failed, steps: int, timeout_s: float) -> ModelError:
        here = f"{self._where}: the program on {self._board.name}"
        if failure.late:
            work = f"{steps} time step{'s' * (steps > 1)}" if steps else "its first state"
            return ModelError(
                f"{here} did not finish {work} within {timeout_s:.3g} s and was stopped; allow "
                f"more with timeout_s, or give shorter sequences"
            )
        text, memory = failure.text, self._board.memory
        if failure.cause is not None:
            text = fault_text(self._board, failure.cause)
        if memory is not None and ("Lockup" in text or "stack" in text):
            text += f" (the stack has {memory.stack_bytes} bytes)"
        if failure.address:
            text += f" in {self._name_of(failure.address)} at {failure.address:#x}"
        return ModelError(f"{here} crashed: {text}; please report this with the model")


class _Failed(Exception):
    """The exchange with the program failed."""

    def __init__(
        self, text: str, *, late: bool = False, cause: int | None = None, address: int = 0
    ) -> None:
        super().__init__(text)
        self.text = text
        self.late = late
        self.cause = cause
        self.address = address


class _Process:
    """A running emulator, its two pipes, and what it prints."""

    def __init__(self, command: Sequence[str]) -> None:
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill()
        try:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._printed,
                bufsize=0, cwd=tempfile.gettempdir(), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._printed.close()
            raise TargetUnavailable(
                f"{command[0]} cannot be started: {error.strerror or error}; install it again"
            ) from None
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._to, self._from = self._popen.stdin, self._popen.stdout
        os.set_blocking(self._to.fileno(), False)
        os.set_blocking(self._from.fileno(), False)
        self._sequence = 0
        self._busy_s = 0.0
        # Kills the emulator also when nobody closed the session, at the latest when Python ends.
        self._finalizer = weakref.finalize(self, _end, self._popen, self._printed)
        _limit(self._popen.pid, "RLIMIT_CORE", 0)

    def request(
        self, frame: tuple[int, int, int, bytes], reply_bytes: int, timeout_s: float
    ) -> Reply:
        start = time.monotonic()
        # If Python is killed, the program sees the end of its input; one that computes without
        # end does not, so the processor time of the emulator is limited too.
        _limit(self._popen.pid, "RLIMIT_CPU", int(10 + 2 * (self._busy_s + timeout_s)))
        command, steps, flags, payload = frame
        self._sequence += 1
        head = _FRAME.pack(_MAGIC, self._sequence, command, steps, flags, len(payload))
        self._send(head + payload, start + timeout_s)
        reply = self.receive(start + timeout_s, self._sequence, reply_bytes)
        self._busy_s += time.monotonic() - start
        return reply

    def receive(self, deadline: float, sequence: int, reply_bytes: int) -> Reply:
        magic, number, status, code, value, size = _FRAME.unpack(
            self._receive(_FRAME.size, deadline)
        )
        if magic != _MAGIC:
            raise _Failed("it wrote to its output what is not a frame")
        if status == _CRASHED:
            raise _Failed("a fault", cause=code, address=value)
        if status == _STACK_OVERFLOW:
            raise _Failed("stack overflow", address=value)
        if number != sequence or status == _REFUSED or size not in (0, reply_bytes):
            raise _Failed(f"it gave answer {number} of {size} bytes, status {status}")
        if code == 0 and size != reply_bytes:
            raise _Failed(f"it gave {size} bytes instead of {reply_bytes}")
        return Reply(code, value, self._receive(size, deadline))

    def interrupt(self) -> None:
        self._popen.kill()

    def kill(self) -> None:
        self._finalizer()

    def _send(self, content: bytes, deadline: float) -> None:
        left = memoryview(content)
        while left:
            _wait(self._to, select.POLLOUT, deadline)
            try:
                left = left[os.write(self._to.fileno(), left) :]
            except BlockingIOError:
                continue
            except OSError:
                raise self._ended() from None

    def _receive(self, size: int, deadline: float) -> bytes:
        pieces = bytearray()
        while len(pieces) < size:
            _wait(self._from, select.POLLIN, deadline)
            try:
                piece = os.read(self._from.fileno(), size - len(pieces))
            except BlockingIOError:
                continue
            except OSError:
                raise self._ended() from None
            if not piece:
                raise self._ended()
            pieces += piece
        return bytes(pieces)

    def _ended(self) -> _Failed:
        """Say how the emulator ended, with the last lines that it printed."""
        try:
            code = self._popen.wait(2)
        except subprocess.TimeoutExpired:
            return _Failed("it closed its output")
        how = f"exit code {code}"
        if code < 0:
            how = f"signal {signal.Signals(-code).name}"
        self._printed.seek(max(0, self._printed.seek(0, os.SEEK_END) - 2000))
        lines = self._printed.read().decode(errors="replace").splitlines()
        shown = [line for line in lines if line.startswith("qemu") and _NOT_SHOWN not in line][:2]
        said = ": " + " | ".join(shown) if shown else ""
        return _Failed(f"the emulator ended with {how}{said}"[:500])


def _wait(stream: IO[bytes], event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(stream.fileno(), event)
    left = deadline - time.monotonic()
    if left <= 0 or not poll.poll(left * 1000):
        raise _Failed("no answer", late=True)


def _end(popen: subprocess.Popen[bytes], printed: IO[bytes]) -> None:
    popen.kill()
    for stream in (popen.stdin, popen.stdout, printed):
        if stream is not None:
            stream.close()
    popen.wait()


def _limit(pid: int, name: str, value: int) -> None:
    """Set the soft limit of a process's resource, where the system can."""
    try:
        import resource

        kind = getattr(resource, name)
        _, hard = resource.prlimit(pid, kind)
        resource.prlimit(pid, kind, (value if hard < 0 else min(value, hard), hard))
    except (ImportError, AttributeError, OSError):
        return


def emulator_command(
    board: Board, emulator: str, elf: Path, plugin: Sequence[str] = ()
) -> list[str]:
    """Return the command that runs a program on a board.

    Args:
        board: What to emulate.
        emulator: Path of the QEMU program.
        elf: The program.
        plugin: A plugin and its arguments, such as ``("count.so", "begin=0x100")``.
    """
    more = ["-plugin", ",".join(plugin)] if plugin else []
    if board.memory is None:
        return [emulator, "-cpu", board.machine, *more, str(elf)]
    bios = ["-bios", "none"] if "riscv" in board.emulator else []
    return [
        emulator, "-M", board.machine, *bios, "-nographic", "-monitor", "none", "-serial", "none",
        "-semihosting-config", "enable=on,target=native", *more, "-kernel", str(elf),
    ]  # fmt: skip
