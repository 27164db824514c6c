/* Products of rows of 16-bit inputs and packed 8-bit weights.
 *
 * The sum of |w| of a row is at most 65535, so that no sum leaves 32 bits.
 */
#ifndef EDGERNN_LINEAR_W8A16_H
#define EDGERNN_LINEAR_W8A16_H

#include "edgernn_quantize.h"

/* The weight of row r and input d in the block at wg, in pairs of rows for EDGERNN_I8_WIDE == 2: as
 * edgernn_weight_i8 in edgernn_linear_i8.h, but in the order of the inputs.
 */
static inline int32_t edgernn_weight_w8a16(const int8_t *wg, size_t r, size_t d)
{
#if EDGERNN_I8_WIDE == 2
    const int8_t *pair = wg + 2 * (r / 2 * EDGERNN_I16_DEPTH + d);
    return r % 2 ? pair[1] + (pair[0] < 0) : pair[0];
#else
    return wg[r * EDGERNN_I16_DEPTH + d];
#endif
}

/* Add the products of one row of inputs to the sums of a block. */
EDGERNN_UNUSED static void edgernn_sums_w8a16(int32_t *sum, const int16_t *q, const int8_t *w,
    size_t groups)
{
    size_t r, d;
    for (; groups > 0; groups--) {
        for (r = 0; r < EDGERNN_I8_ROWS; r++)
            for (d = 0; d < EDGERNN_I16_DEPTH; d++)
                sum[r] += q[d] * edgernn_weight_w8a16(w, r, d);
        q += EDGERNN_I16_DEPTH;
        w += EDGERNN_I8_ROWS * EDGERNN_I16_DEPTH;
    }
}

#if EDGERNN_I8_ROWS == 16 && EDGERNN_I16_DEPTH == 2 && EDGERNN_I8_WIDE == 0 && \
    (defined(EDGERNN_AVX2) || defined(EDGERNN_NEON))
#include "edgernn_linear_w8a16_simd.h"
#elif defined(EDGERNN_MVE) && EDGERNN_I8_ROWS == 4 && EDGERNN_I16_DEPTH == 8 && \
    EDGERNN_I8_WIDE == 0
#include "edgernn_linear_w8a16_mve.h"
#elif defined(EDGERNN_DSP_FPU) && EDGERNN_I8_ROWS == 4 && EDGERNN_I16_DEPTH == 4 && \
    EDGERNN_I8_WIDE == 2
#include "edgernn_linear_w8a16_dsp.h"
#else

/* y[i*y_stride + j] = float(sum_k q[i*q_stride + k] * w(j, k)) * w_scale[j]
 *                     + start[i*start_stride + j], or without it;  i < m, j < n
 *
 * w is [ceil(n / ROWS)][ceil(k / DEPTH)][ROWS][DEPTH], zero padded, ROWS = EDGERNN_I8_ROWS, DEPTH =
 * EDGERNN_I16_DEPTH (see also edgernn_weight_w8a16). q is in the order of the inputs and padded
 * with zeros to whole groups. start may be y with the same stride; start_stride 0 repeats one row.
 */
EDGERNN_UNUSED static void edgernn_linear_w8a16(float *y, size_t y_stride, const float *start,
    size_t start_stride, const int16_t *q, size_t q_stride, const int8_t *w, const float *w_scale,
    size_t m, size_t n, size_t k)
{
    const size_t groups = (k + EDGERNN_I16_DEPTH - 1) / EDGERNN_I16_DEPTH;
    size_t first, i, r;
    for (first = 0; first < n; first += EDGERNN_I8_ROWS) {
        size_t rows = n - first < EDGERNN_I8_ROWS ? n - first : EDGERNN_I8_ROWS;
        for (i = 0; i < m; i++) {
            int32_t sum[EDGERNN_I8_ROWS] = {0};
            edgernn_sums_w8a16(sum, q + i * q_stride, w, groups);
            for (r = 0; r < rows; r++) {
                float t = (float)sum[r] * w_scale[first + r];
                y[i * y_stride + first + r] =
                    start ? t + start[i * start_stride + first + r] : t;
            }
        }
        w += groups * EDGERNN_I8_ROWS * EDGERNN_I16_DEPTH;
    }
}

#endif
#endif
