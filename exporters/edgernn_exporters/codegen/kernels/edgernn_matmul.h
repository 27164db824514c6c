/* Products of two matrices that are both computed at run time, at any strides. */
#ifndef EDGERNN_MATMUL_H
#define EDGERNN_MATMUL_H

#include "edgernn_base.h"

/* Sum of n products of contiguous elements, in 8 parts. */
static inline float edgernn_dot_f32(const float *a, const float *b, size_t n)
{
    float part[8] = {0}, sum = 0.0f;
    size_t whole = n - n % 8, l, r;
    for (l = 0; l < whole; l += 8)
        for (r = 0; r < 8; r++)
            part[r] = edgernn_madd(a[l + r], b[l + r], part[r]);
    for (l = whole; l < n; l++)
        sum = edgernn_madd(a[l], b[l], sum);
    for (r = 0; r < 4; r++)
        sum += part[r] + part[r + 4];
    return sum;
}

/* y[i*n + j] = sum over l of a[i*a_row + l*a_column] * b[l*b_row + j*b_column]
 * for i < m, j < n, l < k. y overlaps neither a nor b. The order of the sum differs between targets.
 */
EDGERNN_UNUSED static void edgernn_matmul_f32(float *restrict y, const float *restrict a,
    size_t a_row, size_t a_column, const float *restrict b, size_t b_row, size_t b_column,
    size_t m, size_t n, size_t k)
{
    size_t i, j, l;
    for (i = 0; i < m; i++) {
        float *row = y + i * n;
        const float *left = a + i * a_row;
        if (a_column == 1 && b_row == 1) { /* columns of b are contiguous, as rows of a are */
            for (j = 0; j < n; j++)
                row[j] = edgernn_dot_f32(left, b + j * b_column, k);
            continue;
        }
        memset(row, 0, n * sizeof *row); /* else add up the rows of b */
        for (l = 0; l < k; l++) {
            const float *right = b + l * b_row;
            float factor = left[l * a_column];
            if (b_column == 1) {
                for (j = 0; j < n; j++)
                    row[j] = edgernn_madd(factor, right[j], row[j]);
            } else {
                for (j = 0; j < n; j++)
                    row[j] = edgernn_madd(factor, right[j * b_column], row[j]);
            }
        }
    }
}

/* The same for int32 elements; sums wrap around. */
EDGERNN_UNUSED static void edgernn_matmul_i32(int32_t *restrict y, const int32_t *restrict a,
    size_t a_row, size_t a_column, const int32_t *restrict b, size_t b_row, size_t b_column,
    size_t m, size_t n, size_t k)
{
    size_t i, j, l;
    for (i = 0; i < m; i++) {
        for (j = 0; j < n; j++) {
            uint32_t sum = 0;
            for (l = 0; l < k; l++)
                sum += (uint32_t)a[i * a_row + l * a_column] * (uint32_t)b[l * b_row + j * b_column];
            y[i * n + j] = (int32_t)sum;
        }
    }
}

#endif
