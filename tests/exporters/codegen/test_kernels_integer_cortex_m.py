"""Kernels of int8, w8a16 and int4 for the DSP instructions and Helium, on emulated cores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.cortex_m import CORES, RANDOM, missing, output
from numpy.typing import NDArray

from edgernn.integer import activations

# Prints one line for each case: a hash of all that was written, and WRONG where a product is not
# what plain loops over plain weights give.
PROGRAM = (
    RANDOM
    + r"""
#include "edgernn_cells_i16.h"
#include "edgernn_linear_i4.h"
#include "edgernn_linear_w8a16.h"
#include "edgernn_quantize_static.h"
#include <stdio.h>

#define MAX_K 704
#define MAX_N 72
#define MAX_M 4
static float x[1024], y[1024], first[1024], scale[MAX_N];
static EDGERNN_ALIGN(8) edgernn_q8 q8[MAX_M * 1024];
static EDGERNN_ALIGN(8) int16_t q16[MAX_M * 1024], states[4][256];
static EDGERNN_ALIGN(8) uint8_t packed[MAX_N * MAX_K];
static int8_t weights[MAX_N * MAX_K];
static int16_t inputs[MAX_M * MAX_K];
static void say(const char *what, size_t a, size_t b, size_t c)
{
    printf("%s %u %u %u: %08lx\n", what, (unsigned)a, (unsigned)b, (unsigned)c,
        (unsigned long)hash);
    hash = 2166136261u;
}

/* Every argument, 51 of them at a time (65535 = 51 * 1285). */
static void check_functions(void)
{
    int32_t p, l;
    for (l = 0; l < 51; l++)
        states[1][l] = 32767;
    for (p = -32767; p <= 32767; p += 51) {
        for (l = 0; l < 51; l++)
            x[51 + l] = (float)(p + l);
        edgernn_rnn_tanh_i16(states[0], x + 51, 51);
        mix(states[0], 102);
    }
    say("tanh", 0, 0, 0);
    for (p = -32767; p <= 32767; p += 51) {
        for (l = 0; l < 51; l++)
            x[51 + l] = (float)(p + l);
        edgernn_gru_reset_i16(states[0], x, states[1], 51);
        mix(states[0], 102);
    }
    say("sigmoid", 0, 0, 0);
}

/* Cell states all over their range, in every unit. */
static void check_cells_everywhere(int shift)
{
    int32_t c, l;
    fill(x, 256, 4e4f);
    for (l = 0; l < 64; l++)
        x[l] = -4e4f, x[128 + l] = 4e4f;
    for (c = -32767; c <= 32767 - 63; c += 64) {
        for (l = 0; l < 64; l++)
            states[1][l] = (int16_t)(c + l);
        edgernn_lstm_gates_i16(states[0], states[1], x, shift, 64);
        mix(states, 2 * sizeof states[0]);
    }
    say("states", (size_t)shift, 0, 0);
}

/* Random pre-activations, some of them what is special. */
static void check_cells(size_t hidden, float size)
{
    static const float specials[] = {0.0f, -0.0f, 0.5f, -0.5f, 1.5f, 2.5f, -2.5f, 1e-40f, 32766.5f,
        32767.4f, -32766.5f, -32767.5f, -32768.0f, 32768.0f, -65536.0f, 3e9f, -3e9f, 3e38f, -3e38f};
    size_t l, function;
    for (function = 0; function < 5; function++) {
        for (l = 0; l < 1024; l++)
            states[l / 256][l % 256] = (int16_t)((int32_t)draw(65535) - 32767);
        fill(x, 4 * hidden, size);
        fill(first, 2 * hidden, size);
        for (l = 0; l < 4 * hidden; l += 1 + draw(8)) {
            x[l] = specials[draw(19)];
            first[l / 2] = specials[draw(19)];
            states[draw(2)][l / 4] = (int16_t)(draw(2) ? 32767 : -32767);
        }
        if (function == 0)
            edgernn_lstm_gates_i16(states[0], states[1], x, (int)draw(9), hidden);
        else if (function == 1)
            edgernn_gru_gates_i16(states[0], x, first, first + hidden, hidden);
        else if (function == 2)
            edgernn_gru_reset_i16(states[1], x, states[0], hidden);
        else if (function == 3)
            edgernn_gru_update_i16(states[0], x, first, hidden);
        else
            edgernn_rnn_tanh_i16(states[0], x, hidden);
        mix(states, sizeof states);
        say("cell", function, hidden, (size_t)size);
    }
}

static void check_inputs(size_t k, float size)
{
    const size_t place = 512, offset = draw(2), step = draw(2), padded = (k + 31) / 32 * 32;
    size_t l;
    fill(x, k, size);
    fill(first, 1024, 2.0f);
    for (l = 0; l < k; l++)
        states[0][l + offset] = (int16_t)((int32_t)draw(65535) - 32767);
    for (l = 0; l < k; l += 1 + draw(5)) {
        static const int16_t specials[] = {-32767, 32767, 32639, 32640, 32641, 128, 384, -128,
            -384};
        states[0][l + offset] = specials[draw(9)];
        x[l] = first[step * l] + (float)draw(300) - 0.5f; /* with an inverse of 1: halves */
        first[place + step * l] = 1.0f;
    }
    memset(q8, 1, sizeof q8);
    memset(q16, 1, sizeof q16);
    memset(y, 0, sizeof y);
    edgernn_quantize_static(q8, x, first, first + place, step, k, padded);
    for (l = 0; l < 256; l++) {
        int8_t value = (int8_t)q8[l];
        mix(&value, 1);
    }
    edgernn_narrow_state(q8, states[0] + offset, k, padded);
    for (l = 0; l < 256; l++) {
        int8_t value = (int8_t)q8[l];
        mix(&value, 1);
    }
    edgernn_quantize_static_i16(q16, x, first, first + place, step, k, padded);
    mix(q16, 512);
    edgernn_copy_state(q16, states[0] + offset, k, padded);
    mix(q16, 512);
    edgernn_widen_state(y, states[0] + offset, 1.0f / (float)(1 << draw(16)), k);
    mix(y, sizeof y);
    say("inputs", k, step, (size_t)size);
}

/* Add 4-bit weight w of row r and input l. */
static void put_i4(size_t r, size_t l, size_t groups, int32_t w)
{
    const size_t depth = 2 * EDGERNN_I8_DEPTH, bytes = EDGERNN_I8_ROWS * EDGERNN_I8_DEPTH;
    uint8_t *group = packed + (r / EDGERNN_I8_ROWS * groups + l / depth) * bytes;
    size_t d = l % depth;
#if EDGERNN_I8_WIDE == 2
    uint8_t *byte = group + 2 * edgernn_quantized_place(d) + r % 4 / 2;
    uint32_t bits = (uint32_t)(w + (r % 4 == 3 ? 0 : 8)) & 15u;
    unsigned shift = r % 2 * 4;
#else
    uint8_t *byte = group + r % EDGERNN_I8_ROWS * EDGERNN_I8_DEPTH + d % EDGERNN_I8_DEPTH;
    uint32_t bits = (uint32_t)(w + 8);
    unsigned shift = d < EDGERNN_I8_DEPTH ? 0 : 4;
#endif
    *byte = (uint8_t)((*byte & (240u >> shift)) | bits << shift);
}

/* Write 8-bit weight w of row r and input l; of an odd row after that of the even one. */
static void put_w8a16(size_t r, size_t l, size_t groups, int32_t w)
{
    const size_t depth = EDGERNN_I16_DEPTH;
    int8_t *group = (int8_t *)packed + (r / EDGERNN_I8_ROWS * groups + l / depth) *
        EDGERNN_I8_ROWS * depth;
#if EDGERNN_I8_WIDE == 2
    int8_t *pair = group + (r % 4 / 2 * depth + l % depth) * 2;
    int32_t v = r % 2 ? w * 256 + pair[0] : w;
    pair[0] = (int8_t)(uint8_t)((uint32_t)v & 255u);
    pair[1] = (int8_t)(uint8_t)((uint32_t)v >> 8 & 255u);
#else
    group[r % EDGERNN_I8_ROWS * depth + l % depth] = (int8_t)w;
#endif
}

/* Case: bit 0 start, bit 1 one start for all rows, bit 2 start is y. `extreme`: 1 the largest sums,
 * 2 the smallest ones.
 */
static void check_linear(int wide, size_t m, size_t n, size_t k, uint32_t choice, int extreme)
{
    const size_t depth = wide ? EDGERNN_I16_DEPTH : EDGERNN_I4_DEPTH;
    const size_t groups = (k + depth - 1) / depth, q_stride = groups * depth + 4 * draw(3);
    const size_t y_stride = n + draw(4), start_stride = choice & 2 && !(choice & 4) ? 0 : y_stride;
    const int32_t top = wide ? 127 : 7, least = wide ? -32767 : -128;
    const float *start = choice & 4 ? y : choice & 1 ? first : NULL;
    int right = 1;
    size_t i, j, l;
    memset(packed, wide ? 0 : 136, sizeof packed);
    memset(q8, 0, sizeof q8);
    memset(q16, 0, sizeof q16);
    fill(scale, n, 0.01f);
    fill(first, 1024, 1.0f);
    memcpy(y, first, sizeof y);
#if EDGERNN_I8_WIDE == 2
    for (l = 1; !wide && l < sizeof packed; l += 2)
        packed[l] = 8;
#endif
    for (j = 0; j < n; j++)
        for (l = 0; l < k; l++) {
            int32_t w = extreme ? (extreme == 1 ? -top : top)
                                : (int32_t)draw(2 * (uint32_t)top + 1) - top;
            weights[j * k + l] = (int8_t)w;
            if (wide)
                put_w8a16(j, l, groups, w);
            else
                put_i4(j, l, groups, w);
        }
    for (i = 0; i < m; i++)
        for (l = 0; l < k; l++) {
            int32_t value = extreme ? least : least + (int32_t)draw(wide ? 65535 : 256);
            inputs[i * k + l] = (int16_t)value;
            q16[i * q_stride + l] = (int16_t)value;
            q8[i * q_stride + edgernn_quantized_place(l)] = (edgernn_q8)value;
        }
    if (wide)
        edgernn_linear_w8a16(y, y_stride, start, start_stride, q16, q_stride,
            (const int8_t *)packed, scale, m, n, k);
    else
        edgernn_linear_i4(y, y_stride, start, start_stride, q8, q_stride, packed, scale, m, n, k);
    for (i = 0; i < m; i++)
        for (j = 0; j < y_stride; j++) {
            int32_t sum = 0;
            float want = first[i * y_stride + j];
            for (l = 0; j < n && l < k; l++)
                sum += inputs[i * k + l] * weights[j * k + l];
            if (j < n && choice & 5)
                want = (float)sum * scale[j] + first[i * start_stride + j];
            else if (j < n)
                want = (float)sum * scale[j];
            if (edgernn_bits(want) != edgernn_bits(y[i * y_stride + j]))
                right = 0;
        }
    mix(y, sizeof y);
    printf("%s %u", right ? "right" : "WRONG", (unsigned)choice);
    say(wide ? " w8a16" : " int4", m, n, k);
}

int main(void)
{
    static const size_t sizes[] = {1, 8, 16, 31, 32, 33, 64, 65, 96, 128, 140, 512};
    static const float ranges[] = {40.0f, 3e3f, 2e4f, 5e4f, 1e6f};
    size_t i;
    int wide, shift;
    hash = 2166136261u;
    check_functions();
    for (shift = 0; shift < 9; shift++)
        check_cells_everywhere(shift);
    for (i = 0; i < 40; i++) {
        check_cells(1 + draw(70), ranges[i % 5]);
        check_inputs(1 + draw(150), i % 3 == 0 ? 2.0f : i % 3 == 1 ? 500.0f : 1e6f);
    }
    for (wide = 0; wide < 2; wide++) {
        for (i = 0; i < 40; i++)
            check_linear(wide, 1 + draw(4), 1 + draw(40), 1 + draw(150), draw(8), 0);
        for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            check_linear(wide, 1, 5 + i % 4, sizes[i], 1, 0);
            check_linear(wide, 2, 8, sizes[i], 0, 1);
            check_linear(wide, 2, 8, sizes[i], 4, 2);
        }
    }
    for (i = 580; i < MAX_K; i += 8) {
        check_linear(0, 1, 4, i, 1, 1);
        check_linear(0, 1, 9, i, 1, 2);
    }
    return 0;
}
"""
)


@pytest.fixture(autouse=True)
def _toolchain() -> None:
    if reason := missing():
        pytest.skip(reason)


@pytest.mark.parametrize("name", CORES)
def test_integers_of_the_portable_kernels(name: str, tmp_path: Path) -> None:
    portable = output(tmp_path, PROGRAM, CORES[name], "-O2", "-DEDGERNN_PORTABLE")
    assert len(portable) > 400
    assert not [line for line in portable if "WRONG" in line]
    assert output(tmp_path, PROGRAM, CORES[name], "-O3") == portable


@pytest.mark.parametrize("optimisation", ["-O0", "-Os"])
@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m55"])
def test_any_optimisation(name: str, optimisation: str, tmp_path: Path) -> None:
    """The assembly finds its registers whatever the compiler keeps in them."""
    first = output(tmp_path, PROGRAM, CORES[name], "-O3")
    assert output(tmp_path, PROGRAM, CORES[name], optimisation) == first


@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m7", "cortex-m55"])
def test_every_argument_of_sigmoid_and_tanh(name: str, tmp_path: Path) -> None:
    """As the numpy definition has them, not only as the portable kernels do."""
    p = np.arange(-32767, 32768, dtype=np.int32)
    lines = output(tmp_path, PROGRAM, CORES[name], "-O3")
    assert lines[0] == f"tanh 0 0 0: {fnv(activations.tanh(p)):08x}"
    reset = activations.multiply_q15(activations.sigmoid(p), np.int32(32767))
    assert lines[1] == f"sigmoid 0 0 0: {fnv(reset):08x}"


def fnv(values: NDArray[np.int32]) -> int:
    """Return the program's hash of numbers as int16."""
    value = 2166136261
    for byte in values.astype("<i2").tobytes():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value
