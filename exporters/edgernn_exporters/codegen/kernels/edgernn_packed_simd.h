/* Products of blocks of 16 rows whose weights are unpacked on the way: int4, and int8 with 16-bit
 * inputs. AVX-512 (VNNI), AVX2 and NEON.
 *
 * A pair is what one lane of a dot product takes: 4 bytes of inputs, that is four of 8 bits or two
 * of 16. A unit is what one load of weights serves: two pairs of int4, one of int8.
 */
#ifndef EDGERNN_PACKED_SIMD_H
#define EDGERNN_PACKED_SIMD_H

#include "edgernn_vector.h"

#define EDGERNN_PACKED_VECTORS (16 / EDGERNN_LANES) /* in a block */
#define EDGERNN_PACKED_MOST 32                      /* rows of x whose sums are kept at once */
#if defined(EDGERNN_AVX512F)
#define EDGERNN_PACKED_WIDE 8   /* blocks at once, one row of x */
#define EDGERNN_PACKED_BLOCKS 4 /* blocks at once, a few rows of x */
#define EDGERNN_PACKED_ROWS 4
#elif defined(EDGERNN_AVX2)
#define EDGERNN_PACKED_WIDE 4
#define EDGERNN_PACKED_BLOCKS 1
#define EDGERNN_PACKED_ROWS 4
#else
#define EDGERNN_PACKED_WIDE 2
#define EDGERNN_PACKED_BLOCKS 1
#define EDGERNN_PACKED_ROWS 2
#endif

enum { EDGERNN_PACKED_I4 = 4, EDGERNN_PACKED_I8 = 8 }; /* bits of a weight */

/* A matrix of n rows and the strides of the rows of x (bytes), y and start. `excess` of each row of x
 * is what int4 weights of 8 more than they are make too much.
 */
typedef struct {
    const uint8_t *w;
    const float *w_scale;
    int32_t *excess;
    size_t n, units, y_stride, start_stride, q_stride;
} edgernn_packed;

/* Vector v of the blocks from `block` on at a unit of inputs. */
EDGERNN_INLINE edgernn_int_vector edgernn_packed_load(const edgernn_packed *p, size_t block,
    size_t unit, size_t v, const int bits)
{
    const size_t each = bits == EDGERNN_PACKED_I4 ? 64 : 32; /* bytes of a block and unit */
    const uint8_t *from = p->w + ((block + v / EDGERNN_PACKED_VECTORS) * p->units + unit) * each +
        v % EDGERNN_PACKED_VECTORS * (each / EDGERNN_PACKED_VECTORS);
    if (bits == EDGERNN_PACKED_I4)
        return edgernn_load_int(from);
#if defined(EDGERNN_AVX512F)
    return (edgernn_int_vector)_mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)from));
#elif defined(EDGERNN_AVX2)
    return (edgernn_int_vector)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)from));
#else
    return (edgernn_int_vector)vmovl_s8(vld1_s8((const int8_t *)from));
#endif
}

/* The weights of pair 0 or 1: int4 are in the low or high halves of bytes. */
EDGERNN_INLINE edgernn_int_vector edgernn_packed_pair(edgernn_int_vector w, size_t pair,
    const int bits)
{
    return bits == EDGERNN_PACKED_I4 ? (pair ? w >> 4 : w) & 0x0f0f0f0fu : w;
}

EDGERNN_INLINE edgernn_int_vector edgernn_packed_spread(const uint8_t *q)
{
    uint32_t four;
    memcpy(&four, q, 4);
    return (edgernn_int_vector){0} + four;
}

#if !defined(EDGERNN_AVX2)
/* Sums of lanes 0 and 1, 2 and 3 of low, then of high. */
EDGERNN_INLINE edgernn_int_vector edgernn_packed_add_neighbours(int32x4_t low, int32x4_t high)
{
#if defined(__aarch64__)
    return (edgernn_int_vector)vpaddq_s32(low, high);
#else
    return (edgernn_int_vector)vcombine_s32(vpadd_s32(vget_low_s32(low), vget_high_s32(low)),
        vpadd_s32(vget_low_s32(high), vget_high_s32(high)));
#endif
}
#endif

/* sum + the products of a pair; int4 weights are 0 to 15. */
EDGERNN_INLINE edgernn_int_vector edgernn_packed_dot(edgernn_int_vector sum, edgernn_int_vector x,
    edgernn_int_vector w, const int bits)
{
#if defined(EDGERNN_AVX512VNNI)
    if (bits == EDGERNN_PACKED_I4)
        return (edgernn_int_vector)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)w, (__m512i)x);
    return (edgernn_int_vector)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)w, (__m512i)x);
#elif defined(EDGERNN_AVX512F)
    __m512i products = (__m512i)x;
    if (bits == EDGERNN_PACKED_I4) {
        w = (edgernn_int_vector)_mm512_maddubs_epi16((__m512i)w, products);
        products = _mm512_set1_epi16(1);
    }
    return sum + (edgernn_int_vector)_mm512_madd_epi16((__m512i)w, products);
#elif defined(EDGERNN_AVX2)
    __m256i products = (__m256i)x;
    if (bits == EDGERNN_PACKED_I4) {
        w = (edgernn_int_vector)_mm256_maddubs_epi16((__m256i)w, products);
        products = _mm256_set1_epi16(1);
    }
    return sum + (edgernn_int_vector)_mm256_madd_epi16((__m256i)w, products);
#else
    if (bits == EDGERNN_PACKED_I4) {
#if defined(EDGERNN_NEON_DOT)
        return (edgernn_int_vector)vdotq_s32((int32x4_t)sum, (int8x16_t)w, (int8x16_t)x);
#else
        int8x16_t ws = (int8x16_t)w, xs = (int8x16_t)x;
        int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(ws), vget_low_s8(xs)));
        int32x4_t high = vpaddlq_s16(vmull_s8(vget_high_s8(ws), vget_low_s8(xs)));
        return sum + edgernn_packed_add_neighbours(low, high);
#endif
    } else {
        int16x8_t ws = (int16x8_t)w, xs = (int16x8_t)x;
        int32x4_t low = vmull_s16(vget_low_s16(ws), vget_low_s16(xs));
        int32x4_t high = vmull_s16(vget_high_s16(ws), vget_low_s16(xs));
        return sum + edgernn_packed_add_neighbours(low, high);
    }
#endif
}

/* Fill `excess` for m rows of x. */
EDGERNN_INLINE void edgernn_packed_find_excess(const edgernn_packed *p, const uint8_t *q, size_t m)
{
    size_t i, l;
    for (i = 0; i < m; i++) {
        int32_t sum = 0;
        for (l = 0; l < p->units * 8; l++)
            sum += (int8_t)q[i * p->q_stride + l];
        p->excess[i] = sum * 8;
    }
}

/* Scale the sums of a row of x for a vector of outputs, of which `left` exist; add the start. */
EDGERNN_INLINE void edgernn_packed_finish(float *y, const float *start, const float *w_scale,
    edgernn_int_vector sum, size_t left)
{
#if defined(EDGERNN_AVX2) || defined(__aarch64__)
    edgernn_vector t = edgernn_to_float(sum) * edgernn_load_up_to(w_scale, left);
    if (start)
        t = t + edgernn_load_up_to(start, left);
    edgernn_store_up_to(y, t, left);
#else /* vectors of armv7 flush tiny floats to 0 */
    size_t r;
    for (r = 0; r < EDGERNN_LANES && r < left; r++) {
        float t = (float)(int32_t)sum[r] * w_scale[r];
        y[r] = start ? t + start[r] : t;
    }
#endif
}

/* `rows` rows of x, the first of them row `first`, times `blocks` blocks. */
EDGERNN_INLINE void edgernn_packed_tile(const edgernn_packed *p, size_t block, float *y,
    const float *start, const uint8_t *q, size_t first, const size_t rows, const size_t blocks,
    const int bits)
{
    edgernn_int_vector sum[EDGERNN_PACKED_ROWS][8];
    const size_t vectors = blocks * EDGERNN_PACKED_VECTORS;
    const size_t pairs = bits == EDGERNN_PACKED_I4 ? 2 : 1;
    size_t unit, pair, i, v;
    y += first * p->y_stride;
    start = start ? start + first * p->start_stride : NULL;
    q += first * p->q_stride;
    EDGERNN_UNROLL
    for (i = 0; i < rows; i++) {
        const uint32_t excess = bits == EDGERNN_PACKED_I4 ? (uint32_t)p->excess[first + i] : 0;
        EDGERNN_UNROLL
        for (v = 0; v < vectors; v++)
            sum[i][v] = (edgernn_int_vector){0} - excess;
    }
    for (unit = 0; unit < p->units; unit++) {
        edgernn_int_vector w[8];
        EDGERNN_UNROLL
        for (v = 0; v < vectors; v++)
            w[v] = edgernn_packed_load(p, block, unit, v, bits);
        EDGERNN_UNROLL
        for (pair = 0; pair < pairs; pair++) {
            EDGERNN_UNROLL
            for (i = 0; i < rows; i++) {
                edgernn_int_vector x =
                    edgernn_packed_spread(q + i * p->q_stride + (unit * pairs + pair) * 4);
                EDGERNN_UNROLL
                for (v = 0; v < vectors; v++)
                    sum[i][v] = edgernn_packed_dot(sum[i][v], x,
                        edgernn_packed_pair(w[v], pair, bits), bits);
            }
        }
    }
    EDGERNN_UNROLL
    for (i = 0; i < rows; i++) {
        EDGERNN_UNROLL
        for (v = 0; v < vectors; v++) {
            const size_t at = block * 16 + v * EDGERNN_LANES;
            if (at < p->n)
                edgernn_packed_finish(y + i * p->y_stride + at,
                    start ? start + i * p->start_stride + at : NULL, p->w_scale + at, sum[i][v],
                    p->n - at);
        }
    }
}

/* All m rows of x times `blocks` blocks. */
EDGERNN_INLINE void edgernn_packed_column(const edgernn_packed *p, size_t block, float *y,
    const float *start, const uint8_t *q, size_t m, const size_t blocks, const int bits)
{
    size_t i = 0;
    for (; i + EDGERNN_PACKED_ROWS <= m; i += EDGERNN_PACKED_ROWS)
        edgernn_packed_tile(p, block, y, start, q, i, EDGERNN_PACKED_ROWS, blocks, bits);
    for (; i < m; i++)
        edgernn_packed_tile(p, block, y, start, q, i, 1, blocks, bits);
}

/* All blocks. */
EDGERNN_INLINE void edgernn_packed_blocks(const edgernn_packed *p, float *y, const float *start,
    const uint8_t *q, size_t m, const int bits)
{
    const size_t blocks = (p->n + 15) / 16;
    size_t block = 0;
    if (m == 1)
        for (; block + EDGERNN_PACKED_WIDE <= blocks; block += EDGERNN_PACKED_WIDE)
            edgernn_packed_tile(p, block, y, start, q, 0, 1, EDGERNN_PACKED_WIDE, bits);
#if EDGERNN_PACKED_BLOCKS > 1
    for (; block + EDGERNN_PACKED_BLOCKS <= blocks; block += EDGERNN_PACKED_BLOCKS)
        edgernn_packed_column(p, block, y, start, q, m, EDGERNN_PACKED_BLOCKS, bits);
#endif
    for (; block < blocks; block++)
        edgernn_packed_column(p, block, y, start, q, m, 1, bits);
}

/* The whole product. */
EDGERNN_INLINE void edgernn_packed_product(edgernn_packed *p, float *y, const float *start,
    const uint8_t *q, size_t m, const int bits)
{
    int32_t excess[EDGERNN_PACKED_MOST];
    p->excess = excess;
    while (bits == EDGERNN_PACKED_I4 && m > 0) {
        const size_t rows = m < EDGERNN_PACKED_MOST ? m : EDGERNN_PACKED_MOST;
        edgernn_packed_find_excess(p, q, rows);
        edgernn_packed_blocks(p, y, start, q, rows, bits);
        y += rows * p->y_stride;
        start = start ? start + rows * p->start_stride : NULL;
        q += rows * p->q_stride;
        m -= rows;
    }
    if (bits != EDGERNN_PACKED_I4)
        edgernn_packed_blocks(p, y, start, q, m, bits);
}

#endif
