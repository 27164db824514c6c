/* int4 products with Helium (Cortex-M55). Included by edgernn_linear_i4.h.
 *
 * A vector of weights is 32 inputs of one row, the first 16 in the low halves of its bytes. The sum
 * of (w + 8) * q is 8 * sum q too much. Up to 64 inputs stay in registers for all rows.
 */
#include "edgernn_packed_mve.h"

/* Of one row; q6: 15 in each byte. */
#define EDGERNN_I4_MVE_ROW(dot, sum, low, high) \
    "vldrb.u8 q4, [r5], #16\n" \
    "vand q5, q4, q6\n" \
    "vshr.u8 q4, q4, #4\n" \
    dot " " sum ", q5, " low "\n" \
    "vmladava.s8 " sum ", q4, " high "\n"
#define EDGERNN_I4_MVE_GROUP(dot, low, high) \
    EDGERNN_I4_MVE_ROW(dot, "r2", low, high) \
    EDGERNN_I4_MVE_ROW(dot, "r4", low, high) \
    EDGERNN_I4_MVE_ROW(dot, "r6", low, high) \
    EDGERNN_I4_MVE_ROW(dot, "r8", low, high)

EDGERNN_APART void edgernn_blocks_i4_mve(const edgernn_packed_row_mve *row)
{
    register const edgernn_packed_row_mve *r12 __asm__("r12") = row;
    if (row->groups == 2)
        EDGERNN_PACKED_MVE_ASM(
            "vmov.i8 q6, #15\n"
            "vldrb.u8 q0, [r3], #16\n"
            "vldrb.u8 q1, [r3], #16\n"
            "vldrb.u8 q2, [r3], #16\n"
            "vldrb.u8 q3, [r3], #16\n"
            "dls lr, r11\n"
            "1:\n"
            EDGERNN_I4_MVE_GROUP("vmladav.s8", "q0", "q1")
            EDGERNN_I4_MVE_GROUP("vmladava.s8", "q2", "q3")
            EDGERNN_PACKED_MVE_END
            "le lr, 1b\n");
    else
        EDGERNN_PACKED_MVE_ASM(
            "vmov.i8 q6, #15\n"
            EDGERNN_PACKED_MVE_LOOP(
                "vldrb.u8 q0, [r3], #16\n"
                "vldrb.u8 q1, [r3], #16\n"
                EDGERNN_I4_MVE_GROUP("vmladava.s8", "q0", "q1"), "5"));
}

/* The interface is described in edgernn_linear_i4.h. */
EDGERNN_UNUSED static void edgernn_linear_i4(float *y, size_t y_stride, const float *start,
    size_t start_stride, const edgernn_q8 *q, size_t q_stride, const uint8_t *w,
    const float *w_scale, size_t m, size_t n, size_t k)
{
    const size_t groups = (k + 31) / 32;
    size_t i, j;
    for (i = 0; i < m; i++) {
        const edgernn_q8 *x = q + i * q_stride;
        int32_t sum = 0;
        for (j = 0; j < 32 * groups; j++)
            sum += x[j];
        edgernn_packed_mve(y + i * y_stride, start ? start + i * start_stride : NULL, x, w,
            w_scale, -8 * sum, n, groups, 64 * groups, edgernn_blocks_i4_mve);
    }
}
