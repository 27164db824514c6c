/* Sigmoid and tanh for vectors: the same operations in the same order as for single floats. */
#ifndef EDGERNN_ACTIVATIONS_SIMD_H
#define EDGERNN_ACTIVATIONS_SIMD_H

#include "edgernn_vector.h"

/* (2^f - 1) / f */
EDGERNN_INLINE edgernn_vector edgernn_exp2_vector(edgernn_vector f)
{
    edgernn_vector p = edgernn_spread(EDGERNN_EXP2_C5) * f + edgernn_spread(EDGERNN_EXP2_C4);
    p = p * f + edgernn_spread(EDGERNN_EXP2_C3);
    p = p * f + edgernn_spread(EDGERNN_EXP2_C2);
    return p * f + edgernn_spread(EDGERNN_EXP2_C1);
}

/* As edgernn_exp_plus_1. */
EDGERNN_INLINE edgernn_vector edgernn_exp_plus_1_vector(edgernn_vector x)
{
    edgernn_vector rounder = edgernn_spread(EDGERNN_ROUNDER), one = edgernn_spread(1.0f);
    edgernn_vector rate = edgernn_spread(EDGERNN_SIGMOID_RATE);
    edgernn_vector t = edgernn_limit(x, EDGERNN_SIGMOID_LIMIT) * rate;
    edgernn_vector n = t + rounder, f = t - (n - rounder);
    edgernn_vector p = edgernn_exp2_vector(f) * f + one;
    edgernn_vector power =
        (edgernn_vector)(((edgernn_int_vector)n << 23) + (edgernn_int_vector)one);
    return power * p + one;
}

/* As edgernn_exp_minus_1. */
EDGERNN_INLINE edgernn_vector edgernn_exp_minus_1_vector(edgernn_vector x)
{
    edgernn_vector rounder = edgernn_spread(EDGERNN_ROUNDER), one = edgernn_spread(1.0f);
    edgernn_vector t = edgernn_limit(x, EDGERNN_TANH_LIMIT) * edgernn_spread(EDGERNN_TANH_RATE);
    edgernn_vector n = t + rounder, f = t - (n - rounder);
    edgernn_vector power =
        (edgernn_vector)(((edgernn_int_vector)n << 23) + (edgernn_int_vector)one);
    return power * (edgernn_exp2_vector(f) * f) + (power - one);
}

EDGERNN_INLINE edgernn_vector edgernn_sigmoid_vector(edgernn_vector x)
{
    return edgernn_spread(1.0f) / edgernn_exp_plus_1_vector(x);
}

EDGERNN_INLINE edgernn_vector edgernn_tanh_vector(edgernn_vector x)
{
    edgernn_vector e = edgernn_exp_minus_1_vector(x);
    return e / (e + edgernn_spread(2.0f));
}

/* y[0..n-1] = tanh(x[0..n-1]); y may be x. */
static inline void edgernn_tanh_n(float *y, const float *x, size_t n)
{
    size_t j;
    for (j = 0; j < n; j += EDGERNN_LANES)
        edgernn_store_up_to(y + j, edgernn_tanh_vector(edgernn_load_up_to(x + j, n - j)), n - j);
}

/* y[0..n-1] = sigmoid(x[0..n-1]); y may be x. */
static inline void edgernn_sigmoid_n(float *y, const float *x, size_t n)
{
    size_t j;
    for (j = 0; j < n; j += EDGERNN_LANES)
        edgernn_store_up_to(y + j, edgernn_sigmoid_vector(edgernn_load_up_to(x + j, n - j)), n - j);
}

#endif
