/* Convolution of each channel on its own, and pooling. Channels are the innermost axis.
 *
 * Other convolutions are products of overlapping rows: see edgernn_linear_f32.h.
 */
#ifndef EDGERNN_CONV_H
#define EDGERNN_CONV_H

#include "edgernn_base.h"

/* y[p*channels + c] = bias[c] + sum over the window of x[p*x_stride + r*row + q*column + c] * w
 *
 * for p < m; r < rows, q < columns; w is [rows][columns][channels]. bias NULL means 0.
 */
EDGERNN_UNUSED static void edgernn_depthwise_f32(float *restrict y, const float *restrict bias,
    const float *restrict x, size_t x_stride, const float *restrict w, size_t rows, size_t row,
    size_t columns, size_t column, size_t m, size_t channels)
{
    size_t p, r, q, c;
    for (p = 0; p < m; p++) {
        const float *tap = w;
        for (c = 0; c < channels; c++)
            y[c] = bias ? bias[c] : 0.0f;
        for (r = 0; r < rows; r++) {
            for (q = 0; q < columns; q++) {
                const float *from = x + r * row + q * column;
                for (c = 0; c < channels; c++)
                    y[c] = edgernn_madd(from[c], tap[c], y[c]);
                tap += channels;
            }
        }
        x += x_stride;
        y += channels;
    }
}

/* Copy what each of m windows covers to one row: rows pieces of size elements, row apart. */
EDGERNN_UNUSED static void edgernn_windows_f32(float *restrict y, const float *restrict x,
    size_t x_stride, size_t rows, size_t row, size_t size, size_t m)
{
    size_t p, r, i;
    for (p = 0; p < m; p++) {
        for (r = 0; r < rows; r++) {
            for (i = 0; i < size; i++)
                y[i] = x[r * row + i];
            y += size;
        }
        x += x_stride;
    }
}

/* y[c] = the largest of x[r*row + q*column + c] over r < rows, q < columns. */
EDGERNN_UNUSED static void edgernn_max_window_f32(float *restrict y, const float *restrict x,
    size_t rows, size_t row, size_t columns, size_t column, size_t channels)
{
    size_t r, q, c;
    memcpy(y, x, channels * sizeof *y);
    for (r = 0; r < rows; r++) {
        for (q = 0; q < columns; q++) {
            const float *from = x + r * row + q * column;
            for (c = 0; c < channels; c++)
                y[c] = from[c] > y[c] ? from[c] : y[c];
        }
    }
}

/* y[c] = the sum of x[r*row + q*column + c] over r < rows, q < columns, divided by count. */
EDGERNN_UNUSED static void edgernn_mean_window_f32(float *restrict y, const float *restrict x,
    size_t rows, size_t row, size_t columns, size_t column, size_t count, size_t channels)
{
    const float divisor = (float)count;
    size_t r, q, c;
    memset(y, 0, channels * sizeof *y);
    for (r = 0; r < rows; r++) {
        for (q = 0; q < columns; q++) {
            const float *from = x + r * row + q * column;
            for (c = 0; c < channels; c++)
                y[c] += from[c];
        }
    }
    for (c = 0; c < channels; c++)
        y[c] /= divisor;
}

/* Elements of the window [at, at + size) that lie in [low, high); at least 1. */
EDGERNN_UNUSED static inline size_t edgernn_inside(size_t at, size_t size, size_t low, size_t high)
{
    size_t first = at < low ? low : at;
    size_t last = at + size < high ? at + size : high;
    return last > first ? last - first : 1;
}

#endif
