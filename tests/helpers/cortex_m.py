"""Programs on emulated Cortex-M cores, built from the kernels alone."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from helpers.kernels import KERNELS, STRICT

_LINK = [
    "--specs=picolibc.specs", "--oslib=semihost", "--crt0=hosted",
    "-Wl,--defsym=__stack_size=0x8000",
    "-Wl,--defsym=__flash=0", "-Wl,--defsym=__flash_size=0x80000",
    "-Wl,--defsym=__ram=0x20000000", "-Wl,--defsym=__ram_size=0x80000",
]  # fmt: skip
_ROWS = ["-DEDGERNN_F32_ROWS=4", "-DEDGERNN_I8_ROWS=4"]
_WIDE = ("-DEDGERNN_I8_WIDE=2", "-DEDGERNN_I16_DEPTH=4")
_DEEP = ("-DEDGERNN_I8_DEPTH=16", "-DEDGERNN_I16_DEPTH=8")
_M4, _M7, _M55 = "mps2-an386", "mps2-an500", "mps3-an547"
_HARD = "-mfloat-abi=hard"

# C with which programs begin: seeded numbers, and a hash of what was computed.
RANDOM = r"""
#include <stddef.h>
#include <stdint.h>

static uint32_t seed = 1, hash;

static uint32_t draw(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * below) >> 32);
}

static float uniform(float size)
{
    return size * ((float)draw(1u << 20) / (float)(1 << 19) - 1.0f);
}

static void fill(float *to, size_t n, float size)
{
    size_t l;
    for (l = 0; l < n; l++)
        to[l] = uniform(size);
}

static void mix(const void *data, size_t bytes)
{
    const uint8_t *from = data;
    size_t l;
    for (l = 0; l < bytes; l++)
        hash = (hash ^ from[l]) * 16777619u;
}
"""


@dataclass(frozen=True)
class Core:
    """An emulated core: its machine, the layout of the weights, the compiler's flags."""

    machine: str
    layout: tuple[str, ...]
    flags: tuple[str, ...]


CORES = {
    "cortex-m4": Core(_M4, _WIDE, ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", _HARD)),
    "cortex-m7": Core(_M7, _WIDE, ("-mcpu=cortex-m7", "-mfpu=fpv5-d16", _HARD)),
    "cortex-m55": Core(_M55, _DEEP, ("-mcpu=cortex-m55", _HARD)),
    "cortex-m4 without FPU": Core(_M4, _WIDE, ("-mcpu=cortex-m4", "-mfloat-abi=soft")),
    "cortex-m55, layout of cortex-m4": Core(_M55, _WIDE, ("-mcpu=cortex-m55", _HARD)),
    "cortex-m4, layout of cortex-m55": Core(
        _M4, _DEEP, ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", _HARD)
    ),
}


def missing() -> str | None:
    """Say what is not installed of the cross compiler, its library and the emulator."""
    for program in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    command = ["arm-none-eabi-gcc", "--specs=picolibc.specs", "-E", "-xc", "/dev/null"]
    if subprocess.run(command, capture_output=True).returncode != 0:
        return "picolibc for arm-none-eabi-gcc is not installed"
    return None


def output(folder: Path, code: str, core: Core, *flags: str) -> list[str]:
    """Build a program for ``core``, run it and return its lines."""
    source, program = folder / "check.c", folder / "check.elf"
    source.write_text(code)
    built = subprocess.run(
        ["arm-none-eabi-gcc", "-mthumb", *core.flags, *STRICT, *_ROWS, *core.layout, *flags,
         "-I", KERNELS, source, "-o", program, *_LINK],
        capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    ran = subprocess.run(
        ["qemu-system-arm", "-M", core.machine, "-nographic", "-monitor", "none", "-serial", "none",
         "-semihosting-config", "enable=on,target=native", "-kernel", program],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    return ran.stdout.splitlines()
