/* The gates of edgernn_cells_i16.h for vectors: the same integers. */
#ifndef EDGERNN_CELLS_I16_SIMD_H
#define EDGERNN_CELLS_I16_SIMD_H

#include "edgernn_tanh_i16_simd.h"

/* edgernn_sigmoid_q15 */
EDGERNN_INLINE edgernn_shorts edgernn_sigmoid_shorts(edgernn_shorts p)
{
    edgernn_shorts sign = p >> 15;
    edgernn_ushorts a = (edgernn_ushorts)((p ^ sign) - sign);
    edgernn_ushorts t = (edgernn_ushorts)edgernn_tanh_of_magnitudes(a);
    edgernn_shorts half = (edgernn_shorts)((t + 1) >> 1);
    return ((half ^ sign) - sign) + (1 << 14);
}

/* edgernn_tanh_q15 */
EDGERNN_INLINE edgernn_shorts edgernn_tanh_shorts(edgernn_shorts p)
{
    edgernn_shorts sign = p >> 15;
    edgernn_ushorts a = (edgernn_ushorts)((p ^ sign) - sign);
    edgernn_shorts t = edgernn_tanh_of_magnitudes(a + a);
    return (t ^ sign) - sign;
}

/* edgernn_tanh_of_cell. What is beyond 65535 there is a little below it here, and tanh the same. */
EDGERNN_INLINE edgernn_shorts edgernn_tanh_of_cells(edgernn_shorts c, int shift)
{
    edgernn_shorts sign = c >> 15;
    edgernn_ushorts a = (edgernn_ushorts)((c ^ sign) - sign);
    edgernn_ushorts limit = (edgernn_ushorts){0} + (uint16_t)(65535 >> shift);
    edgernn_ushorts below = (edgernn_ushorts)(a < limit);
    edgernn_shorts t = edgernn_tanh_of_magnitudes(((a & below) | (limit & ~below)) << shift);
    return (t ^ sign) - sign;
}

EDGERNN_UNUSED static void edgernn_lstm_gates_i16(int16_t *restrict h, int16_t *restrict c,
    const float *restrict a, int shift, size_t hidden)
{
    const float *o = a + hidden, *f = o + hidden, *g = f + hidden;
    size_t j;
    for (j = 0; j < hidden; j += EDGERNN_SHORTS) {
        const size_t left = hidden - j;
        edgernn_shorts in = edgernn_sigmoid_shorts(edgernn_round_shorts(a + j, left));
        edgernn_shorts out = edgernn_sigmoid_shorts(edgernn_round_shorts(o + j, left));
        edgernn_shorts keep = edgernn_sigmoid_shorts(edgernn_round_shorts(f + j, left));
        edgernn_shorts new = edgernn_tanh_shorts(edgernn_round_shorts(g + j, left));
        edgernn_shorts cell =
            edgernn_cell_shorts(keep, edgernn_load_shorts(c + j, left), in, new, 2 + shift);
        edgernn_store_shorts(c + j, cell, left);
        cell = edgernn_tanh_of_cells(cell, shift);
        edgernn_store_shorts(h + j, edgernn_multiply_shorts(out, cell), left);
    }
}

/* The next states of a GRU from the candidate's pre-activation. */
EDGERNN_INLINE void edgernn_gru_next_shorts(int16_t *h, const float *z_before,
    edgernn_shorts p, size_t left)
{
    edgernn_shorts z = edgernn_sigmoid_shorts(edgernn_round_shorts(z_before, left));
    edgernn_shorts n = edgernn_tanh_shorts(p);
    edgernn_store_shorts(h, edgernn_mix_shorts(z, edgernn_load_shorts(h, left), n), left);
}

EDGERNN_UNUSED static void edgernn_gru_gates_i16(int16_t *restrict h, const float *restrict zr,
    const float *restrict p, const float *restrict s, size_t hidden)
{
    const float *r = zr + hidden;
    size_t j;
    for (j = 0; j < hidden; j += EDGERNN_SHORTS) {
        const size_t left = hidden - j;
        edgernn_shorts reset = edgernn_sigmoid_shorts(edgernn_round_shorts(r + j, left));
        edgernn_shorts part = edgernn_multiply_shorts(reset, edgernn_round_shorts(s + j, left));
        part = edgernn_add_shorts(edgernn_round_shorts(p + j, left), part);
        edgernn_gru_next_shorts(h + j, zr + j, part, left);
    }
}

EDGERNN_UNUSED static void edgernn_gru_reset_i16(int16_t *restrict g, const float *restrict zr,
    const int16_t *restrict h, size_t hidden)
{
    const float *r = zr + hidden;
    size_t j;
    for (j = 0; j < hidden; j += EDGERNN_SHORTS) {
        const size_t left = hidden - j;
        edgernn_shorts reset = edgernn_sigmoid_shorts(edgernn_round_shorts(r + j, left));
        edgernn_store_shorts(g + j,
            edgernn_multiply_shorts(reset, edgernn_load_shorts(h + j, left)), left);
    }
}

EDGERNN_UNUSED static void edgernn_gru_update_i16(int16_t *restrict h, const float *restrict zr,
    const float *restrict a, size_t hidden)
{
    size_t j;
    for (j = 0; j < hidden; j += EDGERNN_SHORTS) {
        const size_t left = hidden - j;
        edgernn_gru_next_shorts(h + j, zr + j, edgernn_round_shorts(a + j, left), left);
    }
}

EDGERNN_UNUSED static void edgernn_rnn_tanh_i16(int16_t *restrict h, const float *restrict a,
    size_t hidden)
{
    size_t j;
    for (j = 0; j < hidden; j += EDGERNN_SHORTS) {
        const size_t left = hidden - j;
        edgernn_shorts value = edgernn_tanh_shorts(edgernn_round_shorts(a + j, left));
        edgernn_store_shorts(h + j, value, left);
    }
}

#endif
