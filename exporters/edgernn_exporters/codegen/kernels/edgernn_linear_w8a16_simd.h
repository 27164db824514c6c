/* Products of 16-bit inputs for blocks of 16 rows by 2 inputs on AVX-512, AVX2 and NEON. */
#ifndef EDGERNN_LINEAR_W8A16_SIMD_H
#define EDGERNN_LINEAR_W8A16_SIMD_H

#include "edgernn_packed_simd.h"

/* As described in edgernn_linear_w8a16.h; w is [ceil(n / 16)][ceil(k / 2)][16][2]. */
EDGERNN_UNUSED static void edgernn_linear_w8a16(float *y, size_t y_stride, const float *start,
    size_t start_stride, const int16_t *q, size_t q_stride, const int8_t *w, const float *w_scale,
    size_t m, size_t n, size_t k)
{
    edgernn_packed p = {(const uint8_t *)w, w_scale, NULL, n, (k + 1) / 2, y_stride, start_stride,
        2 * q_stride};
    edgernn_packed_product(&p, y, start, (const uint8_t *)q, m, EDGERNN_PACKED_I8);
}

#endif
