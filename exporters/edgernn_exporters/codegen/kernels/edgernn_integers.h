/* Integer operators of ONNX, for every integer type by way of int64_t; no undefined behaviour. */
#ifndef EDGERNN_INTEGERS_H
#define EDGERNN_INTEGERS_H

#include "edgernn_base.h"

static inline int64_t edgernn_min_int(int64_t a, int64_t b)
{
    return b < a ? b : a;
}

static inline int64_t edgernn_max_int(int64_t a, int64_t b)
{
    return b > a ? b : a;
}

static inline int64_t edgernn_clamp_int(int64_t x, int64_t low, int64_t high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

static inline int64_t edgernn_abs_int(int64_t x)
{
    return x < 0 && x != INT64_MIN ? -x : x;
}

static inline int64_t edgernn_sign_int(int64_t x)
{
    return (x > 0) - (x < 0);
}

/* Toward zero; 0 where C leaves the result undefined. */
static inline int64_t edgernn_divide_int(int64_t a, int64_t b)
{
    return b == 0 || (a == INT64_MIN && b == -1) ? 0 : a / b;
}

/* Remainder with the sign of a; 0 where C leaves the result undefined. */
static inline int64_t edgernn_remainder_int(int64_t a, int64_t b)
{
    return b == 0 || b == -1 ? 0 : a % b;
}

/* Remainder with the sign of b. */
static inline int64_t edgernn_modulo_int(int64_t a, int64_t b)
{
    int64_t rest = edgernn_remainder_int(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

/* An index of an axis of n elements: negative ones count from the end, others are clamped. */
static inline size_t edgernn_index(int64_t i, size_t n)
{
    i = i < 0 ? i + (int64_t)n : i;
    i = i < 0 ? 0 : i;
    return (uint64_t)i < n ? (size_t)i : n - 1;
}

#endif
