/* The gates of edgernn_cells.h for vectors: the same operations in the same order. */
#ifndef EDGERNN_CELLS_SIMD_H
#define EDGERNN_CELLS_SIMD_H

#include "edgernn_activations_simd.h"

/* x / exp_plus_1(gate): x times the sigmoid of the gate. */
EDGERNN_INLINE edgernn_vector edgernn_gated(edgernn_vector x, edgernn_vector gate)
{
    return x / edgernn_exp_plus_1_vector(gate);
}

/* sigmoid(gate) * tanh(x) with one division. */
EDGERNN_INLINE edgernn_vector edgernn_gated_tanh(edgernn_vector x, edgernn_vector gate)
{
    edgernn_vector e = edgernn_exp_minus_1_vector(x);
    return e / (edgernn_exp_plus_1_vector(gate) * (e + edgernn_spread(2.0f)));
}

/* Two loops: the dependent halves of one unit would leave most of the processor waiting. */
EDGERNN_UNUSED static void edgernn_lstm_gates(float *restrict h, float *restrict c,
    const float *restrict a, size_t hidden)
{
    const float *o = a + hidden, *f = o + hidden, *g = f + hidden;
    size_t j;
    for (j = 0; j < hidden; j += EDGERNN_LANES) {
        const size_t left = hidden - j;
        edgernn_vector kept =
            edgernn_gated(edgernn_load_up_to(c + j, left), edgernn_load_up_to(f + j, left));
        edgernn_vector added =
            edgernn_gated_tanh(edgernn_load_up_to(g + j, left), edgernn_load_up_to(a + j, left));
        edgernn_store_up_to(c + j, kept + added, left);
    }
    for (j = 0; j < hidden; j += EDGERNN_LANES) {
        const size_t left = hidden - j;
        edgernn_vector out =
            edgernn_gated_tanh(edgernn_load_up_to(c + j, left), edgernn_load_up_to(o + j, left));
        edgernn_store_up_to(h + j, out, left);
    }
}

EDGERNN_UNUSED static void edgernn_gru_gates(float *restrict h, const float *restrict zr,
    const float *restrict p, const float *restrict s, size_t hidden)
{
    const float *r = zr + hidden;
    size_t j;
    for (j = 0; j < hidden; j += EDGERNN_LANES) {
        const size_t left = hidden - j;
        edgernn_vector reset =
            edgernn_gated(edgernn_load_up_to(s + j, left), edgernn_load_up_to(r + j, left));
        edgernn_vector n = edgernn_tanh_vector(edgernn_load_up_to(p + j, left) + reset);
        edgernn_vector kept = edgernn_load_up_to(h + j, left) - n;
        edgernn_store_up_to(h + j, n + edgernn_gated(kept, edgernn_load_up_to(zr + j, left)), left);
    }
}

EDGERNN_UNUSED static void edgernn_gru_reset(float *restrict g, const float *restrict zr,
    const float *restrict h, size_t hidden)
{
    const float *r = zr + hidden;
    size_t j;
    for (j = 0; j < hidden; j += EDGERNN_LANES) {
        const size_t left = hidden - j;
        edgernn_vector out =
            edgernn_gated(edgernn_load_up_to(h + j, left), edgernn_load_up_to(r + j, left));
        edgernn_store_up_to(g + j, out, left);
    }
}

EDGERNN_UNUSED static void edgernn_gru_update(float *restrict h, const float *restrict zr,
    const float *restrict a, size_t hidden)
{
    size_t j;
    for (j = 0; j < hidden; j += EDGERNN_LANES) {
        const size_t left = hidden - j;
        edgernn_vector n = edgernn_tanh_vector(edgernn_load_up_to(a + j, left));
        edgernn_vector kept = edgernn_load_up_to(h + j, left) - n;
        edgernn_store_up_to(h + j, n + edgernn_gated(kept, edgernn_load_up_to(zr + j, left)), left);
    }
}

EDGERNN_UNUSED static void edgernn_rnn_tanh(float *restrict h, const float *restrict a,
    size_t hidden)
{
    edgernn_tanh_n(h, a, hidden);
}

#endif
