/* Convolutions and embeddings of the integer precisions.
 *
 * Windows are copied to rows that the products read. Data are channels last and quantized already,
 * stored as edgernn_quantize_static.h does it.
 */
#ifndef EDGERNN_CONV_INTEGER_H
#define EDGERNN_CONV_INTEGER_H

#include "edgernn_quantize.h"

/* rows x columns pieces of `inner` neighbouring numbers that a window covers, row and column apart;
 * windows begin `stride` apart.
 */
typedef struct {
    size_t rows, row, columns, column, inner, stride;
} edgernn_window;

EDGERNN_INLINE void edgernn_windows(void *to, size_t to_stride, const void *from, size_t at,
    const edgernn_window *window, size_t m, const int wide)
{
    const size_t k = window->rows * window->columns * window->inner;
    edgernn_q8 *const to_8 = to;
    int16_t *const to_16 = to;
    const edgernn_q8 *const from_8 = from;
    const int16_t *const from_16 = from;
    size_t p, r, q, i, l;
    for (p = 0; p < m; p++) {
        const size_t first = p * to_stride;
        l = first;
        for (r = 0; r < window->rows; r++)
            for (q = 0; q < window->columns; q++) {
                const size_t begin = at + r * window->row + q * window->column;
                for (i = begin; i < begin + window->inner; i++, l++) {
                    if (wide)
                        to_16[l] = from_16[i];
                    else
                        to_8[edgernn_quantized_place(l)] = from_8[edgernn_quantized_place(i)];
                }
            }
        for (l = first + k; l < first + to_stride; l++) {
            if (wide)
                to_16[l] = 0;
            else
                to_8[edgernn_quantized_place(l)] = 0;
        }
        at += window->stride;
    }
}

/* Copy what m windows cover, the first at element `at`, to rows with zeros up to to_stride. */
EDGERNN_UNUSED static void edgernn_windows_i8(edgernn_q8 *to, size_t to_stride,
    const edgernn_q8 *from, size_t at, edgernn_window window, size_t m)
{
    edgernn_windows(to, to_stride, from, at, &window, m, 0);
}

EDGERNN_UNUSED static void edgernn_windows_i16(int16_t *to, size_t to_stride, const int16_t *from,
    size_t at, edgernn_window window, size_t m)
{
    edgernn_windows(to, to_stride, from, at, &window, m, 1);
}

EDGERNN_INLINE void edgernn_linear_plain(float *y, size_t y_stride, const float *bias,
    const void *q, size_t q_stride, const int8_t *w, const float *w_scale, size_t m, size_t n,
    size_t k, const int wide)
{
    const edgernn_q8 *const q_8 = q;
    const int16_t *const q_16 = q;
    size_t i, j, l;
    for (i = 0; i < m; i++)
        for (j = 0; j < n; j++) {
            int32_t sum = 0;
            for (l = 0; l < k; l++) {
                const size_t at = i * q_stride + l;
                sum += (wide ? q_16[at] : q_8[edgernn_quantized_place(at)]) * w[j * k + l];
            }
            y[i * y_stride + j] = (float)sum * w_scale[j] + bias[j];
        }
}

/* y[i*y_stride + j] = float(sum_k q[i*q_stride + k] * w[j*k_size + k]) * w_scale[j] + bias[j]: a few
 * outputs of a group, whose weights are not packed.
 */
EDGERNN_UNUSED static void edgernn_linear_plain_i8(float *y, size_t y_stride, const float *bias,
    const edgernn_q8 *q, size_t q_stride, const int8_t *w, const float *w_scale, size_t m, size_t n,
    size_t k)
{
    edgernn_linear_plain(y, y_stride, bias, q, q_stride, w, w_scale, m, n, k, 0);
}

EDGERNN_UNUSED static void edgernn_linear_plain_i16(float *y, size_t y_stride, const float *bias,
    const int16_t *q, size_t q_stride, const int8_t *w, const float *w_scale, size_t m, size_t n,
    size_t k)
{
    edgernn_linear_plain(y, y_stride, bias, q, q_stride, w, w_scale, m, n, k, 1);
}

#endif
