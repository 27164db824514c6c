"""Build the program of a generated C project for a board, once for each content."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgernn.c_project import CProject
from edgernn.errors import ModelError
from edgernn.files import replacing, write_text
from edgernn_runtimes.build_cache import cache_folder, content_key, forget_unused
from edgernn_runtimes.compilers import run_compiler
from edgernn_runtimes.emulated.boards import KIB, Board, Memory
from edgernn_runtimes.emulated.image import Footprint, Image
from edgernn_runtimes.emulated.runner_config import Plan, config_header, make_plan
from edgernn_runtimes.emulated.toolchain import Toolchain

HERE = Path(__file__).parent
STATE_VARIABLE = "runner_state"
_MODEL = "model_"  # the names of the model's objects begin so, for the link map
_FLAGS = (
    "-std=c99", "-O3", "-ffp-contract=off", "-ffunction-sections", "-fdata-sections",
    "-fno-asynchronous-unwind-tables", "-fno-unwind-tables",
)  # fmt: skip
_NOT_THE_MODEL = ("selftest.c",)
_RUNNER_BYTES = 8 * KIB  # start code, C library and runner, at most


@dataclass(frozen=True)
class Program:
    """A linked program and what is known about it.

    Attributes:
        image: The file.
        board: What it runs on.
        project: Manifest of the model.
        plan: How requests to it are cut.
        footprint: Memory it takes.
    """

    image: Image
    board: Board
    project: CProject
    plan: Plan
    footprint: Footprint


def build(
    folder: Path, project: CProject, board: Board, tools: Toolchain, *, where: str,
    portable: bool = False,
) -> Program:  # fmt: skip
    """Build the program that serves a model, or take it from the cache.

    Args:
        folder: The generated C project.
        project: Its manifest.
        board: What the program is for.
        tools: What `edgernn_runtimes.emulated.toolchain.require` found.
        where: Model file, for messages.
        portable: Use the portable kernels only.

    Raises:
        ModelError: The model does not fit the board, or a compiler fails.
        OutputError: The cache folder cannot be written.
    """
    plan = check_fits(project, board, where)
    header = config_header(project, plan)
    defines = ("-DEDGERNN_PORTABLE",) if portable else ()
    sources = [file for file in sorted(folder.glob("*.c")) if file.name not in _NOT_THE_MODEL]
    flags = (*_FLAGS, *board.flags, *defines)
    cache = cache_folder() / "emulated"
    texts = (header, board.name, tools.compiler_version, *flags)
    ours = [HERE / name for name in ("runner.c", "mcu.ld", "build.py", "boards.py")]
    key = content_key(folder, texts, ours)
    image = Image(cache / f"{key}.elf", cache / f"{key}.map")
    if image.elf.exists() and image.map.exists():
        image.elf.touch()
        image.map.touch()
    else:
        with tempfile.TemporaryDirectory(prefix="edgernn-") as work:
            write_text(Path(work) / "runner_config.h", header)
            _compile(sources, Path(work), folder, board, tools, flags, where)
            for made, file in (("program.map", image.map), ("program.elf", image.elf)):
                with replacing(file) as temporary:
                    temporary.write_bytes((Path(work) / made).read_bytes())
                    temporary.chmod(0o755)  # QEMU runs Linux programs only if they may be run
        forget_unused(cache)
    return Program(image, board, project, plan, image.footprint(_MODEL, STATE_VARIABLE))


def check_fits(project: CProject, board: Board, where: str) -> Plan:
    """Compare the manifest's numbers with the board's memory, before anything is built.

    Raises:
        ModelError: The model does not fit.
    """
    memory = board.memory
    if memory is None:
        return make_plan(project, None)
    flash, room = memory.flash_bytes, memory.ram_bytes - memory.stack_bytes
    if project.weight_bytes > flash:
        raise ModelError(
            f"{where}: {_kib(project.weight_bytes)} of constants do not fit the "
            f"{_kib(flash)} of flash of {_board(board)}; quantize the model or make it smaller"
        )
    state = project.state_bytes + project.scratch_bytes
    plan = make_plan(project, room - state - _RUNNER_BYTES)
    if state + plan.buffer_bytes + _RUNNER_BYTES > room:
        raise ModelError(
            f"{where}: {_kib(state)} of state and scratch memory and {_kib(plan.buffer_bytes)} for "
            f"inputs and outputs do not fit the {_kib(memory.ram_bytes)} of RAM of "
            f"{_board(board)}, of which {_kib(memory.stack_bytes)} are stack; make the model "
            f"smaller, or its sequences shorter if it is not causal"
        )
    return plan


def _compile(
    sources: list[Path], work: Path, folder: Path, board: Board, tools: Toolchain,
    flags: tuple[str, ...], where: str,
) -> None:  # fmt: skip
    what = f"{where}: building the program for {board.name}"
    specs = () if board.memory is None else ("--specs=picolibc.specs",)
    runner = (HERE / "runner.c", "runner.o", ("-fno-shrink-wrap", f"-I{work}"))
    models = [(source, f"{_MODEL}{source.stem}.o", ()) for source in sources]
    objects = []
    for source, name, more in (*models, runner):
        objects.append(str(work / name))
        run_compiler(
            [tools.compiler, *flags, *specs, f"-I{folder}", *more, "-c", str(source), "-o",
             str(work / name)],
            what,
        )  # fmt: skip
    link = [
        tools.compiler, *board.flags, *specs, *_link_flags(board.memory), *objects, "-lm",
        f"-Wl,--gc-sections,-Map={work / 'program.map'}", "-o", str(work / "program.elf"),
    ]  # fmt: skip
    try:
        run_compiler(link, what)
    except ModelError as error:
        over = re.search(r"region `(\w+)' overflowed by (\d+) bytes", str(error))
        if over is None or board.memory is None:
            raise
        kind, limit = "flash", board.memory.flash_bytes
        if over.group(1) == "ram":
            kind, limit = "RAM", board.memory.ram_bytes
        raise ModelError(
            f"{where}: the linked program needs {_kib(limit + int(over.group(2)))} of {kind}, and "
            f"{_board(board)} has {_kib(limit)}; quantize the model or make it smaller"
        ) from None


def _link_flags(memory: Memory | None) -> list[str]:
    if memory is None:
        return ["-static"]
    symbols = {
        "__boot": memory.boot, "__flash": memory.flash, "__flash_size": memory.flash_bytes,
        "__ram": memory.ram, "__ram_size": memory.ram_bytes, "__stack_size": memory.stack_bytes,
    }  # fmt: skip
    return [
        "--oslib=semihost", "--crt0=hosted", "-T", str(HERE / "mcu.ld"),
        *(f"-Wl,--defsym={name}={value:#x}" for name, value in symbols.items()),
    ]  # fmt: skip


def _board(board: Board) -> str:
    return f"{board.name} ({board.machine})"


def _kib(size: int) -> str:
    return f"{size / KIB:,.1f} KiB"
