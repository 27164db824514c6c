/* int4 products with the DSP instructions of Cortex-M4 and M7. Included by edgernn_linear_i4.h.
 *
 * Half a word v of weights is one input of four rows, a + 16 * b + 256 * c + 4096 * d with 8 added
 * to a, b and c. Four sums of products with inputs x give those of the rows:
 *
 *     A = sum (v & 0x000f) x                  S(a) = A - 8 * sum x
 *     U = sum (v & 0x00ff) x             16 * S(b) = U - A - 128 * sum x
 *     C = sum (v & 0x0f00) x            256 * S(c) = C - 2048 * sum x
 *     T = sum v x                      4096 * S(d) = T - U - C
 *
 * Integers wrap around, so T may overflow as long as 4096 * S(d) fits 32 bits: up to 585 inputs.
 */
#include "edgernn_packed_dsp.h"

#define EDGERNN_I4_DSP_MAX 584

/* Two inputs of four rows. r2-r5: A, U, C, T. */
#define EDGERNN_I4_DSP_TWO(w, x) \
    "smlad r5, " w ", " x ", r5\n" \
    "uxtb16 r11, " w "\n" \
    "smlad r3, r11, " x ", r3\n" \
    "and.w r11, " w ", #0x000f000f\n" \
    "smlad r2, r11, " x ", r2\n" \
    "and.w r11, " w ", #0x0f000f00\n" \
    "smlad r4, r11, " x ", r4\n"

EDGERNN_APART void edgernn_blocks_i4_dsp(edgernn_packed_row_dsp *row, const void *w)
{
    EDGERNN_PACKED_DSP_BLOCKS(row, w, "2", "124",
        "ldrd r9, r10, [r1], #8\n"
        "ldmia.w r0!, {r6, r7, r8, r12}\n"
        EDGERNN_I4_DSP_TWO("r6", "r9")
        EDGERNN_I4_DSP_TWO("r7", "r10")
        "ldrd r9, r10, [r1], #8\n"
        EDGERNN_I4_DSP_TWO("r8", "r9")
        EDGERNN_I4_DSP_TWO("r12", "r10"),
        "",
        "subs r5, r5, r3\n"
        "subs r5, r5, r4\n"
        "subs r3, r3, r2\n",
        ", #4", ", #8", ", #12");
}

/* The interface is described in edgernn_linear_i4.h. */
EDGERNN_UNUSED static void edgernn_linear_i4(float *y, size_t y_stride, const float *start,
    size_t start_stride, const edgernn_q8 *q, size_t q_stride, const uint8_t *w,
    const float *w_scale, size_t m, size_t n, size_t k)
{
    const size_t groups = (k + 7) / 8;
    const size_t summed = k <= EDGERNN_I4_DSP_MAX ? 8 * groups : 0; /* else nothing reads the sum */
    size_t i, j;
    for (i = 0; i < m; i++) {
        edgernn_packed_row_dsp row;
        const edgernn_q8 *x = q + i * q_stride;
        int32_t sum = 0;
        for (j = 0; j < summed; j += 2) {
            uint32_t two;
            memcpy(&two, x + j, sizeof two);
            __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(two), "r"(0x00010001u));
        }
        row.first[0] = -8 * sum;
        row.first[1] = -136 * sum;
        row.first[2] = -2048 * sum;
        row.first[3] = row.first[1] + row.first[2];
        edgernn_packed_dsp(&row, y + i * y_stride, start ? start + i * start_stride : NULL, x, w,
            w_scale, n, groups, 2, summed ? edgernn_blocks_i4_dsp : NULL,
            edgernn_sums_i4);
    }
}
