/* int8 products for blocks of 16 rows by 4 inputs on AVX-512 VNNI, AVX-VNNI, AVX2 and NEON.
 *
 * One vector holds 4 inputs of each of its rows, so a dot product of 4 bytes per lane sums over k
 * and no lanes are added at the end. The rows of x share weights as in edgernn_linear_f32_simd.h.
 */
#ifndef EDGERNN_LINEAR_I8_SIMD_H
#define EDGERNN_LINEAR_I8_SIMD_H

#include "edgernn_vector.h"

/* Dot products of unsigned inputs (q + 128) with signed weights: 128 * w_sums is subtracted. */
#if defined(EDGERNN_AVX512VNNI) || \
    (defined(EDGERNN_AVX2) && defined(__AVXVNNI__) && !defined(EDGERNN_AVX512F))
#define EDGERNN_I8_UNSIGNED 1
#else
#define EDGERNN_I8_UNSIGNED 0
#endif

#define EDGERNN_I8_VECTORS (16 / EDGERNN_LANES) /* in a block */
#if defined(EDGERNN_AVX512F)
#define EDGERNN_I8_WIDTH 4  /* blocks at once, one row of x */
#define EDGERNN_I8_CHAINS 2 /* sums for each of them */
#define EDGERNN_I8_TILE 4   /* blocks at once, several rows of x */
#elif defined(EDGERNN_AVX2)
#define EDGERNN_I8_WIDTH 4
#define EDGERNN_I8_CHAINS 1
#define EDGERNN_I8_TILE 1
#else
#define EDGERNN_I8_WIDTH 2
#define EDGERNN_I8_CHAINS 1
#define EDGERNN_I8_TILE 1
#endif
#if defined(EDGERNN_NEON) && !defined(__aarch64__) /* 16 registers */
#define EDGERNN_I8_TILE_ROWS 2
#elif defined(EDGERNN_AVX2) && !defined(EDGERNN_AVX512F) /* 16 registers */
#define EDGERNN_I8_TILE_ROWS 4
#else
#define EDGERNN_I8_TILE_ROWS 6
#endif

/* Four inputs in all lanes, as edgernn_dot wants them. */
typedef struct {
    edgernn_int_vector q;
#if defined(EDGERNN_AVX2) && !EDGERNN_I8_UNSIGNED
    edgernn_int_vector magnitude;
#endif
} edgernn_inputs;

EDGERNN_INLINE edgernn_inputs edgernn_spread_inputs(const edgernn_q8 *q)
{
    edgernn_inputs x;
    uint32_t four;
    memcpy(&four, q, 4);
#if EDGERNN_I8_UNSIGNED
    four ^= 0x80808080u;
#endif
#if defined(EDGERNN_AVX512F)
    x.q = (edgernn_int_vector)_mm512_set1_epi32((int32_t)four);
#elif defined(EDGERNN_AVX2)
    x.q = (edgernn_int_vector)_mm256_set1_epi32((int32_t)four);
#else
    x.q = (edgernn_int_vector)vdupq_n_u32(four);
#endif
#if defined(EDGERNN_AVX512F) && !EDGERNN_I8_UNSIGNED
    x.magnitude = (edgernn_int_vector)_mm512_abs_epi8((__m512i)x.q);
#elif defined(EDGERNN_AVX2) && !EDGERNN_I8_UNSIGNED
    x.magnitude = (edgernn_int_vector)_mm256_abs_epi8((__m256i)x.q);
#endif
    return x;
}

/* sum + the dot products of 4 inputs with the 4 weights of each row. */
EDGERNN_INLINE edgernn_int_vector edgernn_dot(edgernn_int_vector sum, edgernn_inputs x,
    edgernn_int_vector w)
{
#if defined(EDGERNN_AVX512VNNI)
    return (edgernn_int_vector)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x.q, (__m512i)w);
#elif EDGERNN_I8_UNSIGNED
    return (edgernn_int_vector)_mm256_dpbusd_avx_epi32((__m256i)sum, (__m256i)x.q, (__m256i)w);
#elif defined(EDGERNN_AVX512F)
    /* |q| <= 128 and |w| <= 127: two products fit 16 bits. */
    __mmask64 negative = _mm512_movepi8_mask((__m512i)x.q);
    __m512i turned = _mm512_mask_sub_epi8((__m512i)w, negative, _mm512_setzero_si512(), (__m512i)w);
    __m512i pairs = _mm512_maddubs_epi16((__m512i)x.magnitude, turned);
    return sum + (edgernn_int_vector)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
#elif defined(EDGERNN_AVX2)
    __m256i turned = _mm256_sign_epi8((__m256i)w, (__m256i)x.q);
    __m256i pairs = _mm256_maddubs_epi16((__m256i)x.magnitude, turned);
    return sum + (edgernn_int_vector)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#elif defined(EDGERNN_NEON_DOT)
    return (edgernn_int_vector)vdotq_s32((int32x4_t)sum, (int8x16_t)w, (int8x16_t)x.q);
#else
    int16x8_t low = vmull_s8(vget_low_s8((int8x16_t)w), vget_low_s8((int8x16_t)x.q));
    int16x8_t high = vmull_s8(vget_high_s8((int8x16_t)w), vget_low_s8((int8x16_t)x.q));
#if defined(__aarch64__)
    int16x8_t pairs = vpaddq_s16(low, high);
#else
    int16x8_t pairs = vcombine_s16(vpadd_s16(vget_low_s16(low), vget_high_s16(low)),
        vpadd_s16(vget_low_s16(high), vget_high_s16(high)));
#endif
    return (edgernn_int_vector)vpadalq_s16((int32x4_t)sum, pairs);
#endif
}

/* Some blocks of one matrix, `count` rows in all; the strides of the rows of x, y and start. */
typedef struct {
    const int8_t *w;
    const int32_t *w_sums;
    const float *w_scale;
    size_t count, groups, y_stride, start_stride, q_stride;
} edgernn_i8_blocks;

/* Vector v of the blocks at inputs 4 * g..4 * g + 3. */
EDGERNN_INLINE edgernn_int_vector edgernn_weights(const edgernn_i8_blocks *p, size_t g, size_t v)
{
    return edgernn_load_int(p->w + v / EDGERNN_I8_VECTORS * p->groups * 64 + g * 64 +
                            v % EDGERNN_I8_VECTORS * EDGERNN_LANES * 4);
}

/* Scale the sums of whole blocks for one row of x and add the start. */
EDGERNN_INLINE void edgernn_i8_finish(const edgernn_i8_blocks *p, float *y, const float *start,
    const float *x_scale, const edgernn_int_vector *sum, const size_t vectors)
{
    size_t v;
    EDGERNN_UNROLL
    for (v = 0; v < vectors; v++) {
        const size_t at = v * EDGERNN_LANES;
#if defined(EDGERNN_AVX2) || defined(__aarch64__)
        edgernn_int_vector exact = sum[v];
        edgernn_vector t;
        if (EDGERNN_I8_UNSIGNED)
            exact = exact - (edgernn_load_int(p->w_sums + at) << 7);
        t = edgernn_to_float(exact) * edgernn_load(p->w_scale + at);
        if (x_scale)
            t = t * edgernn_spread(*x_scale);
        if (start)
            t = t + edgernn_load(start + at);
        edgernn_store(y + at, t);
#else /* vectors of armv7 flush tiny floats to 0 */
        size_t r;
        for (r = 0; r < EDGERNN_LANES; r++)
            y[at + r] = edgernn_scale_sum((int32_t)sum[v][r], p->w_scale[at + r], x_scale,
                start ? start + at + r : NULL);
#endif
    }
}

/* One row of x times `blocks` blocks, each with `chains` sums over interleaved k. */
EDGERNN_INLINE void edgernn_i8_row(const edgernn_i8_blocks *p, float *y, const float *start,
    const edgernn_q8 *q, const float *x_scale, const size_t blocks, const size_t chains)
{
    edgernn_int_vector sum[8];
    const size_t vectors = blocks * EDGERNN_I8_VECTORS, groups = p->groups;
    size_t g, c, v;
    EDGERNN_UNROLL
    for (v = 0; v < vectors * chains; v++)
        sum[v] = (edgernn_int_vector){0};
    for (g = 0; g + chains <= groups; g += chains) {
        EDGERNN_UNROLL
        for (c = 0; c < chains; c++) {
            edgernn_inputs x = edgernn_spread_inputs(q + (g + c) * 4);
            EDGERNN_UNROLL
            for (v = 0; v < vectors; v++)
                sum[c * vectors + v] =
                    edgernn_dot(sum[c * vectors + v], x, edgernn_weights(p, g + c, v));
        }
    }
    for (; chains > 1 && g < groups; g++) {
        edgernn_inputs x = edgernn_spread_inputs(q + g * 4);
        EDGERNN_UNROLL
        for (v = 0; v < vectors; v++)
            sum[v] = edgernn_dot(sum[v], x, edgernn_weights(p, g, v));
    }
    EDGERNN_UNROLL
    for (v = vectors; v < vectors * chains; v++)
        sum[v % vectors] = sum[v % vectors] + sum[v];
    edgernn_i8_finish(p, y, start, x_scale, sum, vectors);
}

/* `rows` rows of x times `blocks` blocks. */
EDGERNN_INLINE void edgernn_i8_tile(const edgernn_i8_blocks *p, float *y, const float *start,
    const edgernn_q8 *q, const float *x_scale, const size_t rows, const size_t blocks)
{
    edgernn_int_vector sum[6][4];
    const size_t vectors = blocks * EDGERNN_I8_VECTORS;
    size_t g, i, v;
    EDGERNN_UNROLL
    for (i = 0; i < rows; i++) {
        EDGERNN_UNROLL
        for (v = 0; v < vectors; v++)
            sum[i][v] = (edgernn_int_vector){0};
    }
    for (g = 0; g < p->groups; g++) {
        edgernn_int_vector w[4];
        EDGERNN_UNROLL
        for (v = 0; v < vectors; v++)
            w[v] = edgernn_weights(p, g, v);
        EDGERNN_UNROLL
        for (i = 0; i < rows; i++) {
            edgernn_inputs x = edgernn_spread_inputs(q + i * p->q_stride + g * 4);
            EDGERNN_UNROLL
            for (v = 0; v < vectors; v++)
                sum[i][v] = edgernn_dot(sum[i][v], x, w[v]);
        }
    }
    EDGERNN_UNROLL
    for (i = 0; i < rows; i++)
        edgernn_i8_finish(p, y + i * p->y_stride, start ? start + i * p->start_stride : NULL,
            x_scale ? x_scale + i : NULL, sum[i], vectors);
}

/* All rows of x times `blocks` blocks, in tiles of 6, 4, 2 and 1 rows. */
EDGERNN_INLINE void edgernn_i8_column(const edgernn_i8_blocks *p, float *y, const float *start,
    const edgernn_q8 *q, const float *x_scale, size_t m, const size_t blocks)
{
    size_t i, rows;
    for (i = 0; i < m; i += rows) {
        float *yi = y + i * p->y_stride;
        const float *si = start ? start + i * p->start_stride : NULL;
        const float *scale = x_scale ? x_scale + i : NULL;
        const edgernn_q8 *qi = q + i * p->q_stride;
        rows = m - i;
        if (rows >= 6 && EDGERNN_I8_TILE_ROWS >= 6) {
            rows = 6;
            edgernn_i8_tile(p, yi, si, qi, scale, 6, blocks);
        } else if (rows >= 4 && EDGERNN_I8_TILE_ROWS >= 4) {
            rows = 4;
            edgernn_i8_tile(p, yi, si, qi, scale, 4, blocks);
        } else if (rows >= 2) {
            rows = 2;
            edgernn_i8_tile(p, yi, si, qi, scale, 2, blocks);
        } else {
            edgernn_i8_row(p, yi, si, qi, scale, blocks, 1);
        }
    }
}

EDGERNN_APART void edgernn_i8_one_block(const edgernn_i8_blocks *p, float *y, const float *start,
    const edgernn_q8 *q, const float *x_scale)
{
    edgernn_i8_row(p, y, start, q, x_scale, 1, 8 / EDGERNN_I8_VECTORS);
}

EDGERNN_APART void edgernn_i8_many_block(const edgernn_i8_blocks *p, float *y, const float *start,
    const edgernn_q8 *q, const float *x_scale, size_t m)
{
    edgernn_i8_column(p, y, start, q, x_scale, m, 1);
}

/* The last block, of which only p->count rows exist, or one whose sums the caller did not give. */
EDGERNN_APART void edgernn_i8_part_block(const edgernn_i8_blocks *all, float *y,
    const float *start, const edgernn_q8 *q, const float *x_scale, size_t m)
{
    edgernn_i8_blocks p = *all;
    const size_t count = p.count < 16 ? p.count : 16;
    float whole[6 * 16], w_scale[16] = {0};
    int32_t w_sums[16] = {0};
    size_t i, rows, j, r, g, d;
    for (r = 0; r < count; r++) {
        w_scale[r] = p.w_scale[r];
        if (p.w_sums)
            w_sums[r] = p.w_sums[r];
        else if (EDGERNN_I8_UNSIGNED)
            for (g = 0; g < p.groups; g++)
                for (d = 0; d < 4; d++)
                    w_sums[r] += p.w[(g * 16 + r) * 4 + d];
    }
    p.w_scale = w_scale;
    p.w_sums = w_sums;
    p.y_stride = 16;
    for (i = 0; i < m; i += rows) {
        const float *scale = x_scale ? x_scale + i : NULL;
        rows = m - i < 6 ? m - i : 6;
        if (rows == 1)
            edgernn_i8_one_block(&p, whole, NULL, q + i * p.q_stride, scale);
        else
            edgernn_i8_many_block(&p, whole, NULL, q + i * p.q_stride, scale, rows);
        for (j = 0; j < rows; j++)
            for (r = 0; r < count; r++) {
                const float *from = start ? start + (i + j) * p.start_stride + r : NULL;
                y[(i + j) * all->y_stride + r] =
                    from ? whole[j * 16 + r] + *from : whole[j * 16 + r];
            }
    }
}

/* Go on `rows` rows further down. */
EDGERNN_INLINE void edgernn_i8_skip(edgernn_i8_blocks *p, float **y, const float **start,
    size_t rows)
{
    p->w += rows * p->groups * 4;
    p->w_sums = p->w_sums ? p->w_sums + rows : NULL;
    p->w_scale += rows;
    p->count -= rows;
    *y += rows;
    *start = *start ? *start + rows : NULL;
}

EDGERNN_APART void edgernn_i8_one(edgernn_i8_blocks *p, float *y, const float *start,
    const edgernn_q8 *q, const float *x_scale)
{
    const size_t width = EDGERNN_I8_WIDTH * 16;
    for (; p->count >= width; edgernn_i8_skip(p, &y, &start, width))
        edgernn_i8_row(p, y, start, q, x_scale, EDGERNN_I8_WIDTH, EDGERNN_I8_CHAINS);
    for (; p->count >= 16; edgernn_i8_skip(p, &y, &start, 16))
        edgernn_i8_one_block(p, y, start, q, x_scale);
    if (p->count > 0)
        edgernn_i8_part_block(p, y, start, q, x_scale, 1);
}

EDGERNN_APART void edgernn_i8_many(edgernn_i8_blocks *p, float *y, const float *start,
    const edgernn_q8 *q, const float *x_scale, size_t m)
{
#if EDGERNN_I8_TILE > 1
    const size_t width = EDGERNN_I8_TILE * 16;
    for (; p->count >= width; edgernn_i8_skip(p, &y, &start, width))
        edgernn_i8_column(p, y, start, q, x_scale, m, EDGERNN_I8_TILE);
#endif
    for (; p->count >= 16; edgernn_i8_skip(p, &y, &start, 16))
        edgernn_i8_many_block(p, y, start, q, x_scale, m);
    if (p->count > 0)
        edgernn_i8_part_block(p, y, start, q, x_scale, m);
}

/* As described in edgernn_linear_i8.h; w is [ceil(n / 16)][ceil(k / 4)][16][4]. */
EDGERNN_UNUSED static void edgernn_linear_i8(float *y, size_t y_stride, const float *start,
    size_t start_stride, const edgernn_q8 *q, size_t q_stride, const float *x_scale,
    const int8_t *w, const int32_t *w_sums, const float *w_scale, size_t m, size_t n, size_t k)
{
    edgernn_i8_blocks p;
    p.w = w;
    p.w_sums = w_sums;
    p.w_scale = w_scale;
    p.count = n;
    p.groups = (k + 3) / 4;
    p.y_stride = y_stride;
    p.start_stride = start_stride;
    p.q_stride = q_stride;
    if (EDGERNN_I8_UNSIGNED && !w_sums) { /* weights packed for another core */
        for (; p.count > 16; edgernn_i8_skip(&p, &y, &start, 16))
            edgernn_i8_part_block(&p, y, start, q, x_scale, m);
        edgernn_i8_part_block(&p, y, start, q, x_scale, m);
    } else if (m == 1) {
        edgernn_i8_one(&p, y, start, q, x_scale);
    } else {
        edgernn_i8_many(&p, y, start, q, x_scale, m);
    }
}

#endif
