/* Products of 16-bit inputs and 8-bit weights with the DSP instructions of Cortex-M4 and M7.
 * Included by edgernn_linear_w8a16.h.
 *
 * Half a word v of weights is one input of two rows, v = a + 256 * b. SMLALD adds v * x up to
 * T = S(a) + 256 * S(b) in 64 bits, SMLAD the lower bytes, extended, to S(a).
 */
#include "edgernn_packed_dsp.h"

/* Four inputs of two rows: T in `low` and `high`. */
#define EDGERNN_W8A16_DSP_PAIR(low, high, even) \
    "ldrd r11, r12, [r0], #8\n" \
    "smlald " low ", " high ", r11, r9\n" \
    "sxtb16 r11, r11\n" \
    "smlald " low ", " high ", r12, r10\n" \
    "sxtb16 r12, r12\n" \
    "smlad " even ", r11, r9, " even "\n" \
    "smlad " even ", r12, r10, " even "\n"
/* low <- S(b) */
#define EDGERNN_W8A16_DSP_SPLIT(low, high, even) \
    "subs.w " low ", " low ", " even "\n" \
    "sbc.w " high ", " high ", " even ", asr #31\n" \
    "lsr.w " low ", " low ", #8\n" \
    "orr.w " low ", " low ", " high ", lsl #24\n"

EDGERNN_APART void edgernn_blocks_w8a16_dsp(edgernn_packed_row_dsp *row, const void *w)
{
    EDGERNN_PACKED_DSP_BLOCKS(row, w, "4", "60",
        "ldrd r9, r10, [r1], #8\n"
        EDGERNN_W8A16_DSP_PAIR("r3", "r6", "r2")
        EDGERNN_W8A16_DSP_PAIR("r5", "r8", "r4"),
        "movs r6, #0\n"
        "mov.w r8, #0\n",
        EDGERNN_W8A16_DSP_SPLIT("r3", "r6", "r2")
        EDGERNN_W8A16_DSP_SPLIT("r5", "r8", "r4"),
        "", "", "");
}

EDGERNN_UNUSED static void edgernn_sums_w8a16_dsp(int32_t *sum, const int16_t *q,
    const uint8_t *w, size_t groups)
{
    edgernn_sums_w8a16(sum, q, (const int8_t *)w, groups);
}

/* The interface is described in edgernn_linear_w8a16.h. */
EDGERNN_UNUSED static void edgernn_linear_w8a16(float *y, size_t y_stride, const float *start,
    size_t start_stride, const int16_t *q, size_t q_stride, const int8_t *w, const float *w_scale,
    size_t m, size_t n, size_t k)
{
    size_t i;
    for (i = 0; i < m; i++) {
        edgernn_packed_row_dsp row = {.first = {0}};
        edgernn_packed_dsp(&row, y + i * y_stride, start ? start + i * start_stride : NULL,
            q + i * q_stride, (const uint8_t *)w, w_scale, n, (k + 3) / 4, 4,
            edgernn_blocks_w8a16_dsp, edgernn_sums_w8a16_dsp);
    }
}
