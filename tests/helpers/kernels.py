"""Builds of the C kernels with a driver, and numpy models of what they compute."""

import functools
import math
import re
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "exporters" / "edgernn_exporters" / "codegen" / "kernels"
DRIVER = ROOT / "tests" / "exporters" / "codegen" / "kernels_driver.c"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow")
F32 = np.float32
UNIT = F32(1) / F32(127)
NONE, SAME = b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff"
GUARD = F32(-77.0)


@dataclass(frozen=True)
class Layout:
    f32_rows: int = 16
    i8_rows: int = 16
    i8_depth: int = 4
    i8_wide: int = 0
    i16_depth: int = 2

    def flags(self) -> list[str]:
        names = ("F32_ROWS", "I8_ROWS", "I8_DEPTH", "I8_WIDE", "I16_DEPTH")
        values = (self.f32_rows, self.i8_rows, self.i8_depth, self.i8_wide, self.i16_depth)
        return [f"-DEDGERNN_{name}={value}" for name, value in zip(names, values, strict=True)]


HOST, SMALL = Layout(), Layout(4, 4, i16_depth=4)
M4, M55 = Layout(4, 4, 4, 2, i16_depth=4), Layout(4, 4, 16, i16_depth=8)
ODD = (Layout(16, 16, 16, i16_depth=1), Layout(16, 16, 4, 2, i16_depth=8), Layout(4, 16, 4),
       Layout(16, 4, 16))  # fmt: skip
AVX2 = ("-mavx2", "-mfma")
AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl")
VNNI = (*AVX512, "-mavx512vnni")
AS_AVXVNNI = (*AVX2, "-mavx512vl", "-mavx512vnni", "-D__AVXVNNI__")
PORTABLE = ("-DEDGERNN_PORTABLE",)
SANE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1")
A64, A32 = "aarch64-linux-gnu-gcc", "arm-linux-gnueabihf-gcc"
DOT, NEON = ("-march=armv8.2-a+dotprod",), ("-march=armv7-a", "-mfpu=neon-vfpv4")


@dataclass(frozen=True)
class Build:
    name: str
    compiler: str
    flags: tuple[str, ...] = ()
    layout: Layout = HOST
    runner: str | None = None
    cpu: tuple[str, ...] = ()

    def missing(self) -> str | None:
        for program in filter(None, (self.compiler, self.runner)):
            if shutil.which(program) is None:
                return f"{program} is not installed"
        if self.cpu and not set(self.cpu) <= cpu_features():
            return f"this CPU has no {' or '.join(self.cpu)}"
        return None


@functools.cache
def cpu_features() -> frozenset[str]:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^flags\s*:(.*)$", info.read_text(), re.M) if info.exists() else None
    return frozenset(found[1].split()) if found else frozenset()


BUILDS = [
    Build("portable", "gcc", PORTABLE),
    Build("portable-clang", "clang", PORTABLE),
    Build("plain", "gcc"),  # what a compiler does without an instruction set of ours
    Build("native", "gcc", ("-march=native",)),
    Build("avx2", "gcc", AVX2, cpu=("avx2", "fma")),
    Build("avx2-clang", "clang", AVX2, cpu=("avx2", "fma")),
    Build("avx512", "gcc", AVX512, cpu=("avx512bw", "avx512vl")),
    Build("vnni", "gcc", VNNI, cpu=("avx512bw", "avx512vl", "avx512_vnni")),
    Build("vnni-clang", "clang", VNNI, cpu=("avx512bw", "avx512vl", "avx512_vnni")),
    # The code for AVX-VNNI with the same instructions of AVX-512: CPUs have the one or the other.
    Build("avxvnni", "gcc", AS_AVXVNNI, cpu=("avx512vl", "avx512_vnni")),
    Build("portable-sanitized", "gcc", (*PORTABLE, *SANE)),
    Build("native-sanitized", "gcc", ("-march=native", *SANE)),
    Build("avx2-sanitized", "clang", (*AVX2, *SANE), cpu=("avx2", "fma")),
    Build("m4-sanitized", "gcc", (*PORTABLE, *SANE), M4),
    *(Build(f"portable-{i}", "gcc", PORTABLE, x) for i, x in enumerate((SMALL, M4, M55, *ODD))),
    *(Build(f"native-{i}", "gcc", ("-march=native",), x) for i, x in enumerate((SMALL, M4, M55))),
    Build("aarch64", A64, ("-static",), runner="qemu-aarch64"),
    Build("aarch64-dot", A64, ("-static", *DOT), runner="qemu-aarch64"),
    Build("aarch64-m4", A64, ("-static",), M4, runner="qemu-aarch64"),
    Build("armv7", A32, ("-static", *NEON), runner="qemu-arm"),
    Build("armv7-portable", A32, ("-static", *NEON, *PORTABLE), runner="qemu-arm"),
]


class Program:
    """A build of the driver, running."""

    def __init__(self, build: Build, path: Path) -> None:
        self.layout = build.layout
        command = [*([build.runner] if build.runner else []), str(path)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def call(self, numbers: tuple[int, ...], out: np.ndarray, *arrays: object) -> float:
        """Send a request; ``out`` receives what was written."""
        request = struct.pack("<8I", *numbers, *[0] * (8 - len(numbers)))
        for array in (out, *arrays):
            if isinstance(array, bytes):
                request += array
            else:
                data = np.ascontiguousarray(array).tobytes()
                request += struct.pack("<I", len(data)) + data
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(request)
        stdin.flush()
        answer = stdout.read(out.nbytes + 4)
        assert len(answer) == out.nbytes + 4, f"the program ended: {self.process.wait()}"
        out.ravel()[:] = np.frombuffer(answer[:-4], out.dtype)
        return float(np.frombuffer(answer[-4:], F32)[0])

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        assert self.process.wait(20) == 0


def compile_c(compiler: str, *arguments: str) -> None:
    done = subprocess.run([compiler, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def pack_f32(w: np.ndarray, rows: int) -> np.ndarray:
    """Pack ``[n, k]`` as ``[ceil(n / rows)][k][rows]``."""
    n, k = w.shape
    padded = np.zeros((math.ceil(n / rows) * rows, k), F32)
    padded[:n] = w
    return padded.reshape(-1, rows, k).transpose(0, 2, 1)


def pack_i8(w: np.ndarray, layout: Layout) -> np.ndarray:
    """Pack ``[n, k]`` as ``[ceil(n / rows)][ceil(k / depth)][rows][depth]``, or pairs of rows."""
    rows, depth = layout.i8_rows, layout.i8_depth
    padded = padded_to(w, rows, depth)
    blocks = padded.reshape(len(padded) // rows, rows, -1, depth).transpose(0, 2, 1, 3)
    if layout.i8_wide:
        return row_pairs(blocks[..., [0, 2, 1, 3]])
    return np.ascontiguousarray(blocks).astype(np.int8)


def padded_to(rows: np.ndarray, count: int, depth: int) -> np.ndarray:
    """Return ``[n, k]`` with zeros up to multiples of count and depth, as int32."""
    n, k = rows.shape
    padded = np.zeros((math.ceil(n / count) * count, math.ceil(k / depth) * depth), np.int32)
    padded[:n, :k] = rows
    return padded


def pack_i4(w: np.ndarray, layout: Layout) -> np.ndarray:
    """Pack ``[n, k]`` as ``[ceil(n / rows)][ceil(k / (2 * depth))][rows][depth]`` of two each.

    For pairs of int16 as ``[rows / 4][8 inputs]`` of four rows each.
    """
    rows, depth = layout.i8_rows, layout.i8_depth
    padded = padded_to(w, rows, 2 * depth) + 8
    if layout.i8_wide:
        fours = padded.reshape(len(padded) // rows, rows // 4, 4, -1, 8).transpose(0, 3, 1, 4, 2)
        words = (fours * 16 ** np.arange(4)).sum(axis=-1)[..., [0, 2, 1, 3, 4, 6, 5, 7]]
        return np.ascontiguousarray(words ^ 1 << 15).astype("<u2")
    blocks = padded.reshape(len(padded) // rows, rows, -1, 2, depth).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(blocks[..., 0, :] + 16 * blocks[..., 1, :]).astype(np.uint8)


def pack_w8a16(w: np.ndarray, layout: Layout) -> np.ndarray:
    """Pack ``[n, k]`` as ``[ceil(n / rows)][ceil(k / depth)][rows][depth]``, or pairs of rows."""
    rows, depth = layout.i8_rows, layout.i16_depth
    padded = padded_to(w, rows, depth)
    blocks = padded.reshape(len(padded) // rows, rows, -1, depth).transpose(0, 2, 1, 3)
    return row_pairs(blocks) if layout.i8_wide else np.ascontiguousarray(blocks).astype(np.int8)


def row_pairs(blocks: np.ndarray) -> np.ndarray:
    """Return ``w(even row) + 256 * w(odd row)`` of ``[blocks, groups, rows, depth]``."""
    return np.ascontiguousarray(blocks[..., 0::2, :] + 256 * blocks[..., 1::2, :]).astype("<i2")


def stored(q: np.ndarray, layout: Layout, groups: int = 1) -> np.ndarray:
    """Bring quantized rows ``[m, k]`` into the form the kernels read, padded with zeros."""
    padded = padded_to(q, 1, groups * layout.i8_depth)
    if layout.i8_wide:
        padded = padded.reshape(len(q), -1, 4)[..., [0, 2, 1, 3]].reshape(padded.shape)
    return padded.astype(np.int16 if layout.i8_wide else np.int8)


def strided(rows: np.ndarray, stride: int, fill: float) -> np.ndarray:
    """Return rows at a stride in one block that ends with the last row."""
    m, k = rows.shape
    block = np.full((m, stride), fill, rows.dtype)
    block[:, :k] = rows
    return block.ravel()[: (m - 1) * stride + k]


# The arithmetic, in numpy: one float32 operation at a time.

C = [F32(c) for c in (0.693147123, 0.240223512, 0.0555050001, 0.00966624357, 0.00133335614)]
ROUNDER = F32(12582912)


def power_and_fraction(x: np.ndarray, rate: float, limit: float) -> tuple[np.ndarray, np.ndarray]:
    x = np.where(x > F32(limit), F32(limit), x)
    t = np.where(x < F32(-limit), F32(-limit), x) * F32(rate)
    n = t + ROUNDER
    return n.view(np.uint32) << np.uint32(23), t - (n - ROUNDER)


def exp2_ratio(f: np.ndarray) -> np.ndarray:
    p = C[4] * f + C[3]
    for c in reversed(C[:3]):
        p = p * f + c
    return p


def exp_plus_1(x: np.ndarray) -> np.ndarray:
    power, f = power_and_fraction(x, -1.44269504, 87)
    p = exp2_ratio(f) * f + F32(1)
    return (power + np.uint32(0x3F800000)).view(F32) * p + F32(1)


def exp_minus_1(x: np.ndarray) -> np.ndarray:
    bits, f = power_and_fraction(x, 2.88539008, 12)
    power = (bits + np.uint32(0x3F800000)).view(F32)
    return power * (exp2_ratio(f) * f) + (power - F32(1))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return F32(1) / exp_plus_1(x)


def tanh(x: np.ndarray) -> np.ndarray:
    e = exp_minus_1(x)
    return e / (e + F32(2))


def same_bits(got: np.ndarray, expected: np.ndarray) -> None:
    """NaN equals NaN; everything else is compared bit for bit."""
    assert got.dtype == expected.dtype == F32
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(got), nan)
    np.testing.assert_array_equal(got[~nan].view(np.uint32), expected[~nan].view(np.uint32))


def floats(seed: int, n: int) -> np.ndarray:
    """Random bit patterns and values around the interesting ones, specials first."""
    rng = np.random.default_rng(seed)
    special = F32(
        [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, -1e-45, 1e-38, 3e38, -3e38, 12, -87.1]
    )
    bits = rng.integers(0, 2**32, n // 4, np.uint32, endpoint=False).view(F32)
    near = rng.normal(0, 4, n // 4).astype(F32)
    wide = rng.uniform(-100, 100, n // 4).astype(F32)
    small = (rng.normal(0, 1, n // 4) * 10.0 ** rng.uniform(-8, 0, n // 4)).astype(F32)
    return np.concatenate([special, bits, near, wide, small])
