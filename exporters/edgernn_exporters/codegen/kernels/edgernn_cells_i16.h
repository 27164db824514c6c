/* Gates of the integer precisions, as docs/numerics.md defines them, in ONNX's gate order.
 *
 * Each function handles one batch row of `hidden` units. Pre-activations are float32 in units of
 * 2^-12 and are rounded here. States are within -32767 and 32767; one unit of h is 2^-15. No array
 * overlaps another.
 */
#ifndef EDGERNN_CELLS_I16_H
#define EDGERNN_CELLS_I16_H

#include "edgernn_tanh_i16.h"

#if defined(EDGERNN_AVX2) || defined(EDGERNN_NEON)
#include "edgernn_cells_i16_simd.h"
#else
#if defined(EDGERNN_MVE)
#include "edgernn_cells_i16_mve.h"
#elif defined(EDGERNN_DSP_FPU)
#include "edgernn_cells_i16_dsp.h"
#else
#define EDGERNN_UNITS_DONE(call) 0 /* units that another kernel has done, from the first on */
#endif

/* a [4*hidden]: pre-activations i, o, f, g. One unit of c is 2^(shift - 13).
 * c <- (f * c + (i * g >> (2 + shift))) / 2^15;  h <- o * tanh(c)
 */
EDGERNN_UNUSED static void edgernn_lstm_gates_i16(int16_t *restrict h, int16_t *restrict c,
    const float *restrict a, int shift, size_t hidden)
{
    const float *restrict o = a + hidden, *restrict f = o + hidden, *restrict g = f + hidden;
    size_t j = EDGERNN_UNITS_DONE(edgernn_lstm_first_i16(h, c, a, shift, hidden));
    for (; j < hidden; j++) {
        int32_t in = edgernn_sigmoid_q15(edgernn_round_i16(a[j]));
        int32_t out = edgernn_sigmoid_q15(edgernn_round_i16(o[j]));
        int32_t forget = edgernn_sigmoid_q15(edgernn_round_i16(f[j]));
        int32_t added = in * edgernn_tanh_q15(edgernn_round_i16(g[j])) >> (2 + shift);
        int32_t cell = edgernn_saturate_i16((forget * c[j] + added + (1 << 14)) >> 15);
        c[j] = (int16_t)cell;
        h[j] = (int16_t)edgernn_multiply_q15(out, edgernn_tanh_of_cell(cell, shift));
    }
}

/* z * h + (1 - z) * tanh(p) with z the sigmoid of a pre-activation; p is rounded already. */
static inline int16_t edgernn_gru_next_i16(int32_t h, float z_before, int32_t p)
{
    int32_t z = edgernn_sigmoid_q15(edgernn_round_i16(z_before));
    return (int16_t)((z * h + ((1 << 15) - z) * edgernn_tanh_q15(p) + (1 << 14)) >> 15);
}

/* GRU, linear_before_reset=1. zr [2*hidden]: pre-activations z, r; p [hidden]: input part of the
 * candidate; s [hidden]: its recurrent part with the bias.
 * n = tanh(p + r * s);  h <- z * h + (1 - z) * n
 */
EDGERNN_UNUSED static void edgernn_gru_gates_i16(int16_t *restrict h, const float *restrict zr,
    const float *restrict p, const float *restrict s, size_t hidden)
{
    const float *restrict r = zr + hidden;
    size_t j = EDGERNN_UNITS_DONE(edgernn_gru_first_i16(h, zr, p, s, hidden));
    for (; j < hidden; j++) {
        int32_t reset = edgernn_multiply_q15(edgernn_sigmoid_q15(edgernn_round_i16(r[j])),
            edgernn_round_i16(s[j]));
        int32_t n = edgernn_saturate_i16(edgernn_round_i16(p[j]) + reset);
        h[j] = edgernn_gru_next_i16(h[j], zr[j], n);
    }
}

/* GRU, linear_before_reset=0, what is multiplied next: g <- r * h */
EDGERNN_UNUSED static void edgernn_gru_reset_i16(int16_t *restrict g, const float *restrict zr,
    const int16_t *restrict h, size_t hidden)
{
    const float *restrict r = zr + hidden;
    size_t j = EDGERNN_UNITS_DONE(edgernn_gru_reset_first_i16(g, r, h, hidden));
    for (; j < hidden; j++)
        g[j] = (int16_t)edgernn_multiply_q15(edgernn_sigmoid_q15(edgernn_round_i16(r[j])), h[j]);
}

/* GRU, linear_before_reset=0, after that product. a [hidden]: pre-activation of the candidate.
 * h <- z * h + (1 - z) * tanh(a)
 */
EDGERNN_UNUSED static void edgernn_gru_update_i16(int16_t *restrict h, const float *restrict zr,
    const float *restrict a, size_t hidden)
{
    size_t j = EDGERNN_UNITS_DONE(edgernn_gru_update_first_i16(h, zr, a, hidden));
    for (; j < hidden; j++)
        h[j] = edgernn_gru_next_i16(h[j], zr[j], edgernn_round_i16(a[j]));
}

/* h <- tanh(a) */
EDGERNN_UNUSED static void edgernn_rnn_tanh_i16(int16_t *restrict h, const float *restrict a,
    size_t hidden)
{
    size_t j = EDGERNN_UNITS_DONE(edgernn_rnn_tanh_first_i16(h, a, hidden));
    for (; j < hidden; j++)
        h[j] = (int16_t)edgernn_tanh_q15(edgernn_round_i16(a[j]));
}

#endif

/* h <- max(a, 0); both in the layer's unit. */
EDGERNN_UNUSED static void edgernn_rnn_relu_i16(int16_t *restrict h, const float *restrict a,
    size_t hidden)
{
    size_t j;
    for (j = 0; j < hidden; j++) {
        int32_t value = edgernn_round_i16(a[j]);
        h[j] = (int16_t)(value > 0 ? value : 0);
    }
}

#endif
