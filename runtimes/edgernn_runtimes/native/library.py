"""Build a generated C project into a shared library for this machine, and call it."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgernn.c_project import Compile, CProject, read_project
from edgernn.errors import ModelError, UsageError
from edgernn.files import replacing
from edgernn_runtimes.build_cache import cache_folder, content_key, forget_unused
from edgernn_runtimes.compilers import find_host_compiler, run_compiler

_FLAGS = ("-std=c99", "-O3", "-ffp-contract=off", "-fPIC", "-shared", "-w")
_ISAS: dict[str | None, tuple[str, ...]] = {
    None: ("-march=native",),
    "avx2": ("-march=haswell",),
    "portable": ("-DEDGERNN_PORTABLE",),
}
_SIZE = "edgernn_state_size"


@dataclass(frozen=True)
class Library:
    """A built and opened project.

    Attributes:
        project: Its manifest.
        path: The shared library.
        state_size: Bytes of ``NAME_state``.
        init: ``NAME_init``.
        reset: ``NAME_reset``.
        run: ``NAME_run``.
        step: ``NAME_step``, or None.
    """

    project: CProject
    path: Path
    state_size: int
    init: Any
    reset: Any
    run: Any
    step: Any


def find_compiler() -> list[str]:
    """Return the command of the C compiler for this machine.

    Raises:
        TargetUnavailable: There is none.
    """
    return find_host_compiler("target native")


@functools.lru_cache(maxsize=8)
def _version(command: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, errors="replace", timeout=60,
            stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return command[0]
    return (done.stdout.strip().splitlines() or [command[0]])[0]


def compiler_version(command: Sequence[str]) -> str:
    """Return the first line that a compiler says about itself."""
    return _version(tuple(command))


def build(path: Path, compile: Compile, *, isa: str | None, **options: Any) -> Library:
    """Generate, build and open a model, or open what was built before.

    Args:
        path: ONNX file.
        compile: Makes the C project.
        isa: Instruction set, or None for the best of this processor.
        **options: For ``compile``: ``batch``, ``chunk``, ``max_steps``, ``fixed``.

    Raises:
        UsageError: This processor does not have the instruction set.
        TargetUnavailable: There is no C compiler.
        ModelError: The model cannot be turned into C, or the compiler fails.
    """
    flags = _isa_flags(isa)
    command = find_compiler()
    given = {key: value for key, value in options.items() if value is not None}
    with tempfile.TemporaryDirectory(prefix="edgernn-") as work:
        folder = Path(work) / "project"
        compile(path, folder, target="native", **given)
        project = read_project(folder)
        glue = folder / "edgernn_size.c"
        glue.write_text(_glue(project.name))
        sources = [folder / f"{project.name}.c", glue]
        texts = [*command, compiler_version(command), _processor(), *_FLAGS, *flags]
        cache = cache_folder() / "native"
        file = cache / f"{content_key(folder, texts)}.so"
        if file.exists():
            file.touch()
        else:
            made = Path(work) / "model.so"
            more = ["-lm"] if project.libm else []
            run_compiler(
                [*command, *_FLAGS, *_for(command, flags), f"-I{folder}", *map(str, sources),
                 "-o", str(made), *more],
                f"{path}: building it for target native",
            )  # fmt: skip
            with replacing(file) as temporary:
                shutil.copyfile(made, temporary)
            forget_unused(cache)
    return _opened(file, project, path)


def _opened(file: Path, project: CProject, path: Path) -> Library:
    try:
        library = ctypes.CDLL(str(file))
    except OSError as error:
        raise ModelError(
            f"{path}: the built library {file} cannot be opened ({error}); remove it and try again"
        ) from None
    size = getattr(library, _SIZE)
    size.restype = ctypes.c_size_t
    name = project.name
    init, reset = getattr(library, f"{name}_init"), getattr(library, f"{name}_reset")
    init.restype = reset.restype = None
    return Library(
        project=project,
        path=file,
        state_size=int(size()),
        init=init,
        reset=reset,
        run=getattr(library, f"{name}_run"),
        step=getattr(library, f"{name}_step") if project.causal else None,
    )


def _glue(name: str) -> str:
    return (
        f'#include "{name}.h"\n'
        f"size_t {_SIZE}(void);\n"
        f"size_t {_SIZE}(void)\n{{\n    return sizeof({name}_state);\n}}\n"
    )


def _isa_flags(isa: str | None) -> tuple[str, ...]:
    if isa not in _ISAS:
        known = ", ".join(name for name in _ISAS if name)
        raise UsageError(f"unknown instruction set {isa!r}; choose {known}, or leave it out")
    if isa == "avx2" and not {"avx2", "fma"} <= _cpu_flags():
        raise UsageError("this processor does not have AVX2; choose portable, or leave it out")
    return _ISAS[isa]


def _for(command: Sequence[str], flags: tuple[str, ...]) -> list[str]:
    """Return flags as a compiler wants them: zig builds for this processor by itself."""
    if "ziglang" in command:
        return [flag.replace("-march=haswell", "-mcpu=haswell") for flag in flags
                if flag != "-march=native"]  # fmt: skip
    return list(flags)


@functools.cache
def _cpu_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    found = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return frozenset(found.partition(":")[2].split())


def _processor() -> str:
    """Return what tells processors with other instructions apart, for the cache."""
    flags = hashlib.sha256(" ".join(sorted(_cpu_flags())).encode()).hexdigest()
    return f"{sys.platform} {platform.machine()} {flags}"
