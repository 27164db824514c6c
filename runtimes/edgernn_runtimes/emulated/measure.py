"""Count the instructions of a model on an emulated core, and the stack it needs.

A plugin for QEMU (``count.c``) counts what is executed between two markers of the runner. The same
call of a function that does nothing is counted too and subtracted. Counts are of instructions, not
of time: no emulator knows how long a real core takes. They repeat exactly.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgernn.c_project import CTensor
from edgernn.errors import InputError, TargetUnavailable, UsageError
from edgernn.files import replacing
from edgernn.sessions import Array
from edgernn_runtimes.build_cache import cache_folder
from edgernn_runtimes.compilers import find_host_compiler, run_compiler
from edgernn_runtimes.emulated.build import HERE
from edgernn_runtimes.emulated.machine import NOTHING, PAINT, RUN, STEP
from edgernn_runtimes.emulated.runner_config import has_step
from edgernn_runtimes.emulated.served import Served
from edgernn_runtimes.emulated.toolchain import emulator_version

if TYPE_CHECKING:
    from edgernn_runtimes.emulated.session import EmulatedSession

_SLOWER = 50.0  # the emulator with the plugin than without, at most


@dataclass(frozen=True)
class Measurement:
    """What a model takes on an emulated core.

    Attributes:
        target: Name of the board.
        instructions: Instructions (emulated) of all calls.
        steps: Time steps of all calls.
        calls: Number of calls.
        macs_per_step: Multiply-accumulate operations of one step, from the manifest.
        flash_bytes: Code and constants of the model's own objects.
        static_ram_bytes: Its state struct, with scratch memory, and its static variables.
        peak_stack_bytes: Deepest stack below the caller's frame.
        image_flash_bytes: Flash of the whole program that was run, C library included.
        image_ram_bytes: Its RAM without the stack.
    """

    target: str
    instructions: int
    steps: int
    calls: int
    macs_per_step: int
    flash_bytes: int
    static_ram_bytes: int
    peak_stack_bytes: int
    image_flash_bytes: int
    image_ram_bytes: int

    @property
    def instructions_per_step(self) -> float:
        """Instructions (emulated) of one time step, on average."""
        return self.instructions / self.steps

    @property
    def instructions_per_mac(self) -> float | None:
        """Instructions (emulated) for each multiply-accumulate; None if the model has none."""
        return self.instructions_per_step / self.macs_per_step if self.macs_per_step else None


def measure(
    session: EmulatedSession,
    steps: int = 20,
    inputs: Mapping[str, Array] | None = None,
    *,
    call: str | None = None,
) -> Measurement:
    """Count what a model takes from its first state on.

    Args:
        session: A model on an emulated board; its streams are not touched.
        steps: Time steps, where ``inputs`` is None.
        inputs: Arrays by name with a batch of one; None for fixed normal noise, and zeros for
            integers.
        call: ``"step"`` for ``NAME_step`` once for each time step, ``"run"`` for ``NAME_run`` with
            all of them at once (or as many as the program's buffer holds); None for ``"step"``
            where there is one time step, else ``"run"``.

    Raises:
        UsageError: ``call`` or ``steps`` is out of range, or the model has no step form.
        InputError: The inputs do not fit.
        TargetUnavailable: QEMU takes no plugins, or there is no C compiler for this machine.

    Example:
        >>> measure(load("kw.onnx", "cortex-m4"), steps=20).instructions_per_mac
        1.9
    """
    if call not in (None, "run", "step"):
        raise UsageError(f"call must be 'run' or 'step', got {call!r}")
    if steps < 1:
        raise UsageError(f"steps must be at least 1, got {steps}")
    if inputs is None:
        project = session.served.project
        inputs = {tensor.name: _noise(tensor, steps) for tensor in project.inputs}
    rows, served = session.fitting(inputs)
    if rows != 1:
        raise InputError(f"measure one row, not a batch of {rows}; cut it out of each input")
    total = served.layout.steps_of(inputs)
    stepwise = has_step(served.project) and (call == "step" or (call is None and total == 1))
    if call == "step" and not stepwise:
        raise UsageError(f"{session.path}: the model has no step form; measure with call='run'")
    command, block = (STEP, 1) if stepwise else (RUN, served.program.plan.block)
    sizes = [min(block, total - start) for start in range(0, total, block)]
    counts, deepest = _count(served, served.pack(inputs, 0), command, sizes)
    memory = served.program.footprint
    return Measurement(
        target=session.target,
        instructions=sum(counts[1:]) - counts[0] * len(sizes),
        steps=total,
        calls=len(sizes),
        macs_per_step=served.project.macs_per_step,
        flash_bytes=memory.flash_bytes,
        static_ram_bytes=memory.static_ram_bytes,
        peak_stack_bytes=deepest,
        image_flash_bytes=memory.image_flash_bytes,
        image_ram_bytes=memory.image_ram_bytes,
    )


def _count(
    served: Served, packed: list[Array], command: int, sizes: list[int]
) -> tuple[list[int], int]:
    """Run requests of the given sizes with the plugin.

    Returns:
        The count of a call of nothing and of each request, and the deepest stack.
    """
    deepest, start = 0, 0
    with tempfile.TemporaryDirectory(prefix="edgernn-") as folder:
        out = Path(folder) / "counts"
        counted = served.again(_plugin(served, out), _SLOWER)
        try:
            state = counted.first_state
            counted.request(NOTHING, packed, state, 0, 1)
            for size in sizes:
                payload, stack = counted.request(command, packed, state, start, size, PAINT)
                state = payload[: served.project.state_bytes]
                deepest, start = max(deepest, stack), start + size
        finally:
            counted.machine.close()
        counts = [int(line) for line in out.read_text().split()] if out.exists() else []
    if len(counts) != len(sizes) + 1:
        raise TargetUnavailable(
            f"target {served.program.board.name}: the plugin gave {len(counts)} counts instead of "
            f"{len(sizes) + 1}; {served.emulator} is not a version it works with"
        )
    return counts, deepest


def _plugin(served: Served, out: Path) -> tuple[str, ...]:
    image = served.program.image
    begin, end = (image.address(f"edgernn_roi_{place}") for place in ("begin", "end"))
    library = build_plugin(emulator_version(served.emulator))
    return str(library), f"begin={begin:#x}", f"end={end:#x}", f"out={out}"


def build_plugin(version: str) -> Path:
    """Build the counting plugin for a version of QEMU, or take it from the cache."""
    api = 1 if int(version.split(".")[0]) < 9 else 2
    source = HERE / "count.c"
    key = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    library = cache_folder() / "emulated" / f"count-{api}-{key}.so"
    if not library.exists():
        compiler = find_host_compiler("counting instructions")
        with replacing(library) as temporary:
            run_compiler(
                [*compiler, "-O2", "-shared", "-fPIC", "-fvisibility=hidden",
                 f"-DEDGERNN_PLUGIN_API={api}", str(source), "-o", str(temporary)],
                "building the plugin that counts instructions",
            )  # fmt: skip
    return library


def _noise(tensor: CTensor, steps: int) -> Array:
    shape = [axis if isinstance(axis, int) else steps for axis in tensor.shape]
    if np.dtype(tensor.dtype).kind != "f":
        return np.zeros(shape, tensor.dtype)
    return np.random.default_rng(0).standard_normal(shape).astype(tensor.dtype)
