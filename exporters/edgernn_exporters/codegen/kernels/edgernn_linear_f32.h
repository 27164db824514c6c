/* Products of float rows and packed float weights. */
#ifndef EDGERNN_LINEAR_F32_H
#define EDGERNN_LINEAR_F32_H

#include "edgernn_base.h"

#if defined(EDGERNN_MVE) && EDGERNN_F32_ROWS == 4
#include "edgernn_linear_f32_mve.h"
#elif defined(EDGERNN_DSP) && EDGERNN_F32_ROWS == 4
#include "edgernn_linear_f32_dsp.h"
#elif EDGERNN_F32_ROWS == 16 && (defined(EDGERNN_AVX2) || defined(EDGERNN_NEON))
#include "edgernn_linear_f32_simd.h"
#else

/* The compiler's own vectors: plain floats where the core has none. */
typedef float edgernn_four __attribute__((vector_size(16)));

/* x * w[0..3] + sum */
static inline edgernn_four edgernn_madd_four(float x, const float *w, edgernn_four sum)
{
#if defined(__riscv) && !defined(__riscv_vector) /* fused operations, but no vectors */
    const edgernn_four fused = {edgernn_madd(x, w[0], sum[0]), edgernn_madd(x, w[1], sum[1]),
        edgernn_madd(x, w[2], sum[2]), edgernn_madd(x, w[3], sum[3])};
    return fused;
#else
    const edgernn_four part = {w[0], w[1], w[2], w[3]};
    return x * part + sum;
#endif
}

/* y[i*y_stride + j] = start[i*start_stride + j] + sum_k x[i*x_stride + k] * w(j, k), i < m, j < n
 *
 * w is [ceil(n / ROWS)][k][ROWS] with missing rows zero, ROWS = EDGERNN_F32_ROWS. start NULL means
 * 0; start may be y with the same stride; start_stride 0 repeats one row. Nothing outside
 * y[i][0..n-1] is written. The order of the sum differs between targets.
 */
EDGERNN_UNUSED static void edgernn_linear_f32(float *y, size_t y_stride, const float *start,
    size_t start_stride, const float *x, size_t x_stride, const float *w, size_t m, size_t n,
    size_t k)
{
    size_t first, i, l, r, v;
    for (first = 0; first < n; first += EDGERNN_F32_ROWS) {
        size_t rows = n - first < EDGERNN_F32_ROWS ? n - first : EDGERNN_F32_ROWS;
        for (i = 0; i < m; i++) {
            const float *xi = x + i * x_stride;
            edgernn_four sum[EDGERNN_F32_ROWS / 4] = {{0}};
            for (l = 0; l < k; l++) {
                EDGERNN_UNROLL
                for (v = 0; v < EDGERNN_F32_ROWS / 4; v++)
                    sum[v] = edgernn_madd_four(xi[l], w + l * EDGERNN_F32_ROWS + v * 4, sum[v]);
            }
            for (r = 0; r < rows; r++) {
                float base = start ? start[i * start_stride + first + r] : 0.0f;
                y[i * y_stride + first + r] = base + sum[r / 4][r % 4];
            }
        }
        w += k * EDGERNN_F32_ROWS;
    }
}

#endif
#endif
