/* Float products with Helium (Cortex-M55). Included by edgernn_linear_f32.h.
 *
 * Weights are [ceil(n / 4)][k][4]: a vector holds one input of four rows, times one number.
 */

/* What the assembly needs of the rows of inputs 0 and 1, or of blocks 0 and 1 for one row. */
typedef struct {
    const float *x0, *x1;
    size_t eights, rest; /* of inputs */
    const float *start0, *start1;
    float *y0, *y1;
    const float *w_end;
    size_t block; /* its bytes */
} edgernn_f32_mve;

#define EDGERNN_F32_MVE_CLOBBERS \
    "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "lr", "q0", "q1", "q2", "q3", \
    "cc", "memory"

/* Four inputs of two rows, a block of weights: 14 instructions for 32 products. */
#define EDGERNN_F32_MVE_ROWS \
    "ldmia.w r0!, {r2, r3, r4, r5}\n" \
    "vldrw.u32 q2, [r11], #16\n" \
    "ldmia.w r1!, {r6, r8, r9, r10}\n" \
    "vfma.f32 q0, q2, r2\n" \
    "vldrw.u32 q3, [r11], #16\n" \
    "vfma.f32 q1, q2, r6\n" \
    "vldrw.u32 q2, [r11], #16\n" \
    "vfma.f32 q0, q3, r3\n" \
    "vfma.f32 q1, q3, r8\n" \
    "vldrw.u32 q3, [r11], #16\n" \
    "vfma.f32 q0, q2, r4\n" \
    "vfma.f32 q1, q2, r9\n" \
    "vfma.f32 q0, q3, r5\n" \
    "vfma.f32 q1, q3, r10\n"
/* Four inputs of one row, two blocks: 17 instructions for 32 products. */
#define EDGERNN_F32_MVE_PAIRS \
    "ldmia.w r0!, {r2, r3, r4, r5}\n" \
    "vldrw.u32 q2, [r11], #16\n" \
    "vldrw.u32 q3, [r1], #16\n" \
    "vfma.f32 q0, q2, r2\n" \
    "vldrw.u32 q2, [r11], #16\n" \
    "vfma.f32 q1, q3, r2\n" \
    "vldrw.u32 q3, [r1], #16\n" \
    "vfma.f32 q0, q2, r3\n" \
    "vldrw.u32 q2, [r11], #16\n" \
    "vfma.f32 q1, q3, r3\n" \
    "vldrw.u32 q3, [r1], #16\n" \
    "vfma.f32 q0, q2, r4\n" \
    "vldrw.u32 q2, [r11], #16\n" \
    "vfma.f32 q1, q3, r4\n" \
    "vldrw.u32 q3, [r1], #16\n" \
    "vfma.f32 q0, q2, r5\n" \
    "vfma.f32 q1, q3, r5\n"

/* Two rows of inputs, all blocks from w to w_end. */
static inline void edgernn_linear_f32_rows(edgernn_f32_mve *rows, const float *w)
{
    register edgernn_f32_mve *r12 __asm__("r12") = rows;
    register const float *r11 __asm__("r11") = w;
    __asm__ volatile(
        "1:\n"
        "ldrd r2, r3, [r12, #16]\n"
        "vldrw.u32 q0, [r2], #16\n"
        "vldrw.u32 q1, [r3], #16\n"
        "strd r2, r3, [r12, #16]\n"
        "ldmia.w r12, {r0, r1, r2}\n"
        "wls lr, r2, 3f\n"
        "2:\n"
        EDGERNN_F32_MVE_ROWS
        EDGERNN_F32_MVE_ROWS
        "le lr, 2b\n"
        "3:\n"
        "ldr.w lr, [r12, #12]\n"
        "wls lr, lr, 5f\n"
        "4:\n"
        "ldr r2, [r0], #4\n"
        "vldrw.u32 q2, [r11], #16\n"
        "ldr r6, [r1], #4\n"
        "vfma.f32 q0, q2, r2\n"
        "vfma.f32 q1, q2, r6\n"
        "le lr, 4b\n"
        "5:\n"
        "ldrd r2, r3, [r12, #24]\n"
        "ldr.w r4, [r12, #32]\n"
        "vstrw.32 q0, [r2], #16\n"
        "vstrw.32 q1, [r3], #16\n"
        "strd r2, r3, [r12, #24]\n"
        "cmp r11, r4\n"
        "bne 1b\n"
        : "+r"(r12), "+r"(r11)
        :
        : EDGERNN_F32_MVE_CLOBBERS);
}

/* One row of inputs, pairs of blocks from w to w_end. */
static inline void edgernn_linear_f32_pairs(edgernn_f32_mve *row, const float *w)
{
    register edgernn_f32_mve *r12 __asm__("r12") = row;
    register const float *r11 __asm__("r11") = w;
    __asm__ volatile(
        "1:\n"
        "ldr.w r2, [r12, #16]\n"
        "ldr.w r1, [r12, #36]\n"
        "vldrw.u32 q0, [r2], #16\n"
        "add r1, r1, r11\n"
        "vldrw.u32 q1, [r2], #16\n"
        "str.w r2, [r12, #16]\n"
        "ldr.w r0, [r12]\n"
        "ldr.w lr, [r12, #8]\n"
        "wls lr, lr, 3f\n"
        "2:\n"
        EDGERNN_F32_MVE_PAIRS
        EDGERNN_F32_MVE_PAIRS
        "le lr, 2b\n"
        "3:\n"
        "ldr.w lr, [r12, #12]\n"
        "wls lr, lr, 5f\n"
        "4:\n"
        "vldrw.u32 q2, [r11], #16\n"
        "ldr r2, [r0], #4\n"
        "vldrw.u32 q3, [r1], #16\n"
        "vfma.f32 q0, q2, r2\n"
        "vfma.f32 q1, q3, r2\n"
        "le lr, 4b\n"
        "5:\n"
        "ldr.w r2, [r12, #24]\n"
        "ldr.w r4, [r12, #32]\n"
        "vstrw.32 q0, [r2], #16\n"
        "mov r11, r1\n"
        "vstrw.32 q1, [r2], #16\n"
        "str.w r2, [r12, #24]\n"
        "cmp r11, r4\n"
        "bne 1b\n"
        : "+r"(r12), "+r"(r11)
        :
        : EDGERNN_F32_MVE_CLOBBERS);
}

/* Rows j... < n that fill no pair of blocks or no block. */
static inline void edgernn_linear_f32_rest(float *y, const float *start, const float *x,
    const float *w, size_t n, size_t k)
{
    size_t j, l, r;
    for (j = 0; j < n; j += 4) {
        size_t rows = n - j < 4 ? n - j : 4;
        for (r = 0; r < rows; r++) {
            float sum = start[j + r];
            for (l = 0; l < k; l++)
                sum = edgernn_madd(x[l], w[4 * l + r], sum);
            y[j + r] = sum;
        }
        w += 4 * k;
    }
}

/* Rows first..last-1 for one or two rows of inputs; start is given. */
EDGERNN_UNUSED static void edgernn_linear_f32_part(float *y, size_t y_stride, const float *start,
    size_t start_stride, const float *x, size_t x_stride, const float *w, size_t m, size_t first,
    size_t last, size_t k)
{
    const float *x1 = m > 1 ? x + x_stride : x;
    edgernn_f32_mve part = {x, x1, k / 8, k % 8, NULL, NULL, NULL, NULL, NULL, 16 * k};
    size_t i;
    if (m == 1 && k > 0 && last - first >= 8) {
        size_t end = first + (last - first) / 8 * 8;
        part.start0 = start + first;
        part.y0 = y + first;
        part.w_end = w + end * k;
        edgernn_linear_f32_pairs(&part, w + first * k);
        first = end;
    }
    if (k > 0 && last - first >= 4) { /* one row of inputs twice, if there is no other */
        size_t end = first + (last - first) / 4 * 4;
        part.start0 = start + first;
        part.start1 = m > 1 ? part.start0 + start_stride : part.start0;
        part.y0 = y + first;
        part.y1 = m > 1 ? part.y0 + y_stride : part.y0;
        part.w_end = w + end * k;
        edgernn_linear_f32_rows(&part, w + first * k);
        first = end;
    }
    for (i = 0; i < m; i++)
        edgernn_linear_f32_rest(y + i * y_stride + first, start + i * start_stride + first,
            x + i * x_stride, w + first * k, last - first, k);
}

/* The interface is described in edgernn_linear_f32.h; a block has four rows. */
EDGERNN_UNUSED static void edgernn_linear_f32(float *y, size_t y_stride, const float *start,
    size_t start_stride, const float *x, size_t x_stride, const float *w, size_t m, size_t n,
    size_t k)
{
    size_t first, last, i, j;
    /* With several rows of inputs, about 8 KiB of weights at a time: what a cache may hold. */
    size_t tile = m > 2 && k > 0 ? 8 * (256 / k + (k > 256)) : n;
    if (!start) {
        for (i = 0; i < m; i++)
            for (j = 0; j < n; j++)
                y[i * y_stride + j] = 0.0f;
        start = y;
        start_stride = y_stride;
    }
    for (first = 0; first < n; first = last) {
        last = n - first > tile ? first + tile : n;
        for (i = 0; i < m; i += 2)
            edgernn_linear_f32_part(y + i * y_stride, y_stride, start + i * start_stride,
                start_stride, x + i * x_stride, x_stride, w, m - i > 1 ? 2 : 1, first, last, k);
    }
}
