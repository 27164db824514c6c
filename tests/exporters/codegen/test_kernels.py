"""Every build of the kernels against numpy: hosts, emulated cores, all weight layouts."""

import math
import platform
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers.kernels import (
    A32,
    A64,
    AVX2,
    AVX512,
    DOT,
    F32,
    GUARD,
    HOST,
    KERNELS,
    M4,
    M55,
    NEON,
    NONE,
    PORTABLE,
    ROOT,
    SAME,
    STRICT,
    UNIT,
    VNNI,
    Program,
    compile_c,
    exp_minus_1,
    exp_plus_1,
    floats,
    pack_f32,
    pack_i8,
    same_bits,
    sigmoid,
    stored,
    strided,
    tanh,
)
from hypothesis import given
from hypothesis import strategies as st

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
