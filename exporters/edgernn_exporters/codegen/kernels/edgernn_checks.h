/* Limits and checks of values, and a copy that is short on microcontrollers. */
#ifndef EDGERNN_CHECKS_H
#define EDGERNN_CHECKS_H

#include "edgernn_base.h"

/* x within -limit and limit; NaN passes through. */
static inline float edgernn_clip(float x, float limit)
{
    x = x > limit ? limit : x;
    return x < -limit ? -limit : x;
}

/* 1 if all n values are finite, else 0. The exponent of NaN and infinity is all ones: one more
 * carries into the place of the sign. */
static inline int edgernn_finite(const float *x, size_t n)
{
    uint32_t odd = 0;
    for (size_t i = 0; i < n; ++i) {
        odd |= (edgernn_bits(x[i]) & 0x7fffffffu) + 0x00800000u;
    }
    return odd >> 31 == 0;
}

static inline int edgernn_finite_f64(const double *x, size_t n)
{
    int odd = 0;
    for (size_t i = 0; i < n; ++i) {
        odd |= x[i] - x[i] != 0.0;
    }
    return !odd;
}

/* y[i] = x[i]. The libraries of microcontrollers copy byte by byte; this does words. */
static inline void edgernn_copy(float *restrict y, const float *restrict x, size_t n)
{
#if defined(__ARM_ARCH_PROFILE) && __ARM_ARCH_PROFILE == 'M'
    const size_t whole = n & ~(size_t)3;
    size_t i = 0;
    for (; i < whole; i += 4) {
        const float a = x[i], b = x[i + 1], c = x[i + 2], d = x[i + 3];
        y[i] = a;
        y[i + 1] = b;
        y[i + 2] = c;
        y[i + 3] = d;
        __asm__ volatile(""); /* or the compiler would call memcpy after all */
    }
    for (; i < n; ++i) {
        y[i] = x[i];
        __asm__ volatile("");
    }
#else
    memcpy(y, x, n * sizeof *y);
#endif
}

#endif
