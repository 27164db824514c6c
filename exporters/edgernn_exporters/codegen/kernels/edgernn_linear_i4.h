/* Products of rows of bytes and packed 4-bit weights, exact in int32. */
#ifndef EDGERNN_LINEAR_I4_H
#define EDGERNN_LINEAR_I4_H

#include "edgernn_quantize.h"

/* Inputs of a group: two halves of EDGERNN_I8_DEPTH. */
#define EDGERNN_I4_DEPTH (2 * EDGERNN_I8_DEPTH)

/* Add the products of one row of inputs to the sums of a block.
 *
 * EDGERNN_I8_WIDE == 2: a group is [ROWS / 4][8 inputs in the order of q][2 bytes], each two bytes
 * one input of four rows, the first in the lowest bits. The last has its highest bit inverted, so
 * that the two bytes are a signed number of which it is the upper part (edgernn_linear_i4_dsp.h).
 */
EDGERNN_UNUSED static void edgernn_sums_i4(int32_t *sum, const edgernn_q8 *q, const uint8_t *w,
    size_t groups)
{
    size_t r, d;
    for (; groups > 0; groups--) {
#if EDGERNN_I8_WIDE == 2
        for (r = 0; r < EDGERNN_I8_ROWS; r += 4)
            for (d = 0; d < EDGERNN_I4_DEPTH; d++) {
                const int32_t low = *w++, high = *w++ ^ 128;
                sum[r] += q[d] * ((low & 15) - 8);
                sum[r + 1] += q[d] * ((low >> 4) - 8);
                sum[r + 2] += q[d] * ((high & 15) - 8);
                sum[r + 3] += q[d] * ((high >> 4) - 8);
            }
#else
        for (r = 0; r < EDGERNN_I8_ROWS; r++)
            for (d = 0; d < EDGERNN_I8_DEPTH; d++) {
                const int32_t both = *w++;
                sum[r] += q[d] * ((both & 15) - 8) + q[EDGERNN_I8_DEPTH + d] * ((both >> 4) - 8);
            }
#endif
        q += EDGERNN_I4_DEPTH;
    }
}

#if EDGERNN_I8_ROWS == 16 && EDGERNN_I8_DEPTH == 4 && EDGERNN_I8_WIDE == 0 && \
    (defined(EDGERNN_AVX2) || defined(EDGERNN_NEON))
#include "edgernn_linear_i4_simd.h"
#elif defined(EDGERNN_MVE) && EDGERNN_I8_ROWS == 4 && EDGERNN_I8_DEPTH == 16
#include "edgernn_linear_i4_mve.h"
#elif defined(EDGERNN_DSP_FPU) && EDGERNN_I8_ROWS == 4 && EDGERNN_I8_WIDE == 2
#include "edgernn_linear_i4_dsp.h"
#else

/* y[i*y_stride + j] = float(sum_k q[i*q_stride + k] * w(j, k)) * w_scale[j]
 *                     + start[i*start_stride + j], or without it;  i < m, j < n
 *
 * w is [ceil(n / ROWS)][ceil(k / 2*DEPTH)][ROWS][DEPTH] bytes, ROWS = EDGERNN_I8_ROWS, DEPTH =
 * EDGERNN_I8_DEPTH. A byte holds two weights plus 8, each 1 to 15: byte d of a row's group that of
 * input d in its low half, that of input DEPTH + d in its high half (but see edgernn_sums_i4).
 * Missing weights are 8 (0). q is padded with zeros to whole groups. start may be y with the same
 * stride; start_stride 0 repeats one row.
 */
EDGERNN_UNUSED static void edgernn_linear_i4(float *y, size_t y_stride, const float *start,
    size_t start_stride, const edgernn_q8 *q, size_t q_stride, const uint8_t *w,
    const float *w_scale, size_t m, size_t n, size_t k)
{
    const size_t groups = (k + EDGERNN_I4_DEPTH - 1) / EDGERNN_I4_DEPTH;
    size_t first, i, r;
    for (first = 0; first < n; first += EDGERNN_I8_ROWS) {
        size_t rows = n - first < EDGERNN_I8_ROWS ? n - first : EDGERNN_I8_ROWS;
        for (i = 0; i < m; i++) {
            int32_t sum[EDGERNN_I8_ROWS] = {0};
            edgernn_sums_i4(sum, q + i * q_stride, w, groups);
            for (r = 0; r < rows; r++) {
                float t = (float)sum[r] * w_scale[first + r];
                y[i * y_stride + first + r] =
                    start ? t + start[i * start_stride + first + r] : t;
            }
        }
        w += groups * EDGERNN_I8_ROWS * EDGERNN_I8_DEPTH;
    }
}

#endif
#endif
