/* Weights that are computed at run time, in the order that edgernn_linear_f32 reads. */
#ifndef EDGERNN_PACK_F32_H
#define EDGERNN_PACK_F32_H

#include "edgernn_base.h"

/* packed [ceil(n / ROWS)][k][ROWS] from rows w [n][k]; missing rows become 0 */
EDGERNN_UNUSED static void edgernn_pack_f32(float *packed, const float *w, size_t n, size_t k)
{
    size_t first, l, r;
    for (first = 0; first < n; first += EDGERNN_F32_ROWS) {
        for (l = 0; l < k; l++) {
            for (r = 0; r < EDGERNN_F32_ROWS; r++)
                *packed++ = first + r < n ? w[(first + r) * k + l] : 0.0f;
        }
    }
}

/* sum[i] = a[i] + b[i] */
EDGERNN_UNUSED static void edgernn_sum_f32(float *sum, const float *a, const float *b, size_t n)
{
    size_t i;
    for (i = 0; i < n; i++)
        sum[i] = a[i] + b[i];
}

#endif
