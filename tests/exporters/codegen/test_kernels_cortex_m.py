"""Kernels for the DSP instructions and Helium: the bits of the portable ones, on emulated cores."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.cortex_m import CORES, RANDOM, missing, output

# Prints one line for each case. What must be exact is printed as a hash of its bits, what may
# differ in the last bits as its distance from a sum in double.
PROGRAM = (
    RANDOM
    + r"""
#include "edgernn_cells.h"
#include "edgernn_linear_f32.h"
#include "edgernn_linear_i8.h"
#include <stdio.h>

#define MAX_X 16384
#define MAX_Y 8192
#define MAX_W 65536
static float x[MAX_X], y[MAX_Y], start[MAX_Y], scale[1024], x_scale[16], weights[MAX_W / 4];
static EDGERNN_ALIGN(4) int8_t packed[MAX_W];
static EDGERNN_ALIGN(4) edgernn_q8 q[MAX_X];
static int32_t sums[1024];
/* Weights -127..127 in the layout of this build; if `extreme`, all of them the same. */
static void pack(size_t n, size_t k, int extreme)
{
    size_t j, l, groups = edgernn_quantized_size(k) / EDGERNN_I8_DEPTH;
    memset(packed, 0, sizeof packed);
    memset(sums, 0, sizeof sums);
    for (j = 0; j < n; j++) {
        int32_t before = 0;
        for (l = 0; l < k; l++) {
            int32_t w = extreme ? (extreme == 1 ? 127 : -127) : (int32_t)draw(255) - 127;
            int8_t *group = packed + (j / EDGERNN_I8_ROWS * groups + l / EDGERNN_I8_DEPTH) *
                EDGERNN_I8_ROWS * EDGERNN_I8_DEPTH;
#if EDGERNN_I8_WIDE == 2
            int8_t *pair = group + j % 4 / 2 * 8 + 2 * edgernn_quantized_place(l % 4);
            int32_t v = j % 2 ? w * 256 + pair[0] : w;
            pair[0] = (int8_t)(uint8_t)((uint32_t)v & 255u);
            pair[1] = (int8_t)(uint8_t)((uint32_t)v >> 8 & 255u);
            if (j % 2 == 0 && l % 2 == 1)
                sums[j] -= before * w;
            before = w;
#else
            group[j % EDGERNN_I8_ROWS * EDGERNN_I8_DEPTH + l % EDGERNN_I8_DEPTH] = (int8_t)w;
            before += w;
            sums[j] = before;
#endif
        }
    }
}

/* Case: bit 0 start, bit 1 one start for all rows, bit 2 start is y, bit 3 scale of rows. */
static void check_i8(size_t m, size_t n, size_t k, uint32_t choice, int extreme)
{
    size_t i, q_stride = edgernn_quantized_size(k) + 4 * draw(3), y_stride = n + draw(4);
    size_t start_stride = choice & 2 ? 0 : y_stride;
    const float *from = choice & 1 ? start : NULL;
    pack(n, k, extreme);
    fill(scale, n, 0.01f);
    fill(start, MAX_Y, 1.0f);
    fill(y, MAX_Y, 1.0f);
    fill(x, m * k, choice & 8 ? 3.0f : 1.02f);
    memset(q, 1, sizeof q);
    if (extreme)
        for (i = 0; i < m * k; i++)
            x[i] = extreme == 3 ? 0.0f : -1.5f;
    for (i = 0; i < m; i++) {
        x_scale[i] = 0.0f;
        if (choice & 8)
            x_scale[i] = edgernn_quantize_row(q + i * q_stride, x + i * k, k);
        else
            edgernn_quantize_unit(q + i * q_stride, x + i * k, k);
    }
    if (choice & 4) {
        from = y;
        start_stride = y_stride;
    }
    hash = 2166136261u;
    mix(x_scale, m * sizeof x_scale[0]);
    for (i = 0; i < MAX_X; i++) {
        int8_t value = (int8_t)q[i];
        mix(&value, 1);
    }
    edgernn_linear_i8(y, y_stride, from, start_stride, q, q_stride, choice & 8 ? x_scale : NULL,
        packed, sums, scale, m, n, k);
    mix(y, sizeof y);
    printf("i8 %u %u %u %u: %08lx\n", (unsigned)m, (unsigned)n, (unsigned)k, (unsigned)choice,
        (unsigned long)hash);
}

static void check_f32(size_t m, size_t n, size_t k, uint32_t choice)
{
    size_t i, j, l, x_stride = k + draw(3), y_stride = n + draw(4);
    size_t start_stride = choice & 2 ? 0 : y_stride;
    int right = 1;
    fill(weights, (n + EDGERNN_F32_ROWS - 1) / EDGERNN_F32_ROWS * EDGERNN_F32_ROWS * k, 1.0f);
    fill(x, m * x_stride, 1.0f);
    fill(start, m * y_stride, 1.0f);
    for (i = 0; i < MAX_Y; i++)
        y[i] = choice & 4 ? start[i] : 77.0f;
    edgernn_linear_f32(y, y_stride, choice & 4 ? y : choice & 1 ? start : NULL,
        choice & 4 ? y_stride : start_stride, x, x_stride, weights, m, n, k);
    for (i = 0; i < m; i++)
        for (j = 0; j < y_stride; j++) {
            double sum = choice & 4 ? (double)start[i * y_stride + j]
                         : choice & 1 ? (double)start[i * start_stride + j] : 0.0;
            double distance;
            for (l = 0; l < k && j < n; l++)
                sum += (double)x[i * x_stride + l] *
                       (double)weights[(j / EDGERNN_F32_ROWS * k + l) * EDGERNN_F32_ROWS +
                                       j % EDGERNN_F32_ROWS];
            if (j >= n)
                sum = choice & 4 ? (double)start[i * y_stride + j] : 77.0;
            distance = (double)y[i * y_stride + j] - sum;
            if (!(distance < 1e-5 && distance > -1e-5))
                right = 0;
        }
    printf("f32 %u %u %u %u: %s\n", (unsigned)m, (unsigned)n, (unsigned)k, (unsigned)choice,
        right ? "right" : "WRONG");
}

/* Five arrays of numbers of one size, some of them replaced by what is special. */
static void check_cells(size_t hidden, float size, int special)
{
    static const float specials[] = {0.0f, -0.0f, 1e-40f, -1e-40f, 1.2e-38f, 1e-30f, -1e-36f, 5e-7f,
        11.0f, 11.1f, -11.2f, 12.0f, 21.9f, 22.3f, -44.3f, 44.5f, -87.0f, -88.2f, -89.0f, 1e5f,
        -1e30f, 3e38f, -3e38f};
    float *h = y, *c = y + 256;
    size_t l, function;
    for (function = 0; function < 5; function++) {
        memset(y, 0, sizeof y);
        fill(x, 4 * hidden, size);
        fill(start, 2 * hidden, size);
        fill(h, hidden, 1.0f);
        fill(c, hidden, size);
        if (special)
            for (l = 0; l < 4 * hidden; l += 1 + draw(6)) {
                x[l] = specials[draw(23)];
                start[l / 2] = specials[draw(23)];
                c[l / 4] = specials[draw(19)];
                h[l / 4] = specials[draw(8)];
            }
        hash = 2166136261u;
        if (function == 0)
            edgernn_lstm_gates(h, c, x, hidden);
        else if (function == 1)
            edgernn_gru_gates(h, x, start, start + hidden, hidden);
        else if (function == 2)
            edgernn_gru_reset(c, x, h, hidden);
        else if (function == 3)
            edgernn_gru_update(h, x, start, hidden);
        else
            edgernn_rnn_tanh(h, x, hidden);
        mix(y, 512 * sizeof y[0]);
        printf("cell %u %u %g %d: %08lx\n", (unsigned)function, (unsigned)hidden, (double)size,
            special, (unsigned long)hash);
    }
}

int main(void)
{
    static const size_t sizes[] = {1, 4, 16, 31, 32, 48, 64, 65, 96, 128, 140, 512, 513, 520};
    static const float ranges[] = {1e-39f, 0.1f, 2.0f, 8.0f, 14.0f, 100.0f};
    size_t i;
    for (i = 0; i < 60; i++)
        check_i8(1 + draw(5), 1 + draw(40), 1 + draw(150), draw(16), 0);
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        check_i8(1 + i % 2, 9 + i % 4, sizes[i], 9, 0);
        check_i8(1, 8, sizes[i], 1, 1);
        check_i8(2, 8, sizes[i], 0, 2);
        check_i8(2, 8, sizes[i], 0, 3);
        check_f32(1 + i % 3, 5 + i, sizes[i] % 300 + 1, 1);
    }
    check_i8(3, 256, 64, 9, 0);
    check_i8(2, 100, 200, 11, 0);
    check_i8(11, 20, 64, 9, 0);
    for (i = 0; i < 60; i++)
        check_f32(1 + draw(5), 1 + draw(40), 1 + draw(100), draw(8));
    for (i = 0; i < 24; i++)
        check_cells(1 + draw(70), ranges[i % 6], i / 6 % 2 == 1);
    return 0;
}
"""
)


@pytest.fixture(autouse=True)
def _toolchain() -> None:
    if reason := missing():
        pytest.skip(reason)


@pytest.mark.parametrize("name", CORES)
def test_bits_of_the_portable_kernels(name: str, tmp_path: Path) -> None:
    portable = output(tmp_path, PROGRAM, CORES[name], "-O2", "-DEDGERNN_PORTABLE")
    assert len(portable) > 200
    assert not [line for line in portable if "WRONG" in line]
    assert output(tmp_path, PROGRAM, CORES[name], "-O3") == portable


@pytest.mark.parametrize("optimisation", ["-O0", "-Os"])
@pytest.mark.parametrize("name", ["cortex-m4", "cortex-m55"])
def test_any_optimisation(name: str, optimisation: str, tmp_path: Path) -> None:
    """The assembly finds its registers whatever the compiler keeps in them."""
    first = output(tmp_path, PROGRAM, CORES[name], "-O3")
    assert output(tmp_path, PROGRAM, CORES[name], optimisation) == first
