/* int8 products with the DSP instructions of Cortex-M4 and M7. Included by edgernn_linear_i8.h.
 *
 * Weights (EDGERNN_I8_WIDE == 2) are int16 [ceil(n / 4)][ceil(k / 4)][2][4]: two pairs of rows, four
 * inputs in the order 0, 2, 1, 3. Each value is v = a + 256 * b with a of the even row, b of the odd
 * row. Inputs x are int16 in the same order. Both start at multiples of 4 bytes.
 *
 * A pair of rows needs two sums over k, S(a) = sum a*x and S(b) = sum b*x. The plain way extends
 * every weight to 16 bits (SXTB16) and multiplies (SMLAD): eight instructions for the eight products
 * of four inputs. Here five do:
 *   - Two SMLAD multiply the words as they are, T = sum v*x = S(a) + 256 * S(b).
 *   - Two SXTAB16 extend the low bytes a and add inputs to them, one SMLAD multiplies the results:
 *       (x1 + a0) * (x0 + a1) = x0*a0 + x1*a1 + x0*x1 + a0*a1
 *     Summed up, that is S(a), plus the sum of all x0*x1, which is found once for a row of inputs,
 *     plus the sum of all a0*a1, a constant of the row of weights: w_sums[j], j even, is minus the
 *     sum of w(j, k) * w(j, k + 1) over even k; it is 0 for odd j.
 * Then S(b) = (T - S(a)) / 256. Integers wrap around, so T may overflow as long as 256 * S(b) fits
 * 32 bits: true up to k = 512 (127 * 128 * 512 < 2^23).
 */
#include <arm_acle.h>

#define EDGERNN_I8_DSP_MAX 512

static inline int16x2_t edgernn_pair(const void *p)
{
    int16x2_t pair;
    memcpy(&pair, p, sizeof pair);
    return pair;
}

/* The sums of a block of four rows in plain C, for any k: S(a) from the extended low bytes. */
EDGERNN_UNUSED static void edgernn_sum_i8(int32_t *sum, const edgernn_q8 *q, const int8_t *w,
    size_t groups)
{
    size_t p;
    for (p = 0; p < 4; p += 2) {
        const int8_t *words = w + 4 * p;
        const edgernn_q8 *x = q;
        size_t left = groups;
        int32_t odd = 0;
        sum[p] = 0;
        while (left > 0) {
            size_t part = left < EDGERNN_I8_DSP_MAX / 4 ? left : EDGERNN_I8_DSP_MAX / 4;
            int32_t even = 0, both = 0;
            left -= part;
            for (; part > 0; part--) {
                int16x2_t x02 = edgernn_pair(x), x13 = edgernn_pair(x + 2);
                int16x2_t w02 = edgernn_pair(words), w13 = edgernn_pair(words + 4);
                both = __smlad(w13, x13, __smlad(w02, x02, both));
                even = __smlad(__sxtb16(w13), x13, __smlad(__sxtb16(w02), x02, even));
                x += 4;
                words += 16;
            }
            sum[p] += even;
            odd += (int32_t)((uint32_t)both - (uint32_t)even) >> 8;
        }
        sum[p + 1] = odd;
    }
}

#if defined(__ARM_FP) && (__ARM_FP & 4) && __ARM_ARCH_PROFILE == 'M'
#define EDGERNN_I8_DSP_BLOCKS 1

/* One row of inputs and whole blocks of weights; the first eight fields move into registers. */
typedef struct {
    const edgernn_q8 *x;
    uint32_t x_scale; /* its bits; 0: none */
    int32_t x_products; /* sum of x0*x1 */
    const int8_t *w_end;
    float *y;
    const float *start;
    const float *w_scale;
    const int32_t *w_sums;
    uint32_t enter, after, enter_pairs; /* addresses of code, set by the code itself */
    const edgernn_q8 *x_end;
    uint32_t skip; /* 8 - pairs of groups in the first pass; 8 only if there is no pair */
    uint32_t odd; /* 1 if the number of groups is odd */
} edgernn_i8_row;

/* A group of four inputs. r0 weights, r1 inputs, r2 and r4 sums of the even rows, r3 and r5 T of
 * the two pairs, r6-r9 two groups of inputs, r10-r12 and lr one group of weights.
 */
#define EDGERNN_I8_DSP_GROUP(x02, x13) \
    "ldmia.w r0!, {r10, r11, r12, lr}\n" \
    "smlad r3, r10, " x02 ", r3\n" \
    "smlad r5, r12, " x02 ", r5\n" \
    "smlad r3, r11, " x13 ", r3\n" \
    "smlad r5, lr, " x13 ", r5\n" \
    "sxtab16 r10, " x13 ", r10\n" \
    "sxtab16 r11, " x02 ", r11\n" \
    "sxtab16 r12, " x13 ", r12\n" \
    "sxtab16 lr, " x02 ", lr\n" \
    "smlad r2, r10, r11, r2\n" \
    "smlad r4, r12, lr, r4\n"

/* Two groups, eight inputs: 23 instructions, 92 bytes. */
#define EDGERNN_I8_DSP_PAIR \
    "ldmia.w r1!, {r6, r7, r8, r9}\n" \
    EDGERNN_I8_DSP_GROUP("r6", "r7") \
    EDGERNN_I8_DSP_GROUP("r8", "r9")

EDGERNN_UNUSED __attribute__((noinline)) static void edgernn_linear_i8_row(edgernn_i8_row *row,
    const int8_t *w)
{
    register edgernn_i8_row *r6 __asm__("r6") = row;
    register const int8_t *r0 __asm__("r0") = w;
    __asm__ volatile(
        "push {r7}\n" /* may be the frame pointer, so it cannot be named as clobbered */
        "vmov s12, r6\n"
        /* Where to enter the eight pairs of groups: 92 bytes each. */
        "ldrd r7, r8, [r6, #48]\n"
        "adr.w r9, 3f + 1\n"
        "movs r10, #92\n"
        "mla r9, r7, r10, r9\n"
        "str r9, [r6, #40]\n"
        "adr.w r10, 2f + 1\n"
        "cmp r8, #0\n"
        "it ne\n"
        "movne r9, r10\n"
        "str r9, [r6, #32]\n"
        /* What follows them: the end if these are all inputs, else a comparison. */
        "ldrd r7, r8, [r6, #40]\n"
        "ldr r9, [r6]\n"
        "sub.w r8, r8, r9\n"
        "adr.w r10, 6f + 1\n"
        "adr.w r11, 5f + 1\n"
        "cmp r8, #136\n" /* bytes of 8 pairs of groups and one group */
        "it hi\n"
        "movhi r10, r11\n"
        "str r10, [r6, #36]\n"
        "ldmia r6, {r1, r7, r8, r9, r10, r11, r12, lr}\n"
        "b 1f\n"
        /* One group. */
        "2:\n"
        "ldrd r6, r7, [r1], #8\n"
        EDGERNN_I8_DSP_GROUP("r6", "r7")
        "vmov r6, s12\n"
        "ldr.w pc, [r6, #40]\n"
        /* Up to eight pairs of groups. */
        "3:\n"
        ".rept 8\n"
        EDGERNN_I8_DSP_PAIR
        ".endr\n"
        "vmov r6, s12\n"
        "ldr.w pc, [r6, #36]\n"
        /* More inputs? */
        "5:\n"
        "ldr.w r7, [r6, #44]\n"
        "cmp r1, r7\n"
        "bne.w 3b\n"
        /* The end of a block: float(sum) * w_scale, * x_scale, + start. */
        "6:\n"
        "ldmia.w r6, {r1, r7, r8, r9, r10, r11, r12, lr}\n"
        "subs r2, r2, r8\n"
        "subs r4, r4, r8\n"
        "subs r3, r3, r2\n"
        "subs r5, r5, r4\n"
        "vmov s0, s1, r2, r3\n"
        "vmov s2, s3, r4, r5\n"
        "vldmia r12!, {s4-s7}\n"
        "vcvt.f32.s32 s0, s0\n"
        "vcvt.f32.s32 s1, s1, #8\n" /* with the division by 256 */
        "vcvt.f32.s32 s2, s2\n"
        "vcvt.f32.s32 s3, s3, #8\n"
        "vmul.f32 s0, s0, s4\n"
        "vmul.f32 s1, s1, s5\n"
        "vmul.f32 s2, s2, s6\n"
        "vmul.f32 s3, s3, s7\n"
        "vldmia r11!, {s4-s7}\n"
        "cbz r7, 7f\n"
        "vmov s8, r7\n"
        "vmul.f32 s0, s0, s8\n"
        "vmul.f32 s1, s1, s8\n"
        "vmul.f32 s2, s2, s8\n"
        "vmul.f32 s3, s3, s8\n"
        "7:\n"
        "vadd.f32 s0, s0, s4\n"
        "vadd.f32 s1, s1, s5\n"
        "vadd.f32 s2, s2, s6\n"
        "vadd.f32 s3, s3, s7\n"
        "vstmia r10!, {s0-s3}\n"
        "cmp r0, r9\n"
        "beq 8f\n"
        "1:\n"
        "ldmia.w lr!, {r2, r3, r4, r5}\n"
        "strd r10, r11, [r6, #16]\n"
        "strd r12, lr, [r6, #24]\n"
        "ldr.w pc, [r6, #32]\n"
        "8:\n"
        "pop {r7}\n"
        : "+r"(r6), "+r"(r0)
        :
        : "r1", "r2", "r3", "r4", "r5", "r8", "r9", "r10", "r11", "r12", "lr", "s0", "s1", "s2",
          "s3", "s4", "s5", "s6", "s7", "s8", "s12", "cc", "memory");
}

/* Sum of x0*x1 + x2*x3 over the groups of a row. */
static inline int32_t edgernn_products_i8(const edgernn_q8 *q, size_t groups)
{
    int32_t sum = 0;
    for (; groups >= 4; groups -= 4) {
        int32_t a, b;
        __asm__("ldrd %0, %1, [%2], #8\n smlad %3, %0, %1, %3\n"
                "ldrd %0, %1, [%2], #8\n smlad %3, %0, %1, %3\n"
                "ldrd %0, %1, [%2], #8\n smlad %3, %0, %1, %3\n"
                "ldrd %0, %1, [%2], #8\n smlad %3, %0, %1, %3\n"
                : "=&r"(a), "=&r"(b), "+&r"(q), "+&r"(sum)
                :
                : "memory");
    }
    for (; groups > 0; groups--) {
        sum = __smlad(edgernn_pair(q), edgernn_pair(q + 2), sum);
        q += 4;
    }
    return sum;
}

/* `blocks` blocks of four rows for one row of inputs; start is given. */
EDGERNN_UNUSED static void edgernn_linear_i8_blocks(float *y, const float *start,
    const edgernn_q8 *q, int32_t x_products, const float *x_scale, const int8_t *w,
    const int32_t *w_sums, const float *w_scale, size_t blocks, size_t groups)
{
    edgernn_i8_row row;
    size_t pairs = groups / 2;
    row.x = q;
    row.x_scale = x_scale ? edgernn_bits(*x_scale) : 0;
    row.x_products = x_products;
    row.w_end = w + 16 * blocks * groups;
    row.y = y;
    row.start = start;
    row.w_scale = w_scale;
    row.w_sums = w_sums;
    row.x_end = q + 4 * groups;
    row.skip = pairs > 0 ? (8 - pairs % 8) % 8 : 8;
    row.odd = groups % 2;
    edgernn_linear_i8_row(&row, w);
}
#endif

/* Up to EDGERNN_I8_DSP_ROWS rows of inputs. */
#define EDGERNN_I8_DSP_ROWS 8
EDGERNN_UNUSED static void edgernn_linear_i8_part(float *y, size_t y_stride, const float *start,
    size_t start_stride, const edgernn_q8 *q, size_t q_stride, const float *x_scale,
    const int8_t *w, const int32_t *w_sums, const float *w_scale, size_t m, size_t n, size_t k)
{
    size_t groups = edgernn_quantized_size(k) / 4;
    size_t first, last, i, j, r;
    /* With several rows of inputs, about 8 KiB of weights at a time: what a cache may hold. */
    size_t tile = m > 1 && groups > 0 ? 4 * (512 / groups + (groups > 512)) : n;
#ifdef EDGERNN_I8_DSP_BLOCKS
    int32_t products[EDGERNN_I8_DSP_ROWS];
    for (i = 0; i < m; i++)
        products[i] = edgernn_products_i8(q + i * q_stride, groups);
#endif
    for (first = 0; first < n; first = last) {
        last = n - first > tile ? first + tile : n;
        for (i = 0; i < m; i++) {
            const edgernn_q8 *qi = q + i * q_stride;
            const float *scale = x_scale ? x_scale + i : NULL;
            const float *before = start ? start + i * start_stride : NULL;
            float *yi = y + i * y_stride;
            j = first;
#ifdef EDGERNN_I8_DSP_BLOCKS
            if (last - first >= 4 && groups > 0 && 4 * groups <= EDGERNN_I8_DSP_MAX) {
                size_t blocks = (last - first) / 4;
                if (!start) {
                    for (r = first; r < last; r++)
                        yi[r] = -0.0f; /* the only value that changes nothing when added */
                    before = yi;
                }
                edgernn_linear_i8_blocks(yi + first, before + first, qi, products[i], scale,
                    w + 4 * first * groups, w_sums + first, w_scale + first, blocks, groups);
                j += 4 * blocks;
            }
#endif
            for (; j < last; j += 4) {
                int32_t sum[4];
                edgernn_sum_i8(sum, qi, w + 4 * j * groups, groups);
                for (r = 0; r < 4 && j + r < last; r++)
                    yi[j + r] = edgernn_scale_sum(sum[r], w_scale[j + r], scale,
                        before ? before + j + r : NULL);
            }
        }
    }
    (void)w_sums;
}

/* The interface is described in edgernn_linear_i8.h, the layout above. */
EDGERNN_UNUSED static void edgernn_linear_i8(float *y, size_t y_stride, const float *start,
    size_t start_stride, const edgernn_q8 *q, size_t q_stride, const float *x_scale,
    const int8_t *w, const int32_t *w_sums, const float *w_scale, size_t m, size_t n, size_t k)
{
    size_t i;
    for (i = 0; i < m; i += EDGERNN_I8_DSP_ROWS)
        edgernn_linear_i8_part(y + i * y_stride, y_stride, start ? start + i * start_stride : NULL,
            start_stride, q + i * q_stride, q_stride, x_scale ? x_scale + i : NULL, w, w_sums,
            w_scale, m - i < EDGERNN_I8_DSP_ROWS ? m - i : EDGERNN_I8_DSP_ROWS, n, k);
}
