/* int4 products for blocks of 16 rows by 8 inputs on AVX-512, AVX2 and NEON. */
#ifndef EDGERNN_LINEAR_I4_SIMD_H
#define EDGERNN_LINEAR_I4_SIMD_H

#include "edgernn_packed_simd.h"

/* As described in edgernn_linear_i4.h; w is [ceil(n / 16)][ceil(k / 8)][16][4]. */
EDGERNN_UNUSED static void edgernn_linear_i4(float *y, size_t y_stride, const float *start,
    size_t start_stride, const edgernn_q8 *q, size_t q_stride, const uint8_t *w,
    const float *w_scale, size_t m, size_t n, size_t k)
{
    edgernn_packed p = {w, w_scale, NULL, n, (k + 7) / 8, y_stride, start_stride, q_stride};
    edgernn_packed_product(&p, y, start, (const uint8_t *)q, m, EDGERNN_PACKED_I4);
}

#endif
