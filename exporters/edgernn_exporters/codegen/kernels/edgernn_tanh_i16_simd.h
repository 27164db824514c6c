/* T of docs/numerics.md for vectors of int16. The table is permuted: on AVX-512 its numbers, on AVX2
 * and 64-bit Arm their bytes. 32-bit Arm reads it lane by lane.
 */
#ifndef EDGERNN_TANH_I16_SIMD_H
#define EDGERNN_TANH_I16_SIMD_H

#include "edgernn_short_vector.h"

#if defined(EDGERNN_AVX512F)

typedef edgernn_ushorts edgernn_tanh_places;

EDGERNN_INLINE edgernn_tanh_places edgernn_find_places(edgernn_ushorts i)
{
    return i;
}

EDGERNN_INLINE edgernn_shorts edgernn_look_up(int column, edgernn_tanh_places places)
{
    static const int16_t columns[3][64] EDGERNN_ALIGN(64) = {
        {EDGERNN_TANH_TABLE(EDGERNN_TANH_START)},
        {EDGERNN_TANH_TABLE(EDGERNN_TANH_SLOPE)},
        {EDGERNN_TANH_TABLE(EDGERNN_TANH_BEND)},
    };
    return (edgernn_shorts)_mm512_permutex2var_epi16(_mm512_load_si512(columns[column]),
        (__m512i)places, _mm512_load_si512(columns[column] + 32));
}

#elif defined(EDGERNN_AVX2) || defined(__aarch64__)

#define EDGERNN_TANH_0(start, slope, bend) (start) & 255,
#define EDGERNN_TANH_1(start, slope, bend) (start) >> 8,
#define EDGERNN_TANH_2(start, slope, bend) (slope) & 255,
#define EDGERNN_TANH_3(start, slope, bend) (slope) >> 8,
#define EDGERNN_TANH_4(start, slope, bend) (bend) & 255,
#define EDGERNN_TANH_5(start, slope, bend) (bend) >> 8,

/* Low and high bytes of each column. */
static const uint8_t edgernn_tanh_bytes[3][2][64] EDGERNN_UNUSED EDGERNN_ALIGN(64) = {
    {{EDGERNN_TANH_TABLE(EDGERNN_TANH_0)}, {EDGERNN_TANH_TABLE(EDGERNN_TANH_1)}},
    {{EDGERNN_TANH_TABLE(EDGERNN_TANH_2)}, {EDGERNN_TANH_TABLE(EDGERNN_TANH_3)}},
    {{EDGERNN_TANH_TABLE(EDGERNN_TANH_4)}, {EDGERNN_TANH_TABLE(EDGERNN_TANH_5)}},
};

#if defined(EDGERNN_AVX2)

/* Places in the first three blocks of 16 bytes of a column, each byte in one of them and beyond the
 * others, where PSHUFB gives 0. From entry 43 on all are the same.
 */
typedef struct {
    __m256i block[3];
} edgernn_tanh_places;

EDGERNN_INLINE edgernn_tanh_places edgernn_find_places(edgernn_ushorts i)
{
    const __m256i beyond = _mm256_set1_epi8(0x70); /* 16 more has the highest bit */
    __m256i bytes = _mm256_packus_epi16((__m256i)i, (__m256i)i);
    edgernn_tanh_places places;
    int block;
    bytes = _mm256_min_epu8(bytes, _mm256_set1_epi8(47));
    EDGERNN_UNROLL
    for (block = 0; block < 3; block++)
        places.block[block] = _mm256_adds_epu8(
            _mm256_sub_epi8(bytes, _mm256_set1_epi8((char)(16 * block))), beyond);
    return places;
}

EDGERNN_INLINE __m256i edgernn_look_up_bytes(const uint8_t *table, edgernn_tanh_places places)
{
    __m256i found = _mm256_setzero_si256();
    int block;
    EDGERNN_UNROLL
    for (block = 0; block < 3; block++) {
        __m128i part = _mm_load_si128((const __m128i *)(const void *)(table + 16 * block));
        found = _mm256_or_si256(found,
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(part), places.block[block]));
    }
    return found;
}

EDGERNN_INLINE edgernn_shorts edgernn_look_up(int column, edgernn_tanh_places places)
{
    __m256i low = edgernn_look_up_bytes(edgernn_tanh_bytes[column][0], places);
    __m256i high = edgernn_look_up_bytes(edgernn_tanh_bytes[column][1], places);
    return (edgernn_shorts)_mm256_unpacklo_epi8(low, high);
}

#else

typedef uint8x8_t edgernn_tanh_places;

EDGERNN_INLINE edgernn_tanh_places edgernn_find_places(edgernn_ushorts i)
{
    return vmovn_u16((uint16x8_t)i);
}

EDGERNN_INLINE edgernn_shorts edgernn_look_up(int column, edgernn_tanh_places places)
{
    uint8x8_t low = vqtbl4_u8(vld1q_u8_x4(edgernn_tanh_bytes[column][0]), places);
    uint8x8_t high = vqtbl4_u8(vld1q_u8_x4(edgernn_tanh_bytes[column][1]), places);
    return (edgernn_shorts)vaddw_u8(vshll_n_u8(high, 8), low);
}

#endif
#else

typedef edgernn_ushorts edgernn_tanh_places;

EDGERNN_INLINE edgernn_tanh_places edgernn_find_places(edgernn_ushorts i)
{
    return i;
}

EDGERNN_INLINE edgernn_shorts edgernn_look_up(int column, edgernn_tanh_places places)
{
    edgernn_shorts found;
    size_t r;
    EDGERNN_UNROLL
    for (r = 0; r < EDGERNN_SHORTS; r++)
        found[r] = edgernn_tanh_entries[places[r]][column];
    return found;
}

#endif

/* edgernn_tanh_of_magnitude: (32 * t * bend) / 2^15 is t * bend / 2^10, likewise 8 * t * slope. */
EDGERNN_INLINE edgernn_shorts edgernn_tanh_of_magnitudes(edgernn_ushorts a)
{
    const edgernn_tanh_places places = edgernn_find_places(a >> 10);
    edgernn_ushorts t = a & 1023;
    edgernn_shorts bent = edgernn_multiply_shorts((edgernn_shorts)(t << 5),
        edgernn_look_up(2, places));
    edgernn_shorts slope = edgernn_look_up(1, places) - bent;
    return edgernn_look_up(0, places) + edgernn_multiply_shorts((edgernn_shorts)(t << 3), slope);
}

#endif
