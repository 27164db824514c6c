/* Inputs of products in the integer precisions: rounding with given scales, bytes of states.
 *
 * Rows of bytes are stored as edgernn_quantize.h says, rows of 16 bits in the order of the inputs.
 * `size` is what a row takes with its padding: q[k..size) is 0.
 */
#ifndef EDGERNN_QUANTIZE_STATIC_H
#define EDGERNN_QUANTIZE_STATIC_H

#include "edgernn_quantize.h"

#if defined(EDGERNN_MVE)
#include "edgernn_quantize_static_mve.h"
#elif defined(EDGERNN_DSP_FPU)
#include "edgernn_quantize_static_dsp.h"
#else
#define EDGERNN_INPUTS_DONE(call) 0 /* what another kernel has done, from the first on */
#endif

/* A state times its unit, a power of two: exact. */
EDGERNN_UNUSED static void edgernn_widen_state(float *restrict y, const int16_t *restrict h,
    float unit, size_t n)
{
    size_t j = EDGERNN_INPUTS_DONE(edgernn_widen_first(y, h, unit, n));
    for (; j < n; j++)
        y[j] = (float)h[j] * unit;
}

static inline void edgernn_pad_bytes(edgernn_q8 *q, size_t k, size_t size)
{
    for (; k < size; k++)
        q[edgernn_quantized_place(k)] = 0;
}

/* (x - center) * inverse, not yet rounded. */
static inline float edgernn_scaled(float x, float center, float inverse, float low, float high)
{
    float v = (x - center) * inverse;
    v = v < high ? v : high;
    return v > low ? v : low;
}

/* q = clip(rint((x - center) * inverse), -128, 127); step 1: one center and inverse for each input,
 * step 0: one for all.
 */
EDGERNN_UNUSED static void edgernn_quantize_static(edgernn_q8 *restrict q, const float *restrict x,
    const float *restrict center, const float *restrict inverse, size_t step, size_t k, size_t size)
{
    size_t l = EDGERNN_INPUTS_DONE(edgernn_quantize_first(q, x, center, inverse, step, k));
    if (step) {
        for (; l < k; l++)
            q[edgernn_quantized_place(l)] = edgernn_quantize_one(
                edgernn_scaled(x[l], center[l], inverse[l], -128.0f, 127.0f));
    } else {
        const float middle = *center, scale = *inverse;
        for (; l < k; l++)
            q[edgernn_quantized_place(l)] =
                edgernn_quantize_one(edgernn_scaled(x[l], middle, scale, -128.0f, 127.0f));
    }
    edgernn_pad_bytes(q, k, size);
}

/* The same to 16 bits: within -32767 and 32767. */
EDGERNN_UNUSED static void edgernn_quantize_static_i16(int16_t *restrict q,
    const float *restrict x, const float *restrict center, const float *restrict inverse,
    size_t step, size_t k, size_t size)
{
    size_t l = EDGERNN_INPUTS_DONE(edgernn_quantize_i16_first(q, x, center, inverse, step, k));
    if (step) {
        for (; l < k; l++)
            q[l] = (int16_t)(uint16_t)edgernn_bits(EDGERNN_ROUNDER +
                edgernn_scaled(x[l], center[l], inverse[l], -32767.0f, 32767.0f));
    } else {
        const float middle = *center, scale = *inverse;
        for (; l < k; l++)
            q[l] = (int16_t)(uint16_t)edgernn_bits(EDGERNN_ROUNDER +
                edgernn_scaled(x[l], middle, scale, -32767.0f, 32767.0f));
    }
    for (; l < size; l++)
        q[l] = 0;
}

/* q = min(rint(h / 256), 127), half to even: the high bytes of a state. */
EDGERNN_UNUSED static void edgernn_narrow_state(edgernn_q8 *restrict q, const int16_t *restrict h,
    size_t k, size_t size)
{
    size_t l = EDGERNN_INPUTS_DONE(edgernn_narrow_first(q, h, k));
    for (; l < k; l++) {
        int32_t value = (h[l] + 127 + ((h[l] >> 8) & 1)) >> 8;
        q[edgernn_quantized_place(l)] = (edgernn_q8)(value > 127 ? 127 : value);
    }
    edgernn_pad_bytes(q, k, size);
}

/* q = h, all 16 bits. */
EDGERNN_UNUSED static void edgernn_copy_state(int16_t *restrict q, const int16_t *restrict h,
    size_t k, size_t size)
{
    memcpy(q, h, k * sizeof *q);
    for (; k < size; k++)
        q[k] = 0;
}

#endif
