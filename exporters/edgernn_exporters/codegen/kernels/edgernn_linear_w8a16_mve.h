/* Products of 16-bit inputs and 8-bit weights with Helium (Cortex-M55). Included by
 * edgernn_linear_w8a16.h.
 *
 * A group is eight inputs of four rows. With 64 inputs, five groups of them stay in registers for
 * all rows.
 */
#include "edgernn_packed_mve.h"

/* q4, q5: weights. */
#define EDGERNN_W8A16_MVE_GROUP(dot, x) \
    "vldrb.s16 q4, [r5], #8\n" \
    dot " r2, q4, " x "\n" \
    "vldrb.s16 q5, [r5], #8\n" \
    dot " r4, q5, " x "\n" \
    "vldrb.s16 q4, [r5], #8\n" \
    dot " r6, q4, " x "\n" \
    "vldrb.s16 q5, [r5], #8\n" \
    dot " r8, q5, " x "\n"

EDGERNN_APART void edgernn_blocks_w8a16_mve(const edgernn_packed_row_mve *row)
{
    register const edgernn_packed_row_mve *r12 __asm__("r12") = row;
    if (row->groups == 8)
        EDGERNN_PACKED_MVE_ASM(
            "vldrh.u16 q0, [r3], #16\n"
            "vldrh.u16 q1, [r3], #16\n"
            "vldrh.u16 q2, [r3], #16\n"
            "vldrh.u16 q3, [r3], #16\n"
            "vldrh.u16 q6, [r3], #16\n"
            "dls lr, r11\n"
            "1:\n"
            "vldrh.u16 q7, [r3]\n"
            EDGERNN_W8A16_MVE_GROUP("vmladav.s16", "q0")
            EDGERNN_W8A16_MVE_GROUP("vmladava.s16", "q1")
            EDGERNN_W8A16_MVE_GROUP("vmladava.s16", "q2")
            EDGERNN_W8A16_MVE_GROUP("vmladava.s16", "q3")
            EDGERNN_W8A16_MVE_GROUP("vmladava.s16", "q6")
            EDGERNN_W8A16_MVE_GROUP("vmladava.s16", "q7")
            "vldrh.u16 q7, [r3, #16]\n"
            EDGERNN_W8A16_MVE_GROUP("vmladava.s16", "q7")
            "vldrh.u16 q7, [r3, #32]\n"
            EDGERNN_W8A16_MVE_GROUP("vmladava.s16", "q7")
            EDGERNN_PACKED_MVE_END
            "le lr, 1b\n");
    else
        EDGERNN_PACKED_MVE_ASM(EDGERNN_PACKED_MVE_LOOP(
            "vldrh.u16 q0, [r3], #16\n" EDGERNN_W8A16_MVE_GROUP("vmladava.s16", "q0"), "4"));
}

/* The interface is described in edgernn_linear_w8a16.h. */
EDGERNN_UNUSED static void edgernn_linear_w8a16(float *y, size_t y_stride, const float *start,
    size_t start_stride, const int16_t *q, size_t q_stride, const int8_t *w, const float *w_scale,
    size_t m, size_t n, size_t k)
{
    const size_t groups = (k + 7) / 8;
    size_t i;
    for (i = 0; i < m; i++)
        edgernn_packed_mve(y + i * y_stride, start ? start + i * start_stride : NULL,
            q + i * q_stride, (const uint8_t *)w, w_scale, 0, n, groups, 32 * groups,
            edgernn_blocks_w8a16_mve);
}
