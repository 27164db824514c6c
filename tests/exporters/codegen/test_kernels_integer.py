"""Kernels of int8, w8a16 and int4 on every build: the integers of `edgernn.integer`."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.kernels import (
    F32,
    GUARD,
    NONE,
    SAME,
    Program,
    pack_i4,
    pack_w8a16,
    padded_to,
    same_bits,
    stored,
    strided,
)
from hypothesis import given
from hypothesis import strategies as st

from edgernn.integer import InputScale
from edgernn.integer import activations as integer
from edgernn.integer.cells import quantize_input

SHAPES = st.tuples(
    st.integers(1, 9),
    st.integers(1, 150) | st.sampled_from([64, 128, 192, 256]),
    st.integers(1, 90) | st.sampled_from([64, 128]),
)
ALL = np.arange(-32767, 32768, dtype=np.int32)
CELLS = ("lstm", "gru", "reset", "update", "tanh", "relu")


@given(
    SHAPES, st.sampled_from(["int4", "w8a16"]), st.sampled_from(["none", "rows", "one row", "y"]),
    st.integers(0, 5), st.integers(0, 2), st.booleans(), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_products(
    program: Program, shape: tuple[int, int, int], precision: str, start_kind: str, y_gap: int,
    q_gap: int, extreme: bool, seed: int,
) -> None:  # fmt: skip
    m, n, k = shape
    layout, rng = program.layout, np.random.default_rng(seed)
    limits = (128, 7) if precision == "int4" else (32768, 127)
    q = rng.integers(-limits[0], limits[0], (m, k))
    w = rng.integers(-limits[1], limits[1] + 1, (n, k))
    if extreme:
        q = np.where(q < 0, -limits[0] + (precision != "int4"), limits[0] - 1)
        w = np.where(w < 0, -limits[1], limits[1])
    if precision == "int4":
        rows, packed = stored(q, layout, 2), pack_i4(w, layout)
    else:
        rows = padded_to(q, 1, layout.i16_depth).astype(np.int16)
        packed = pack_w8a16(w, layout)
    values = rng.normal(0, 1, (m, n)).astype(F32)
    y = np.full((m, n + y_gap), GUARD)
    start, start_stride = strided(values, n + 2, np.nan), n + 2
    if start_kind == "none":
        start, start_stride, values = NONE, 0, np.full((m, n), F32(-0.0))
    elif start_kind == "one row":
        start, start_stride, values = values[:1], 0, np.repeat(values[:1], m, axis=0)
    elif start_kind == "y":
        start, start_stride = SAME, n + y_gap
        y[:, :n] = values
    w_scale = rng.uniform(1e-3, 2e-2, n).astype(F32)
    stride = rows.shape[1] + 16 * q_gap
    program.call(
        (6 if precision == "int4" else 7, m, n, k, n + y_gap, start_stride, stride),
        y, start, strided(rows, stride, 99), packed, w_scale,
    )  # fmt: skip
    same_bits(y[:, :n], (q @ w.T).astype(F32) * w_scale + values)
    assert (y[:, n:] == GUARD).all()


@pytest.mark.parametrize("m", [32, 33, 71])
def test_int4_products_of_many_rows(program: Program, m: int) -> None:
    """Hosts keep what belongs to 32 rows at a time."""
    n, k = 35, 29
    rng = np.random.default_rng(m)
    q, w = rng.integers(-128, 128, (m, k)), rng.integers(-7, 8, (n, k))
    rows, start = stored(q, program.layout, 2), rng.normal(0, 1, (m, n)).astype(F32)
    y = np.zeros((m, n), F32)
    program.call(
        (6, m, n, k, n, n, rows.shape[1]), y, start, rows, pack_i4(w, program.layout),
        np.ones(n, F32),
    )  # fmt: skip
    same_bits(y, (q @ w.T).astype(F32) + start)


def test_sums_of_16_bit_inputs_reach_the_end_of_int32(program: Program) -> None:
    k = 516  # 516 * 127 is 65532: close to the limit of 65535
    w = np.stack([np.full(k, 127), np.full(k, -127), np.tile([127, -127], k // 2)])
    for sign in (1, -1):
        q = np.full((1, k), 32767 * sign)
        rows = padded_to(q, 1, program.layout.i16_depth).astype(np.int16)
        y = np.zeros((1, 3), F32)
        program.call(
            (7, 1, 3, k, 3, 0, rows.shape[1]), y, NONE, rows, pack_w8a16(w, program.layout),
            np.ones(3, F32),
        )  # fmt: skip
        same_bits(y, (q @ w.T).astype(F32))


@given(
    st.integers(1, 150), st.sampled_from([8, 16]), st.booleans(),
    st.sampled_from([1e-30, 1.0, 1e30]), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_quantize_static(
    program: Program, k: int, bits: int, each: bool, size: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.normal(0, 1, k) * size).astype(F32)
    count = k if each else 1
    center = (rng.normal(0, 1, count) * size).astype(F32)
    inverse = (rng.choice([40.0, 1e4, 1e7], count) / size).astype(F32)
    if k % 3 == 0:  # values between two integers
        center[:], inverse[:] = 0, 64
        x = (rng.integers(-300, 300, k) / 128).astype(F32)
    with np.errstate(over="ignore"):
        q = quantize_input(x, InputScale(center, inverse), bits)[None]
    wide = padded_to(q, 1, 8).astype(np.int16)
    expected = (stored(q, program.layout, 2) if bits == 8 else wide)[0]
    got = np.full(len(expected) + 32, 99, expected.dtype)
    program.call((8 if bits == 8 else 9, int(each), k, len(expected)), got, x, center, inverse)
    np.testing.assert_array_equal(got[:-32], expected)
    assert (got[-32:] == 99).all()


@pytest.mark.parametrize("offset", [0, 1, 5])
def test_states_become_inputs_and_outputs(program: Program, offset: int) -> None:
    """All values of a state, in runs of all lengths up to 100, then in one."""
    sizes = [*range(1, 100), len(ALL) - 4950 - offset]
    at = offset
    for k in sizes:
        h = ALL[at : at + k].astype(np.int16)
        at += k
        expected = stored(integer.narrow(h.astype(np.int32))[None], program.layout)[0]
        q = np.full(len(expected) + 8, 99, expected.dtype)
        program.call((10, k, len(expected)), q, h)
        np.testing.assert_array_equal(q[:-8], expected)
        assert (q[-8:] == 99).all()
        wide = np.full(k + 11, 99, np.int16)
        program.call((11, k, k + 3), wide, h)
        np.testing.assert_array_equal(wide, [*h, *[0] * 3, *[99] * 8])
        for unit in (2.0**-15, 2.0**10):
            y = np.full(k + 8, GUARD)
            program.call((12, k), y, h, np.array([unit], F32))
            same_bits(y, np.concatenate([h * F32(unit), np.full(8, GUARD)]))


def call_cell(
    program: Program, kind: str, out: np.ndarray, *arrays: np.ndarray, shift: int = 0
) -> None:
    """Call a gate kernel; ``out`` is h and c behind each other."""
    given = [*arrays, *[np.zeros(1, F32)] * 4][:4]
    program.call((13, out.size // 2, CELLS.index(kind), shift), out, *given)


def gru_next(z: np.ndarray, h: np.ndarray, p: np.ndarray) -> np.ndarray:
    z = integer.sigmoid(z)
    return (z * h + ((1 << 15) - z) * integer.tanh(p) + (1 << 14)) >> 15


@given(
    st.integers(1, 100), st.sampled_from(CELLS), st.sampled_from([300.0, 8000.0, 1e5, 1e30]),
    st.integers(0, 8), st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_cells(
    program: Program, hidden: int, kind: str, size: float, shift: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a = rng.normal(0, size, (6, hidden)).astype(F32)
    ties = rng.integers(-70000, 70000, a.shape) / F32(2)
    a = np.where(rng.random(a.shape) < 0.2, ties.astype(F32), a)
    h, c, kept = rng.integers(-32767, 32768, (3, hidden))
    h, c, kept = (v.astype(np.int16) for v in (h, c, kept))
    out = np.concatenate([h, c, np.full(8, 99, np.int16)])
    whole = out[: 2 * hidden]
    given = np.ascontiguousarray(a[:4])
    p, s = (np.ascontiguousarray(row) for row in a[4:])
    r = integer.round_to_int16(a)
    wide = h.astype(np.int32)
    if kind == "lstm":
        i, o, f = (integer.sigmoid(row) for row in r[:3])
        moved = i * integer.tanh(r[3]) >> (2 + shift)
        c = integer.saturate((f * c.astype(np.int32) + moved + (1 << 14)) >> 15)
        h = integer.multiply_q15(o, integer.tanh_of_cell(c, 13 - shift))
    elif kind == "gru":
        part = integer.multiply_q15(integer.sigmoid(r[1]), r[5])
        h = gru_next(r[0], wide, integer.saturate(r[4] + part))
    elif kind == "reset":
        h = integer.multiply_q15(integer.sigmoid(r[1]), kept.astype(np.int32))
    elif kind == "update":
        h = gru_next(r[0], wide, r[4])
    else:
        h = integer.tanh(r[0]) if kind == "tanh" else np.maximum(r[0], 0)
    expected = np.concatenate([h, c]).astype(np.int16)
    call_cell(program, kind, whole, given, p, s, kept, shift=shift)
    np.testing.assert_array_equal(whole, expected)


def test_every_sigmoid_and_tanh(program: Program) -> None:
    """All 65,535 pre-activations."""
    a, zeros = ALL.astype(F32), np.zeros(len(ALL), F32)
    out = np.zeros(2 * len(ALL), np.int16)
    call_cell(program, "tanh", out, a)
    np.testing.assert_array_equal(out[: len(ALL)], integer.tanh(ALL))
    out[:] = 0
    kept = np.full(len(ALL), 32767, np.int16)
    call_cell(program, "reset", out, np.concatenate([zeros, a]), zeros, zeros, kept)
    np.testing.assert_array_equal(
        out[: len(ALL)], integer.multiply_q15(integer.sigmoid(ALL), np.int32(32767))
    )


@pytest.mark.parametrize("shift", range(9))
def test_every_cell_state(program: Program, shift: int) -> None:
    """All 65,535 states c, forgotten a little, for each unit of c."""
    big = np.full(len(ALL), 32767, F32)
    out = np.concatenate([np.zeros(len(ALL)), ALL]).astype(np.int16)
    call_cell(program, "lstm", out, np.concatenate([-big, big, big, 0 * big]), shift=shift)
    top = integer.sigmoid(np.int32([32767]))
    c = (top * ALL + (1 << 14)) >> 15
    np.testing.assert_array_equal(out[len(ALL) :], c)
    h = integer.multiply_q15(top, integer.tanh_of_cell(c, 13 - shift))
    np.testing.assert_array_equal(out[: len(ALL)], h)
