/* Rows of a table of integer weights, each with its scale. */
#ifndef EDGERNN_EMBEDDING_H
#define EDGERNN_EMBEDDING_H

#include "edgernn_integers.h"

/* y[i*width + j] = w[ids[i]*width + j] * scale[ids[i]]; w is [rows][width]. */
EDGERNN_UNUSED static void edgernn_embedding_i8(float *y, const int64_t *ids, const int8_t *w,
    const float *scale, size_t count, size_t rows, size_t width)
{
    size_t i, j;
    for (i = 0; i < count; i++) {
        const size_t row = edgernn_index(ids[i], rows);
        for (j = 0; j < width; j++)
            *y++ = (float)w[row * width + j] * scale[row];
    }
}

/* Likewise of 4 bits: w is [rows][ceil(width / 2)], two weights plus 8 in a byte, the first low. */
EDGERNN_UNUSED static void edgernn_embedding_i4(float *y, const int64_t *ids, const uint8_t *w,
    const float *scale, size_t count, size_t rows, size_t width)
{
    const size_t bytes = (width + 1) / 2;
    size_t i, j;
    for (i = 0; i < count; i++) {
        const size_t row = edgernn_index(ids[i], rows);
        for (j = 0; j < width; j++) {
            const int32_t both = w[row * bytes + j / 2];
            *y++ = (float)((j % 2 ? both >> 4 : both & 15) - 8) * scale[row];
        }
    }
}

#endif
