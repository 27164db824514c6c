"""Say in words why a core stopped a program."""

from __future__ import annotations

from edgernn_runtimes.emulated.boards import Board

# Armv7-M and Armv8-M Architecture Reference Manuals, Configurable Fault Status Register.
_ARM = {
    4: "stack overflow", 12: "stack overflow", 20: "stack overflow",
    0: "jump to where there is no code", 8: "jump to where there is no code",
    1: "access to where there is no memory", 9: "access to where there is no memory",
    10: "access to where there is no memory", 16: "unknown instruction",
    17: "jump without the Thumb bit", 18: "broken return address",
    19: "instruction of a coprocessor that is off", 24: "unaligned access", 25: "division by zero",
}  # fmt: skip
# The RISC-V Instruction Set Manual, Volume II, mcause.
_RISCV = {
    0: "misaligned jump", 1: "jump to where there is no code", 2: "unknown instruction",
    4: "unaligned access", 5: "access to where there is no memory", 6: "unaligned access",
    7: "access to where there is no memory",
}  # fmt: skip


def fault_text(board: Board, cause: int) -> str:
    """Return what a fault means.

    Args:
        board: What the program ran on.
        cause: CFSR of an Arm core, mcause of a RISC-V core.
    """
    if "riscv" in board.emulator:
        return _RISCV.get(cause, f"trap {cause}")
    for bit, text in _ARM.items():
        if cause >> bit & 1:
            return text
    return f"hard fault, CFSR {cause:#x}"
