/* Rounding of float rows to int8, as docs/numerics.md defines it. */
#ifndef EDGERNN_QUANTIZE_H
#define EDGERNN_QUANTIZE_H

#include "edgernn_base.h"

#if EDGERNN_I8_WIDE
typedef int16_t edgernn_q8;
#else
typedef int8_t edgernn_q8;
#endif

/* float32 nearest to 1/127 */
#define EDGERNN_UNIT (1.0f / 127.0f)

/* Inputs as stored, rounded up to whole groups of EDGERNN_I8_DEPTH. */
static inline size_t edgernn_quantized_size(size_t k)
{
    return (k + EDGERNN_I8_DEPTH - 1) / EDGERNN_I8_DEPTH * EDGERNN_I8_DEPTH;
}

/* Where input l is stored: in place, or for int16 in the order 0, 2, 1, 3 within each four. */
static inline size_t edgernn_quantized_place(size_t l)
{
#if EDGERNN_I8_WIDE
    return (l & ~(size_t)3) | ((l & 1) << 1) | ((l >> 1) & 1);
#else
    return l;
#endif
}

/* The nearest integer of |x| <= 128, half to even. */
static inline edgernn_q8 edgernn_quantize_one(float x)
{
    return (edgernn_q8)(int8_t)(uint8_t)edgernn_bits(x + EDGERNN_ROUNDER);
}

static inline void edgernn_quantize_padding(edgernn_q8 *q, size_t k)
{
    size_t l, padded = edgernn_quantized_size(k);
    for (l = k; l < padded; l++)
        q[edgernn_quantized_place(l)] = 0;
}

#if defined(EDGERNN_MVE)
#include "edgernn_quantize_mve.h"
#elif defined(EDGERNN_DSP)
#include "edgernn_quantize_dsp.h"
#else

/* u = max(max|x| * (1/127), 1e-30); q = rint(x / u); return u. q[k..] up to whole groups is 0. */
EDGERNN_UNUSED static float edgernn_quantize_row(edgernn_q8 *q, const float *x, size_t k)
{
    uint32_t top = 0; /* floats without their sign compare like their bits */
    float unit;
    size_t l;
    for (l = 0; l < k; l++) {
        uint32_t bits = edgernn_bits(x[l]) & 0x7fffffffu;
        top = bits > top ? bits : top;
    }
    unit = edgernn_from_bits(top) * EDGERNN_UNIT;
    unit = unit < 1e-30f ? 1e-30f : unit;
    for (l = 0; l < k; l++)
        q[edgernn_quantized_place(l)] = edgernn_quantize_one(x[l] / unit);
    edgernn_quantize_padding(q, k);
    return unit;
}

/* q = clip(rint(h / (1/127)), -128, 127). q[k..] up to whole groups is 0. */
EDGERNN_UNUSED static void edgernn_quantize_unit(edgernn_q8 *q, const float *h, size_t k)
{
    size_t l;
    for (l = 0; l < k; l++) {
        float x = h[l] / EDGERNN_UNIT;
        x = x > 127.0f ? 127.0f : x;
        x = x < -128.0f ? -128.0f : x;
        q[edgernn_quantized_place(l)] = edgernn_quantize_one(x);
    }
    edgernn_quantize_padding(q, k);
}

#endif
#endif
