/* Softmax and normalization of rows: y[i*stride] from x[i*stride], i < n. y may be x. */
#ifndef EDGERNN_NORMALIZE_H
#define EDGERNN_NORMALIZE_H

#include "edgernn_activations.h"

/* Largest element of a row. */
static inline float edgernn_row_max(const float *x, size_t stride, size_t n)
{
    float best = x[0];
    size_t i;
    for (i = 1; i < n; i++)
        best = x[i * stride] > best ? x[i * stride] : best;
    return best;
}

/* Sum of a row, in 8 parts. */
static inline float edgernn_row_sum(const float *x, size_t stride, size_t n)
{
    float part[8] = {0}, sum = 0.0f;
    size_t whole = n - n % 8, i, r;
    for (i = 0; i < whole; i += 8)
        for (r = 0; r < 8; r++)
            part[r] += x[(i + r) * stride];
    for (i = whole; i < n; i++)
        sum += x[i * stride];
    for (r = 0; r < 4; r++)
        sum += part[r] + part[r + 4];
    return sum;
}

/* exp(x) / sum of exp(x) */
EDGERNN_UNUSED static void edgernn_softmax_f32(float *y, const float *x, size_t stride, size_t n)
{
    float best = edgernn_row_max(x, stride, n), factor;
    size_t i;
    for (i = 0; i < n; i++)
        y[i * stride] = edgernn_exp(x[i * stride] - best);
    factor = 1.0f / edgernn_row_sum(y, stride, n);
    for (i = 0; i < n; i++)
        y[i * stride] *= factor;
}

/* log of softmax */
EDGERNN_UNUSED static void edgernn_log_softmax_f32(float *y, const float *x, size_t stride,
    size_t n)
{
    float best = edgernn_row_max(x, stride, n), sum = 0.0f, shift;
    size_t i;
    for (i = 0; i < n; i++)
        sum += edgernn_exp(x[i * stride] - best);
    shift = edgernn_log(sum);
    for (i = 0; i < n; i++)
        y[i * stride] = (x[i * stride] - best) - shift;
}

/* 1 at the first of the largest elements, else 0 */
EDGERNN_UNUSED static void edgernn_hardmax_f32(float *y, const float *x, size_t stride, size_t n)
{
    size_t i, place = 0;
    for (i = 1; i < n; i++)
        place = x[i * stride] > x[place * stride] ? i : place;
    for (i = 0; i < n; i++)
        y[i * stride] = i == place ? 1.0f : 0.0f;
}

/* Mean and 1 / standard deviation of n contiguous elements; the sums run in 8 parts. */
static inline void edgernn_moments(const float *x, size_t n, float epsilon, float *mean,
    float *inverse)
{
    float part[8] = {0}, square = 0.0f;
    float middle = edgernn_row_sum(x, 1, n) / (float)n;
    size_t whole = n - n % 8, i, r;
    for (i = 0; i < whole; i += 8) {
        for (r = 0; r < 8; r++) {
            float d = x[i + r] - middle;
            part[r] += d * d;
        }
    }
    for (i = whole; i < n; i++)
        square += (x[i] - middle) * (x[i] - middle);
    for (r = 0; r < 8; r++)
        square += part[r];
    *mean = middle;
    *inverse = 1.0f / edgernn_sqrt(square / (float)n + epsilon);
}

/* (x - mean) / deviation * scale + bias for n contiguous elements; bias NULL means 0. */
EDGERNN_UNUSED static void edgernn_layer_norm_f32(float *y, const float *x, const float *scale,
    const float *bias, size_t n, float epsilon)
{
    float mean, inverse;
    size_t i;
    edgernn_moments(x, n, epsilon, &mean, &inverse);
    for (i = 0; i < n; i++)
        y[i] = (x[i] - mean) * inverse * scale[i] + (bias ? bias[i] : 0.0f);
}

/* The same for channels of size elements each, with one scale and bias per channel. */
EDGERNN_UNUSED static void edgernn_group_norm_f32(float *y, const float *x, const float *scale,
    const float *bias, size_t channels, size_t size, float epsilon)
{
    float mean, inverse;
    size_t c, i;
    edgernn_moments(x, channels * size, epsilon, &mean, &inverse);
    for (c = 0; c < channels; c++) {
        for (i = 0; i < size; i++)
            y[c * size + i] = (x[c * size + i] - mean) * inverse * scale[c] + bias[c];
    }
}

#endif
