"""Every build of the kernels against numpy: hosts, emulated cores, all weight layouts."""

import functools
import math
import platform
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[3]
KERNELS = ROOT / "exporters" / "edgernn_exporters" / "codegen" / "kernels"
DRIVER = Path(__file__).with_name("kernels_driver.c")
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

    def flags(self) -> list[str]:
        names = ("F32_ROWS", "I8_ROWS", "I8_DEPTH", "I8_WIDE")
        values = (self.f32_rows, self.i8_rows, self.i8_depth, self.i8_wide)
        return [f"-DEDGERNN_{name}={value}" for name, value in zip(names, values, strict=True)]


HOST, SMALL = Layout(), Layout(4, 4)
M4, M55 = Layout(4, 4, 4, 2), Layout(4, 4, 16)
ODD = (Layout(16, 16, 16), Layout(16, 16, 4, 2), Layout(4, 16, 4), Layout(16, 4, 16))
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


@pytest.fixture(scope="module", params=BUILDS, ids=lambda build: build.name)
def program(request):
    build = request.param
    if reason := build.missing():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "driver"
        flags = ["-O3", "-ffp-contract=off", *build.flags, *build.layout.flags(), f"-I{KERNELS}"]
        compile_c(build.compiler, *STRICT, *flags, str(DRIVER), "-o", str(path))
        running = Program(build, path)
        yield running
        running.close()


# The layouts, in numpy.


def pack_f32(w: np.ndarray, rows: int) -> np.ndarray:
    """Pack ``[n, k]`` as ``[ceil(n / rows)][k][rows]``."""
    n, k = w.shape
    padded = np.zeros((math.ceil(n / rows) * rows, k), F32)
    padded[:n] = w
    return padded.reshape(-1, rows, k).transpose(0, 2, 1)


def pack_i8(w: np.ndarray, layout: Layout) -> np.ndarray:
    """Pack ``[n, k]`` as ``[ceil(n / rows)][ceil(k / depth)][rows][depth]``, or pairs of rows."""
    rows, depth = layout.i8_rows, layout.i8_depth
    n, k = w.shape
    padded = np.zeros((math.ceil(n / rows) * rows, math.ceil(k / depth) * depth), np.int32)
    padded[:n, :k] = w
    blocks = padded.reshape(len(padded) // rows, rows, -1, depth).transpose(0, 2, 1, 3)
    if layout.i8_wide:
        pairs = blocks[..., [0, 2, 1, 3]].reshape(*blocks.shape[:2], rows // 2, 2, depth)
        return np.ascontiguousarray(pairs[..., 0, :] + 256 * pairs[..., 1, :]).astype("<i2")
    return np.ascontiguousarray(blocks).astype(np.int8)


def stored(q: np.ndarray, layout: Layout) -> np.ndarray:
    """Bring quantized rows ``[m, k]`` into the form the kernels read, padded with zeros."""
    depth = layout.i8_depth
    padded = np.zeros((len(q), math.ceil(q.shape[1] / depth) * depth), np.int32)
    padded[:, : q.shape[1]] = q
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


SHAPES = st.tuples(
    st.integers(1, 14),
    st.integers(1, 150) | st.sampled_from([16, 64, 128, 192, 256]),
    st.integers(1, 90) | st.sampled_from([64, 128]),
)
STARTS = st.sampled_from(["none", "rows", "one row", "y"])
GAPS = st.integers(0, 9)


def start_of(kind: str, rng: np.random.Generator, y: np.ndarray, stride: int, m: int, n: int):
    """Return what is sent as start, its stride, and its values ``[m, n]``."""
    values = rng.normal(0, 1, (m, n)).astype(F32)
    if kind == "none":
        return NONE, 0, np.full((m, n), F32(-0.0))
    if kind == "one row":
        return values[:1], 0, np.repeat(values[:1], m, axis=0)
    if kind == "y":
        y[:, :n] = values
        return SAME, stride, values
    return strided(values, n + 2, np.nan), n + 2, values


@given(SHAPES, STARTS, GAPS, GAPS, st.integers(0, 2**32 - 1))
def test_linear_f32(program, shape, start_kind, y_gap, x_gap, seed):
    m, n, k = shape
    rng = np.random.default_rng(seed)
    x, w = rng.normal(0, 1, (m, k)).astype(F32), rng.normal(0, 1, (n, k)).astype(F32)
    y = np.full((m, n + y_gap), GUARD)
    start, start_stride, values = start_of(start_kind, rng, y, n + y_gap, m, n)
    program.call(
        (0, m, n, k, n + y_gap, start_stride, k + x_gap),
        y, start, strided(x, k + x_gap, np.nan), pack_f32(w, program.layout.f32_rows),
    )  # fmt: skip
    exact = values.astype(float) + x.astype(float) @ w.T.astype(float)
    room = 1e-7 * (k + 2) * (np.abs(x) @ np.abs(w.T) + np.abs(values))
    assert (np.abs(y[:, :n] - exact) <= room).all()
    assert (y[:, n:] == GUARD).all()


@given(
    SHAPES, STARTS, GAPS, st.integers(0, 5), st.booleans(), st.booleans(), st.booleans(),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_linear_i8(program, shape, start_kind, y_gap, q_gap, scaled, sums, extreme, seed):
    m, n, k = shape
    layout = program.layout
    rng = np.random.default_rng(seed)
    q, w = rng.integers(-128, 128, (m, k)), rng.integers(-127, 128, (n, k))
    if extreme:
        q, w = np.where(q < 0, -128, 127), np.where(w < 0, -127, 127)
    w_scale = rng.uniform(1e-3, 2e-2, n).astype(F32)
    x_scale = rng.uniform(1e-3, 2e-2, m).astype(F32) if scaled else None
    y = np.full((m, n + y_gap), GUARD)
    start, start_stride, values = start_of(start_kind, rng, y, n + y_gap, m, n)
    rows = stored(q, layout)
    stride = rows.shape[1] + q_gap * layout.i8_depth
    program.call(
        (1, m, n, k, n + y_gap, start_stride, stride),
        y, start, strided(rows, stride, 99), NONE if x_scale is None else x_scale,
        pack_i8(w, layout), w.sum(axis=1).astype(np.int32) if sums else NONE, w_scale,
    )  # fmt: skip
    expected = (q @ w.T).astype(F32) * w_scale
    if x_scale is not None:
        expected = expected * x_scale[:, None]
    same_bits(y[:, :n], expected + values)  # without start: + -0.0 changes nothing
    assert (y[:, n:] == GUARD).all()


@given(st.integers(1, 200), st.sampled_from([1e-38, 1e-9, 1.0, 1e30]), st.integers(0, 2**32 - 1))
def test_quantize_row(program, k, size, seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(0, 1, k) * size).astype(F32)
    x[rng.integers(0, k, 3)] = 0
    if k % 3 == 0:  # values that fall between two integers
        x = (rng.integers(-254, 255, k) / 2 * size).astype(F32)
    unit = np.maximum(np.abs(x).max() * UNIT, F32(1e-30))
    expected = stored(np.rint(x / unit).astype(np.int32)[None], program.layout)
    q = np.full(expected.shape[1] + 32, 99, expected.dtype)
    assert program.call((2, k), q, x) == unit
    np.testing.assert_array_equal(q[:-32], expected[0])
    assert (q[-32:] == 99).all()


@given(st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_quantize_unit(program, k, seed):
    rng = np.random.default_rng(seed)
    h = rng.uniform(-1, 1, k).astype(F32)
    ties = (rng.integers(-300, 300, k) / 2).astype(F32) * UNIT
    h = np.where(rng.random(k) < 0.3, ties, h)
    steps = np.clip(np.rint(h / UNIT), -128, 127).astype(np.int32)
    expected = stored(steps[None], program.layout)
    q = np.full(expected.shape[1] + 32, 99, expected.dtype)
    program.call((3, k), q, h)
    np.testing.assert_array_equal(q[:-32], expected[0])
    assert (q[-32:] == 99).all()


@given(
    st.integers(1, 70), st.sampled_from(["lstm", "gru", "reset", "update", "rnn"]),
    st.sampled_from([0.1, 2.0, 30.0]), st.integers(0, 2**32 - 1),
)  # fmt: skip
@np.errstate(all="ignore")  # 1 + exp(87) times exp(24) is infinity, and meant to be
def test_cells(program, hidden, kind, size, seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(0, size, (4, hidden)).astype(F32)
    h, c, p, s = rng.normal(0, 1, (4, hidden)).astype(F32)
    out = np.concatenate([h, c])
    which = ("lstm", "gru", "reset", "update", "rnn").index(kind)
    if kind == "lstm":
        i, o, f, g = a
        e = exp_minus_1(g)
        c = c / exp_plus_1(f) + e / (exp_plus_1(i) * (e + F32(2)))
        e = exp_minus_1(c)
        h = e / (exp_plus_1(o) * (e + F32(2)))
    elif kind in ("gru", "update"):
        n = tanh(p + s / exp_plus_1(a[1]) if kind == "gru" else p)
        h = n + (h - n) / exp_plus_1(a[0])
    elif kind == "reset":
        h = p / exp_plus_1(a[1])
    else:
        a = a[0]
        h = tanh(a)
    expected = np.concatenate([h, c])
    program.call((4, hidden, which), out, a, p, s)
    same_bits(out, expected)


def call_activation(program: Program, name: str, x: np.ndarray) -> np.ndarray:
    names = ("tanh_n", "sigmoid_n", "tanh", "sigmoid", "exp", "log", "sqrt", "erf", "softplus")
    which = (*names, "softsign", "round").index(name)
    y = np.zeros(len(x), F32)
    program.call((5, len(x), which), y, x)
    return y


@pytest.mark.parametrize("name", ["tanh_n", "sigmoid_n", "tanh", "sigmoid"])
def test_tanh_and_sigmoid_have_the_same_bits_everywhere(program, name):
    x = floats(1, 100_000)
    with np.errstate(all="ignore"):
        expected = (tanh if name.startswith("tanh") else sigmoid)(x)
        exact = np.tanh(x.astype(float))
        if name.startswith("sigmoid"):
            exact = 0.5 * (np.tanh(0.5 * x.astype(float)) + 1)
    y = call_activation(program, name, x)
    same_bits(y, expected)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))  # with any payload
    finite = ~np.isnan(x)
    assert np.abs(y[finite] - exact[finite]).max() < 2e-7
    assert np.abs(y[finite]).max() <= 1
    assert name.startswith("tanh") or y[finite].min() >= 0
    for n in (1, 3, 15, 17):
        same_bits(call_activation(program, name, x[:n]), expected[:n])


@pytest.mark.parametrize(
    ("name", "exact", "room_ulp"),
    [
        ("exp", np.exp, 1.1),
        ("log", np.log, 2.1),
        ("sqrt", np.sqrt, 0.5),
        ("erf", np.vectorize(math.erf), 6.2),
        ("softplus", lambda x: np.logaddexp(0, x), 2.6),
        ("softsign", lambda x: x / (1 + np.abs(x)), 2.0),
    ],
)
def test_other_activations(program, name, exact, room_ulp):
    x = floats(2, 20_000)
    x = x[~np.isinf(x)] if name == "softsign" else x
    y = call_activation(program, name, x)
    with np.errstate(all="ignore"):
        expected = exact(x.astype(float))
        nearest = expected.astype(F32)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(nearest))
    np.testing.assert_array_equal(y[np.isinf(nearest)], nearest[np.isinf(nearest)])
    finite = np.isfinite(nearest)
    room = room_ulp * np.spacing(np.abs(nearest[finite])).astype(float)
    assert (np.abs(y[finite] - expected[finite]) <= room).all()


def test_round_is_half_to_even(program):
    x = np.concatenate([np.arange(-700, 700) / F32(4), F32([2**21 + 0.5, -(2**21) - 0.5])])
    np.testing.assert_array_equal(call_activation(program, "round", x.astype(F32)), np.rint(x))


# Compilation.

HEADERS = sorted(
    path.name
    for path in KERNELS.glob("*.h")
    if not re.search(r"_(simd|dsp|mve|vector)\.h", path.name)
)
STRICT_BUILDS = [
    *(("gcc", flags) for flags in ((), PORTABLE, AVX2, AVX512, VNNI, (*AVX2, "-mavxvnni"))),
    *(("clang", flags) for flags in ((), PORTABLE, AVX2, AVX512, VNNI, (*AVX2, "-mavxvnni"))),
    (A64, ()),
    (A64, DOT),
    (A32, NEON),
    (A32, ("-march=armv7-a", "-mfpu=vfpv3-d16", "-marm")),
]


@pytest.mark.parametrize(("compiler", "flags"), STRICT_BUILDS, ids=str)
def test_headers_compile_without_warnings(compiler, flags, tmp_path):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    if platform.machine() not in ("x86_64", "AMD64") and compiler in ("gcc", "clang"):
        pytest.skip("the flags are for x86-64")
    source = tmp_path / "all.c"
    source.write_text("".join(f'#include "{header}"\n' for header in HEADERS))
    for layout in (HOST, M4, M55) if flags == PORTABLE else (HOST,):
        options = (*STRICT, "-fsyntax-only", f"-I{KERNELS}", *layout.flags(), *flags)
        compile_c(compiler, *options, str(source))


def test_each_header_includes_what_it_needs(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    for header in HEADERS:
        (tmp_path / f"{header}.c").write_text(f'#include "{header}"\nextern int edgernn_nothing;\n')
    sources = [str(path) for path in sorted(tmp_path.glob("*.c"))]
    compile_c("gcc", *STRICT, "-fsyntax-only", f"-I{KERNELS}", *sources)


def test_fused_operations_need_no_flag(tmp_path):
    """What follows the base header has none, also where the compiler's default allows them."""
    source = tmp_path / "fused.c"
    source.write_text(
        '#include "edgernn_base.h"\n'
        "float edgernn_test(float a, float b, float c);\n"
        "float edgernn_test(float a, float b, float c) { return a * b + c; }\n"
    )
    for compiler in ("gcc", "clang"):
        if shutil.which(compiler) is None or platform.machine() != "x86_64":
            pytest.skip(f"needs {compiler} for x86-64")
        assembly = tmp_path / "fused.s"
        compile_c(
            compiler, "-std=gnu11", "-O3", "-mfma", f"-I{KERNELS}", "-S", str(source),
            "-o", str(assembly),
        )  # fmt: skip
        assert "vfmadd" not in assembly.read_text()


def test_fast_math_is_refused(tmp_path):
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    source = tmp_path / "fast.c"
    source.write_text('#include "edgernn_base.h"\n')
    done = subprocess.run(
        ["gcc", "-ffast-math", f"-I{KERNELS}", "-c", str(source), "-o", str(tmp_path / "fast.o")],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "-ffast-math" in done.stderr


def test_coefficients_are_those_of_the_fit():
    pytest.importorskip("mpmath")
    script = ROOT / "scripts" / "fit_activations.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    header = (KERNELS / "edgernn_activations.h").read_text()
    numbers = re.findall(r"[\d.]+(?:e-\d+)?f\b", done.stdout)
    assert len(numbers) == 5 + 5 + 4 + 12
    assert [number for number in numbers if number not in header] == []
