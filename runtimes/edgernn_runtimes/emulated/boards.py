"""The table of emulated boards. A new one also needs a line in `TARGETS` and a weight layout."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True)
class Memory:
    """Say where a microcontroller board has its memory.

    Attributes:
        boot: Address of the vectors, or of the first instruction (1 KiB are kept for it).
        flash: Address of program and weights.
        flash_bytes: Size of it.
        ram: Address of stack and data.
        ram_bytes: Size of it.
        stack_bytes: Part of the RAM for the stack.
    """

    boot: int
    flash: int
    flash_bytes: int
    ram: int
    ram_bytes: int
    stack_bytes: int = 64 * KIB


@dataclass(frozen=True)
class Board:
    """Name an emulated board and what builds and runs programs for it.

    Attributes:
        name: Name of the target.
        machine: QEMU's name of the board, or of the processor of a Linux board.
        emulator: QEMU program.
        compiler: C compiler.
        flags: What the compiler must know about the core.
        packages: Debian packages with the two and their C library.
        memory: Memory map; None for a Linux board, whose memory is not the limit.
    """

    name: str
    machine: str
    emulator: str
    compiler: str
    flags: tuple[str, ...]
    packages: tuple[str, ...]
    memory: Memory | None = None


_ARM = ("qemu-system-arm", "gcc-arm-none-eabi", "picolibc-arm-none-eabi")
_RISCV = ("qemu-system-misc", "gcc-riscv64-unknown-elf", "picolibc-riscv64-unknown-elf")

_BOARDS = (
    Board(
        "cortex-m4", "mps2-an386", "qemu-system-arm", "arm-none-eabi-gcc",
        ("-mthumb", "-mcpu=cortex-m4", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
        _ARM, Memory(0, KIB, 4 * MIB - KIB, 0x2000_0000, 4 * MIB),
    ),
    Board(
        "cortex-m7", "mps2-an500", "qemu-system-arm", "arm-none-eabi-gcc",
        ("-mthumb", "-mcpu=cortex-m7", "-mfloat-abi=hard", "-mfpu=fpv5-d16"),
        _ARM, Memory(0, KIB, 4 * MIB - KIB, 0x2000_0000, 4 * MIB),
    ),
    Board(
        "cortex-m55", "mps3-an547", "qemu-system-arm", "arm-none-eabi-gcc",
        ("-mthumb", "-mcpu=cortex-m55", "-mfloat-abi=hard"),
        # The vectors must lie at 0; the code memory of 2 MiB is at 0x0100_0000, and the RAM is
        # the secure view of the internal SRAM, because the core starts in its secure state.
        _ARM, Memory(0, 0x0100_0000, 2 * MIB, 0x3100_0000, 2 * MIB),
    ),
    Board(
        "riscv32", "virt", "qemu-system-riscv32", "riscv64-unknown-elf-gcc",
        ("-march=rv32imac", "-mabi=ilp32", "-mcmodel=medany"),
        # Nothing lies below the start code, so a stack that runs over soon faults.
        _RISCV, Memory(0x8000_0000, 0x8040_0400, 4 * MIB, 0x8000_0400, 4 * MIB),
    ),
    Board(
        "aarch64", "cortex-a76", "qemu-aarch64", "aarch64-linux-gnu-gcc",
        ("-march=armv8.2-a+dotprod", "-mtune=cortex-a76"),
        ("qemu-user", "gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"),
    ),
    Board(
        "armv7", "cortex-a7", "qemu-arm", "arm-linux-gnueabihf-gcc",
        ("-mcpu=cortex-a7", "-mfpu=neon-vfpv4", "-mfloat-abi=hard"),
        ("qemu-user", "gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"),
    ),
)  # fmt: skip

BOARDS = {board.name: board for board in _BOARDS}
