/* Float products for blocks of 16 rows on AVX-512, AVX2 and NEON.
 *
 * One row of x is limited by reading the weights: several blocks at once, two sums for each where
 * registers allow. Several rows of x share the weights they read: a tile of rows and blocks is kept
 * in registers while k runs.
 */
#ifndef EDGERNN_LINEAR_F32_SIMD_H
#define EDGERNN_LINEAR_F32_SIMD_H

#include "edgernn_vector.h"

/* Vectors in a block, and the shapes that fit the registers. */
#define EDGERNN_F32_VECTORS (16 / EDGERNN_LANES)
#if defined(EDGERNN_AVX512F) /* 32 registers */
#define EDGERNN_F32_WIDTH 4  /* blocks at once, one row of x */
#define EDGERNN_F32_CHAINS 2 /* sums for each of them */
#define EDGERNN_F32_TILE 4   /* blocks at once, up to 6 rows of x */
#elif defined(EDGERNN_AVX2)  /* 16 registers */
#define EDGERNN_F32_WIDTH 4
#define EDGERNN_F32_CHAINS 1
#define EDGERNN_F32_TILE 1
#else /* 32 registers; 16 on armv7, where tiles are smaller */
#define EDGERNN_F32_WIDTH 2
#define EDGERNN_F32_CHAINS 1
#define EDGERNN_F32_TILE 1
#endif
#if defined(EDGERNN_NEON) && !defined(__aarch64__)
#define EDGERNN_F32_TILE_ROWS 2
#else
#define EDGERNN_F32_TILE_ROWS 6
#endif

/* Some blocks of one matrix, `count` rows in all, k inputs; the strides of the rows. */
typedef struct {
    const float *w;
    size_t count, k, y_stride, start_stride, x_stride;
} edgernn_f32_blocks;

/* Vector v of the blocks at input l. */
EDGERNN_INLINE edgernn_vector edgernn_f32_weights(const edgernn_f32_blocks *p, size_t l, size_t v)
{
    return edgernn_load(p->w + v / EDGERNN_F32_VECTORS * p->k * 16 + l * 16 +
                        v % EDGERNN_F32_VECTORS * EDGERNN_LANES);
}

/* y = start + sum for one row of x and whole blocks. */
EDGERNN_INLINE void edgernn_f32_finish(float *y, const float *start, const edgernn_vector *sum,
    const size_t vectors)
{
    size_t v;
    EDGERNN_UNROLL
    for (v = 0; v < vectors; v++) {
        edgernn_vector total = sum[v];
        if (start)
            total = edgernn_load(start + v * EDGERNN_LANES) + total;
        edgernn_store(y + v * EDGERNN_LANES, total);
    }
}

/* One row of x times `blocks` blocks of w, each with `chains` sums over interleaved k. */
EDGERNN_INLINE void edgernn_f32_row(const edgernn_f32_blocks *p, float *y, const float *start,
    const float *x, const size_t blocks, const size_t chains)
{
    edgernn_vector sum[8];
    const size_t vectors = blocks * EDGERNN_F32_VECTORS, k = p->k;
    size_t l, c, v;
    EDGERNN_UNROLL
    for (v = 0; v < vectors * chains; v++)
        sum[v] = edgernn_spread(0.0f);
    for (l = 0; l + chains <= k; l += chains) {
        EDGERNN_UNROLL
        for (c = 0; c < chains; c++) {
            edgernn_vector xl = edgernn_spread(x[l + c]);
            EDGERNN_UNROLL
            for (v = 0; v < vectors; v++)
                sum[c * vectors + v] =
                    edgernn_fused(xl, edgernn_f32_weights(p, l + c, v), sum[c * vectors + v]);
        }
    }
    for (; chains > 1 && l < k; l++) {
        edgernn_vector xl = edgernn_spread(x[l]);
        EDGERNN_UNROLL
        for (v = 0; v < vectors; v++)
            sum[v] = edgernn_fused(xl, edgernn_f32_weights(p, l, v), sum[v]);
    }
    EDGERNN_UNROLL
    for (v = vectors; v < vectors * chains; v++)
        sum[v % vectors] = sum[v % vectors] + sum[v];
    edgernn_f32_finish(y, start, sum, vectors);
}

/* `rows` rows of x times `blocks` blocks of w. */
EDGERNN_INLINE void edgernn_f32_tile(const edgernn_f32_blocks *p, float *y, const float *start,
    const float *x, const size_t rows, const size_t blocks)
{
    edgernn_vector sum[6][4];
    const size_t vectors = blocks * EDGERNN_F32_VECTORS;
    size_t l, i, v;
    EDGERNN_UNROLL
    for (i = 0; i < rows; i++) {
        EDGERNN_UNROLL
        for (v = 0; v < vectors; v++)
            sum[i][v] = edgernn_spread(0.0f);
    }
    for (l = 0; l < p->k; l++) {
        edgernn_vector w[4];
        EDGERNN_UNROLL
        for (v = 0; v < vectors; v++)
            w[v] = edgernn_f32_weights(p, l, v);
        EDGERNN_UNROLL
        for (i = 0; i < rows; i++) {
            edgernn_vector xl = edgernn_spread(x[i * p->x_stride + l]);
            EDGERNN_UNROLL
            for (v = 0; v < vectors; v++)
                sum[i][v] = edgernn_fused(xl, w[v], sum[i][v]);
        }
    }
    EDGERNN_UNROLL
    for (i = 0; i < rows; i++)
        edgernn_f32_finish(y + i * p->y_stride, start ? start + i * p->start_stride : NULL, sum[i],
            vectors);
}

/* All rows of x times `blocks` blocks, in tiles of 6, 4, 2 and 1 rows. */
EDGERNN_INLINE void edgernn_f32_column(const edgernn_f32_blocks *p, float *y, const float *start,
    const float *x, size_t m, const size_t blocks)
{
    size_t i, rows;
    for (i = 0; i < m; i += rows) {
        float *yi = y + i * p->y_stride;
        const float *si = start ? start + i * p->start_stride : NULL, *xi = x + i * p->x_stride;
        rows = m - i;
        if (rows >= 6 && EDGERNN_F32_TILE_ROWS >= 6) {
            rows = 6;
            edgernn_f32_tile(p, yi, si, xi, 6, blocks);
        } else if (rows >= 4 && EDGERNN_F32_TILE_ROWS >= 4) {
            rows = 4;
            edgernn_f32_tile(p, yi, si, xi, 4, blocks);
        } else if (rows >= 2) {
            rows = 2;
            edgernn_f32_tile(p, yi, si, xi, 2, blocks);
        } else {
            edgernn_f32_row(p, yi, si, xi, blocks, 1);
        }
    }
}

EDGERNN_APART void edgernn_f32_one_block(const edgernn_f32_blocks *p, float *y,
    const float *start, const float *x)
{
    edgernn_f32_row(p, y, start, x, 1, 8 / EDGERNN_F32_VECTORS);
}

EDGERNN_APART void edgernn_f32_many_block(const edgernn_f32_blocks *p, float *y,
    const float *start, const float *x, size_t m)
{
    edgernn_f32_column(p, y, start, x, m, 1);
}

/* The last block, of which only p->count rows exist. */
EDGERNN_APART void edgernn_f32_part_block(const edgernn_f32_blocks *all, float *y,
    const float *start, const float *x, size_t m)
{
    edgernn_f32_blocks p = *all;
    float whole[6 * 16] = {0}; /* all that is read is written, but gcc does not see it */
    size_t i, rows, j, r;
    p.y_stride = 16;
    for (i = 0; i < m; i += rows) {
        rows = m - i < 6 ? m - i : 6;
        if (rows == 1)
            edgernn_f32_one_block(&p, whole, NULL, x + i * p.x_stride);
        else
            edgernn_f32_many_block(&p, whole, NULL, x + i * p.x_stride, rows);
        for (j = 0; j < rows; j++)
            for (r = 0; r < p.count; r++) {
                const float *from = start ? start + (i + j) * p.start_stride + r : NULL;
                y[(i + j) * all->y_stride + r] =
                    from ? *from + whole[j * 16 + r] : whole[j * 16 + r];
            }
    }
}

/* Go on `rows` rows further down. */
EDGERNN_INLINE void edgernn_f32_skip(edgernn_f32_blocks *p, float **y, const float **start,
    size_t rows)
{
    p->w += rows * p->k;
    p->count -= rows;
    *y += rows;
    *start = *start ? *start + rows : NULL;
}

EDGERNN_APART void edgernn_f32_one(edgernn_f32_blocks *p, float *y, const float *start,
    const float *x)
{
    const size_t width = EDGERNN_F32_WIDTH * 16;
    for (; p->count >= width; edgernn_f32_skip(p, &y, &start, width))
        edgernn_f32_row(p, y, start, x, EDGERNN_F32_WIDTH, EDGERNN_F32_CHAINS);
    for (; p->count >= 16; edgernn_f32_skip(p, &y, &start, 16))
        edgernn_f32_one_block(p, y, start, x);
    if (p->count > 0)
        edgernn_f32_part_block(p, y, start, x, 1);
}

EDGERNN_APART void edgernn_f32_many(edgernn_f32_blocks *p, float *y, const float *start,
    const float *x, size_t m)
{
#if EDGERNN_F32_TILE > 1
    const size_t width = EDGERNN_F32_TILE * 16;
    for (; p->count >= width; edgernn_f32_skip(p, &y, &start, width))
        edgernn_f32_column(p, y, start, x, m, EDGERNN_F32_TILE);
#endif
    for (; p->count >= 16; edgernn_f32_skip(p, &y, &start, 16))
        edgernn_f32_many_block(p, y, start, x, m);
    if (p->count > 0)
        edgernn_f32_part_block(p, y, start, x, m);
}

/* As described in edgernn_linear_f32.h; w is [ceil(n / 16)][k][16]. */
EDGERNN_UNUSED static void edgernn_linear_f32(float *y, size_t y_stride, const float *start,
    size_t start_stride, const float *x, size_t x_stride, const float *w, size_t m, size_t n,
    size_t k)
{
    edgernn_f32_blocks p;
    p.w = w;
    p.count = n;
    p.k = k;
    p.y_stride = y_stride;
    p.start_stride = start_stride;
    p.x_stride = x_stride;
    if (m == 1)
        edgernn_f32_one(&p, y, start, x);
    else
        edgernn_f32_many(&p, y, start, x, m);
}

#endif
