/* Vectors of int16 of the instruction set in use: what integer gates need of them.
 *
 * gcc and clang give these types + - & | ^ and shifts. No lane of a signed one overflows; where one
 * may, it is an edgernn_ushorts.
 */
#ifndef EDGERNN_SHORT_VECTOR_H
#define EDGERNN_SHORT_VECTOR_H

#include "edgernn_tanh_i16.h"
#include "edgernn_vector.h"

#define EDGERNN_SHORTS (2 * EDGERNN_LANES)
typedef int16_t edgernn_shorts __attribute__((vector_size(EDGERNN_LANES * 4)));
typedef uint16_t edgernn_ushorts __attribute__((vector_size(EDGERNN_LANES * 4)));

/* The first count lanes if there are fewer than all, else all; 0 in the others. */
EDGERNN_INLINE edgernn_shorts edgernn_load_shorts(const int16_t *from, size_t count)
{
    edgernn_shorts v = {0};
#if defined(EDGERNN_AVX512F)
    if (count < EDGERNN_SHORTS)
        return (edgernn_shorts)_mm512_maskz_loadu_epi16((1u << count) - 1u, from);
#else
    if (count < EDGERNN_SHORTS) {
        int16_t part[EDGERNN_SHORTS] = {0};
        memcpy(part, from, count * sizeof *part);
        memcpy(&v, part, sizeof v);
        return v;
    }
#endif
    memcpy(&v, from, sizeof v);
    return v;
}

EDGERNN_INLINE void edgernn_store_shorts(int16_t *to, edgernn_shorts v, size_t count)
{
#if defined(EDGERNN_AVX512F)
    if (count < EDGERNN_SHORTS) {
        _mm512_mask_storeu_epi16(to, (1u << count) - 1u, (__m512i)v);
        return;
    }
#else
    if (count < EDGERNN_SHORTS) {
        int16_t part[EDGERNN_SHORTS];
        memcpy(part, &v, sizeof v);
        memcpy(to, part, count * sizeof *part);
        return;
    }
#endif
    memcpy(to, &v, sizeof v);
}

/* Above -32768. */
EDGERNN_INLINE edgernn_shorts edgernn_not_lowest(edgernn_shorts v)
{
#if defined(EDGERNN_AVX512F)
    return (edgernn_shorts)_mm512_max_epi16((__m512i)v, _mm512_set1_epi16(-32767));
#elif defined(EDGERNN_AVX2)
    return (edgernn_shorts)_mm256_max_epi16((__m256i)v, _mm256_set1_epi16(-32767));
#else
    return (edgernn_shorts)vmaxq_s16((int16x8_t)v, vdupq_n_s16(-32767));
#endif
}

/* edgernn_round_i16 of the first count numbers at a if there are fewer than all lanes, else all. */
EDGERNN_INLINE edgernn_shorts edgernn_round_shorts(const float *a, size_t count)
{
    edgernn_vector low = edgernn_load_up_to(a, count), high = {0};
    if (count > EDGERNN_LANES)
        high = edgernn_load_up_to(a + EDGERNN_LANES, count - EDGERNN_LANES);
#if defined(EDGERNN_AVX512F)
    {
        const __m512 most = _mm512_set1_ps(32767.0f); /* conversions know no larger limit */
        __m256i first = _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(_mm512_min_ps(low, most)));
        __m256i last = _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(_mm512_min_ps(high, most)));
        __m512i both = _mm512_inserti64x4(_mm512_castsi256_si512(first), last, 1);
        return edgernn_not_lowest((edgernn_shorts)both);
    }
#elif defined(EDGERNN_AVX2)
    {
        const __m256 most = _mm256_set1_ps(32767.0f);
        __m256i first = _mm256_cvtps_epi32(_mm256_min_ps(low, most));
        __m256i last = _mm256_cvtps_epi32(_mm256_min_ps(high, most));
        __m256i both = _mm256_permute4x64_epi64(_mm256_packs_epi32(first, last), 0xd8);
        return edgernn_not_lowest((edgernn_shorts)both);
    }
#else
    low = edgernn_limit(low, 32767.0f) + edgernn_spread(EDGERNN_ROUNDER);
    high = edgernn_limit(high, 32767.0f) + edgernn_spread(EDGERNN_ROUNDER);
    return (edgernn_shorts)vcombine_u16(vmovn_u32((uint32x4_t)low), vmovn_u32((uint32x4_t)high));
#endif
}

/* edgernn_multiply_q15 */
EDGERNN_INLINE edgernn_shorts edgernn_multiply_shorts(edgernn_shorts a, edgernn_shorts b)
{
#if defined(EDGERNN_AVX512F)
    return (edgernn_shorts)_mm512_mulhrs_epi16((__m512i)a, (__m512i)b);
#elif defined(EDGERNN_AVX2)
    return (edgernn_shorts)_mm256_mulhrs_epi16((__m256i)a, (__m256i)b);
#else
    return (edgernn_shorts)vqrdmulhq_s16((int16x8_t)a, (int16x8_t)b);
#endif
}

/* a + b within -32767 and 32767. */
EDGERNN_INLINE edgernn_shorts edgernn_add_shorts(edgernn_shorts a, edgernn_shorts b)
{
#if defined(EDGERNN_AVX512F)
    return edgernn_not_lowest((edgernn_shorts)_mm512_adds_epi16((__m512i)a, (__m512i)b));
#elif defined(EDGERNN_AVX2)
    return edgernn_not_lowest((edgernn_shorts)_mm256_adds_epi16((__m256i)a, (__m256i)b));
#else
    return edgernn_not_lowest((edgernn_shorts)vqaddq_s16((int16x8_t)a, (int16x8_t)b));
#endif
}

/* (z * h + (2^15 - z) * n + 2^14) >> 15; z is above 0. */
EDGERNN_INLINE edgernn_shorts edgernn_mix_shorts(edgernn_shorts z, edgernn_shorts h,
    edgernn_shorts n)
{
    edgernn_shorts rest = (edgernn_shorts)(32768 - (edgernn_ushorts)z);
#if defined(EDGERNN_AVX512F)
    const __m512i half = _mm512_set1_epi32(1 << 14);
    __m512i low = _mm512_madd_epi16(_mm512_unpacklo_epi16((__m512i)z, (__m512i)rest),
        _mm512_unpacklo_epi16((__m512i)h, (__m512i)n));
    __m512i high = _mm512_madd_epi16(_mm512_unpackhi_epi16((__m512i)z, (__m512i)rest),
        _mm512_unpackhi_epi16((__m512i)h, (__m512i)n));
    low = _mm512_srai_epi32(_mm512_add_epi32(low, half), 15);
    high = _mm512_srai_epi32(_mm512_add_epi32(high, half), 15);
    return (edgernn_shorts)_mm512_packs_epi32(low, high);
#elif defined(EDGERNN_AVX2)
    const __m256i half = _mm256_set1_epi32(1 << 14);
    __m256i low = _mm256_madd_epi16(_mm256_unpacklo_epi16((__m256i)z, (__m256i)rest),
        _mm256_unpacklo_epi16((__m256i)h, (__m256i)n));
    __m256i high = _mm256_madd_epi16(_mm256_unpackhi_epi16((__m256i)z, (__m256i)rest),
        _mm256_unpackhi_epi16((__m256i)h, (__m256i)n));
    low = _mm256_srai_epi32(_mm256_add_epi32(low, half), 15);
    high = _mm256_srai_epi32(_mm256_add_epi32(high, half), 15);
    return (edgernn_shorts)_mm256_packs_epi32(low, high);
#else
    int16x8_t zs = (int16x8_t)z, hs = (int16x8_t)h, rs = (int16x8_t)rest, ns = (int16x8_t)n;
    int32x4_t low = vmull_s16(vget_low_s16(zs), vget_low_s16(hs));
    int32x4_t high = vmull_s16(vget_high_s16(zs), vget_high_s16(hs));
    low = vmlal_s16(low, vget_low_s16(rs), vget_low_s16(ns));
    high = vmlal_s16(high, vget_high_s16(rs), vget_high_s16(ns));
    return (edgernn_shorts)vcombine_s16(vrshrn_n_s32(low, 15), vrshrn_n_s32(high, 15));
#endif
}

/* (f * c + (i * g >> shift) + 2^14) >> 15, within -32767 and 32767. */
EDGERNN_INLINE edgernn_shorts edgernn_cell_shorts(edgernn_shorts f, edgernn_shorts c,
    edgernn_shorts i, edgernn_shorts g, int shift)
{
#if defined(EDGERNN_AVX512F)
    const __m512i root = _mm512_set1_epi16(128); /* 128 * 128 is 2^14 */
    const __m128i count = _mm_cvtsi32_si128(shift);
    __m512i product = _mm512_mullo_epi16((__m512i)i, (__m512i)g);
    __m512i upper = _mm512_mulhi_epi16((__m512i)i, (__m512i)g);
    __m512i low = _mm512_sra_epi32(_mm512_unpacklo_epi16(product, upper), count);
    __m512i high = _mm512_sra_epi32(_mm512_unpackhi_epi16(product, upper), count);
    low = _mm512_add_epi32(low, _mm512_madd_epi16(_mm512_unpacklo_epi16((__m512i)f, root),
        _mm512_unpacklo_epi16((__m512i)c, root)));
    high = _mm512_add_epi32(high, _mm512_madd_epi16(_mm512_unpackhi_epi16((__m512i)f, root),
        _mm512_unpackhi_epi16((__m512i)c, root)));
    return edgernn_not_lowest((edgernn_shorts)_mm512_packs_epi32(_mm512_srai_epi32(low, 15),
        _mm512_srai_epi32(high, 15)));
#elif defined(EDGERNN_AVX2)
    const __m256i root = _mm256_set1_epi16(128);
    const __m128i count = _mm_cvtsi32_si128(shift);
    __m256i product = _mm256_mullo_epi16((__m256i)i, (__m256i)g);
    __m256i upper = _mm256_mulhi_epi16((__m256i)i, (__m256i)g);
    __m256i low = _mm256_sra_epi32(_mm256_unpacklo_epi16(product, upper), count);
    __m256i high = _mm256_sra_epi32(_mm256_unpackhi_epi16(product, upper), count);
    low = _mm256_add_epi32(low, _mm256_madd_epi16(_mm256_unpacklo_epi16((__m256i)f, root),
        _mm256_unpacklo_epi16((__m256i)c, root)));
    high = _mm256_add_epi32(high, _mm256_madd_epi16(_mm256_unpackhi_epi16((__m256i)f, root),
        _mm256_unpackhi_epi16((__m256i)c, root)));
    return edgernn_not_lowest((edgernn_shorts)_mm256_packs_epi32(_mm256_srai_epi32(low, 15),
        _mm256_srai_epi32(high, 15)));
#else
    const int32x4_t right = vdupq_n_s32(-shift);
    int16x8_t fs = (int16x8_t)f, cs = (int16x8_t)c, is = (int16x8_t)i, gs = (int16x8_t)g;
    int32x4_t low = vshlq_s32(vmull_s16(vget_low_s16(is), vget_low_s16(gs)), right);
    int32x4_t high = vshlq_s32(vmull_s16(vget_high_s16(is), vget_high_s16(gs)), right);
    low = vmlal_s16(low, vget_low_s16(fs), vget_low_s16(cs));
    high = vmlal_s16(high, vget_high_s16(fs), vget_high_s16(cs));
    return edgernn_not_lowest(
        (edgernn_shorts)vcombine_s16(vqrshrn_n_s32(low, 15), vqrshrn_n_s32(high, 15)));
#endif
}

#endif
