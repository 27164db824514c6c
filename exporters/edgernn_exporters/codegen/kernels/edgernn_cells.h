/* Gates of the recurrent cells, in the operation order of docs/numerics.md and ONNX's gate order.
 *
 * Each function handles one batch row of `hidden` units. No array overlaps another.
 */
#ifndef EDGERNN_CELLS_H
#define EDGERNN_CELLS_H

#include "edgernn_activations.h"

/* One unit of an LSTM. The divisions of each product of a sigmoid are done as one. */
static inline void edgernn_lstm_unit(float *h, float *c, float i, float o, float f, float g)
{
    float e = edgernn_exp_minus_1(g);
    float kept = *c / edgernn_exp_plus_1(f);
    float cell = kept + e / (edgernn_exp_plus_1(i) * (e + 2.0f));
    *c = cell;
    e = edgernn_exp_minus_1(cell);
    *h = e / (edgernn_exp_plus_1(o) * (e + 2.0f));
}

/* The next state of one unit of a GRU; a is the pre-activation of the candidate. */
static inline float edgernn_gru_next(float h, float z, float a)
{
    float n = edgernn_tanh(a);
    return n + (h - n) / edgernn_exp_plus_1(z);
}

#if defined(EDGERNN_MVE)
#include "edgernn_cells_mve.h"
#elif defined(EDGERNN_DSP)
#include "edgernn_cells_dsp.h"
#elif defined(EDGERNN_AVX2) || (defined(EDGERNN_NEON) && defined(__aarch64__))
#include "edgernn_cells_simd.h"
#else

/* a [4*hidden]: pre-activations i, o, f, g.
 * c <- sigmoid(f) * c + sigmoid(i) * tanh(g);  h <- sigmoid(o) * tanh(c)
 */
EDGERNN_UNUSED static void edgernn_lstm_gates(float *restrict h, float *restrict c,
    const float *restrict a, size_t hidden)
{
    const float *restrict o = a + hidden, *restrict f = o + hidden, *restrict g = f + hidden;
    size_t j;
    for (j = 0; j < hidden; j++) {
        edgernn_lstm_unit(h + j, c + j, a[j], o[j], f[j], g[j]);
    }
}

/* GRU, linear_before_reset=1. zr [2*hidden]: pre-activations z, r; p [hidden]: input part of the
 * candidate; s [hidden]: its recurrent part with the bias.
 * n = tanh(p + sigmoid(r) * s);  h <- n + sigmoid(z) * (h - n)
 */
EDGERNN_UNUSED static void edgernn_gru_gates(float *restrict h, const float *restrict zr,
    const float *restrict p, const float *restrict s, size_t hidden)
{
    const float *restrict r = zr + hidden;
    size_t j;
    for (j = 0; j < hidden; j++) {
        h[j] = edgernn_gru_next(h[j], zr[j], p[j] + s[j] / edgernn_exp_plus_1(r[j]));
    }
}

/* GRU, linear_before_reset=0, what is multiplied next: g <- sigmoid(r) * h */
EDGERNN_UNUSED static void edgernn_gru_reset(float *restrict g, const float *restrict zr,
    const float *restrict h, size_t hidden)
{
    const float *restrict r = zr + hidden;
    size_t j;
    for (j = 0; j < hidden; j++)
        g[j] = h[j] / edgernn_exp_plus_1(r[j]);
}

/* GRU, linear_before_reset=0, after that product. a [hidden]: pre-activation of the candidate.
 * n = tanh(a);  h <- n + sigmoid(z) * (h - n)
 */
EDGERNN_UNUSED static void edgernn_gru_update(float *restrict h, const float *restrict zr,
    const float *restrict a, size_t hidden)
{
    size_t j;
    for (j = 0; j < hidden; j++) {
        h[j] = edgernn_gru_next(h[j], zr[j], a[j]);
    }
}

/* h <- tanh(a) */
EDGERNN_UNUSED static void edgernn_rnn_tanh(float *restrict h, const float *restrict a,
    size_t hidden)
{
    edgernn_tanh_n(h, a, hidden);
}

#endif
#endif
