/* Products of quantized rows and packed int8 weights, exact in int32. */
#ifndef EDGERNN_LINEAR_I8_H
#define EDGERNN_LINEAR_I8_H

#include "edgernn_quantize.h"

/* What the sum becomes; no fused operation, so that every target gives the same bits. */
static inline float edgernn_scale_sum(int32_t sum, float w_scale, const float *x_scale,
    const float *start)
{
    float t = (float)sum * w_scale;
    if (x_scale)
        t = t * *x_scale;
    return start ? t + *start : t;
}

#if defined(EDGERNN_MVE) && EDGERNN_I8_ROWS == 4 && EDGERNN_I8_DEPTH == 16
#include "edgernn_linear_i8_mve.h"
#elif defined(EDGERNN_DSP) && EDGERNN_I8_ROWS == 4 && EDGERNN_I8_DEPTH == 4 && EDGERNN_I8_WIDE == 2
#include "edgernn_linear_i8_dsp.h"
#elif EDGERNN_I8_ROWS == 16 && EDGERNN_I8_DEPTH == 4 && EDGERNN_I8_WIDE == 0 && \
    (defined(EDGERNN_AVX2) || defined(EDGERNN_NEON))
#include "edgernn_linear_i8_simd.h"
#else

/* The weight of row r and input d in the block at wg.
 *
 * EDGERNN_I8_WIDE == 2: two rows share int16 values w(even row) + 256 * w(odd row), stored as two
 * bytes, low first, for the inputs 0, 2, 1, 3. Multiplying such values and adding up gives
 * S(even) + 256 * S(odd), the sums of both rows with one multiplication for each input; a core
 * with multiplications of pairs of int16 needs few more to find S(even) alone
 * (edgernn_linear_i8_dsp.h). Here the two weights are taken apart: a negative low byte has
 * borrowed 1 from the high one.
 */
static inline int32_t edgernn_weight_i8(const int8_t *wg, size_t r, size_t d)
{
#if EDGERNN_I8_WIDE == 2
    const int8_t *pair = wg + r / 2 * 8 + 2 * edgernn_quantized_place(d);
    return r % 2 ? pair[1] + (pair[0] < 0) : pair[0];
#else
    return wg[r * EDGERNN_I8_DEPTH + d];
#endif
}

/* s = sum_k q[i*q_stride + k] * w(j, k);  t = float(s) * w_scale[j], times x_scale[i] if given;
 * y[i*y_stride + j] = t + start[i*start_stride + j], or t without start; i < m, j < n
 *
 * w is [ceil(n / ROWS)][ceil(k / DEPTH)][ROWS][DEPTH], zero padded, ROWS = EDGERNN_I8_ROWS,
 * DEPTH = EDGERNN_I8_DEPTH (see also edgernn_weight_i8). start may be y with the same stride;
 * start_stride 0 repeats one row.
 * w_sums[j] = sum_k w(j, k) serves dot products of unsigned with signed bytes and may be NULL. For
 * EDGERNN_I8_WIDE == 2 it is minus the sum of w(j, k) * w(j, k + 1) over even k for even j, 0 for
 * odd j, and only the DSP kernel reads it.
 */
EDGERNN_UNUSED static void edgernn_linear_i8(float *y, size_t y_stride, const float *start,
    size_t start_stride, const edgernn_q8 *q, size_t q_stride, const float *x_scale,
    const int8_t *w, const int32_t *w_sums, const float *w_scale, size_t m, size_t n, size_t k)
{
    size_t groups = edgernn_quantized_size(k) / EDGERNN_I8_DEPTH;
    size_t first, i, g, r, d;
    (void)w_sums;
    for (first = 0; first < n; first += EDGERNN_I8_ROWS) {
        size_t rows = n - first < EDGERNN_I8_ROWS ? n - first : EDGERNN_I8_ROWS;
        for (i = 0; i < m; i++) {
            const int8_t *wg = w;
            int32_t sum[EDGERNN_I8_ROWS] = {0};
            for (g = 0; g < groups; g++) {
                const edgernn_q8 *qg = q + i * q_stride + g * EDGERNN_I8_DEPTH;
                for (r = 0; r < EDGERNN_I8_ROWS; r++)
                    for (d = 0; d < EDGERNN_I8_DEPTH; d++)
                        sum[r] += qg[edgernn_quantized_place(d)] * edgernn_weight_i8(wg, r, d);
                wg += EDGERNN_I8_ROWS * EDGERNN_I8_DEPTH;
            }
            for (r = 0; r < rows; r++)
                y[i * y_stride + first + r] = edgernn_scale_sum(sum[r], w_scale[first + r],
                    x_scale ? x_scale + i : NULL,
                    start ? start + i * start_stride + first + r : NULL);
        }
        w += groups * EDGERNN_I8_ROWS * EDGERNN_I8_DEPTH;
    }
}

#endif
#endif
