/* Vectors of the instruction set in use: what the float and int8 products need of them.
 *
 * gcc and clang give these types the operators + and *.
 */
#ifndef EDGERNN_VECTOR_H
#define EDGERNN_VECTOR_H

#include "edgernn_base.h"

#if defined(EDGERNN_AVX512F)
#define EDGERNN_LANES 16
typedef __m512 edgernn_vector;
#elif defined(EDGERNN_AVX2)
#define EDGERNN_LANES 8
typedef __m256 edgernn_vector;
#elif defined(EDGERNN_NEON)
#define EDGERNN_LANES 4
typedef float32x4_t edgernn_vector;
#endif

/* Sums of signed integers too: unsigned, because these may wrap. */
typedef uint32_t edgernn_int_vector __attribute__((vector_size(EDGERNN_LANES * 4)));

EDGERNN_INLINE edgernn_vector edgernn_load(const float *from)
{
#if defined(EDGERNN_AVX512F)
    return _mm512_loadu_ps(from);
#elif defined(EDGERNN_AVX2)
    return _mm256_loadu_ps(from);
#else
    return vld1q_f32(from);
#endif
}

EDGERNN_INLINE edgernn_int_vector edgernn_load_int(const void *from)
{
#if defined(EDGERNN_AVX512F)
    return (edgernn_int_vector)_mm512_loadu_si512(from);
#elif defined(EDGERNN_AVX2)
    return (edgernn_int_vector)_mm256_loadu_si256((const __m256i *)from);
#else
    return (edgernn_int_vector)vld1q_u8((const uint8_t *)from);
#endif
}

EDGERNN_INLINE void edgernn_store(float *to, edgernn_vector v)
{
#if defined(EDGERNN_AVX512F)
    _mm512_storeu_ps(to, v);
#elif defined(EDGERNN_AVX2)
    _mm256_storeu_ps(to, v);
#else
    vst1q_f32(to, v);
#endif
}

/* The first count lanes if there are fewer than all, else all; 0 in the others. */
EDGERNN_INLINE edgernn_vector edgernn_load_up_to(const float *from, size_t count)
{
    if (count < EDGERNN_LANES) {
#if defined(EDGERNN_AVX512F)
        return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1u), from);
#else
        float part[EDGERNN_LANES] = {0};
        size_t r;
        for (r = 0; r < count; r++)
            part[r] = from[r];
        return edgernn_load(part);
#endif
    }
    return edgernn_load(from);
}

EDGERNN_INLINE void edgernn_store_up_to(float *to, edgernn_vector v, size_t count)
{
    if (count < EDGERNN_LANES) {
#if defined(EDGERNN_AVX512F)
        _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1u), v);
#else
        float part[EDGERNN_LANES];
        size_t r;
        edgernn_store(part, v);
        for (r = 0; r < count; r++)
            to[r] = part[r];
#endif
    } else {
        edgernn_store(to, v);
    }
}

/* x in all lanes. */
EDGERNN_INLINE edgernn_vector edgernn_spread(float x)
{
#if defined(EDGERNN_AVX512F)
    return _mm512_set1_ps(x);
#elif defined(EDGERNN_AVX2)
    return _mm256_set1_ps(x);
#else
    return vdupq_n_f32(x);
#endif
}

/* a * b + c in one operation where there is one. */
EDGERNN_INLINE edgernn_vector edgernn_fused(edgernn_vector a, edgernn_vector b, edgernn_vector c)
{
#if defined(EDGERNN_AVX512F)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(EDGERNN_AVX2)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(__ARM_FEATURE_FMA)
    return vfmaq_f32(c, a, b);
#else
    return vmlaq_f32(c, a, b);
#endif
}

/* x within -limit and limit; NaN stays. */
EDGERNN_INLINE edgernn_vector edgernn_limit(edgernn_vector x, float limit)
{
    edgernn_vector high = edgernn_spread(limit), low = edgernn_spread(-limit);
#if defined(EDGERNN_AVX512F)
    return _mm512_max_ps(low, _mm512_min_ps(high, x)); /* of two, one NaN: the second */
#elif defined(EDGERNN_AVX2)
    return _mm256_max_ps(low, _mm256_min_ps(high, x));
#else
    return vmaxq_f32(low, vminq_f32(high, x));
#endif
}

/* The nearest float of each lane. */
EDGERNN_INLINE edgernn_vector edgernn_to_float(edgernn_int_vector v)
{
#if defined(EDGERNN_AVX512F)
    return _mm512_cvtepi32_ps((__m512i)v);
#elif defined(EDGERNN_AVX2)
    return _mm256_cvtepi32_ps((__m256i)v);
#else
    return vcvtq_f32_s32((int32x4_t)v);
#endif
}

#endif
