/* Gates of the integer precisions with Helium (Cortex-M55), eight units at a time. Included by
 * edgernn_cells_i16.h; each function returns how many units it has done.
 *
 * VQRDMULH is (2 * a * b + 2^15) >> 16: edgernn_multiply_q15 as it is, and both products of T with
 * t * 8 and four times the bend. VQABS and two VQNEG limit -32768 to 32767 and -32767.
 */
#ifndef EDGERNN_CELLS_I16_MVE_H
#define EDGERNN_CELLS_I16_MVE_H

#define EDGERNN_UNITS_DONE(call) (call)

#define EDGERNN_TANH_BEND_4(start, slope, bend) 4 * bend,
static const int16_t edgernn_tanh_columns[3][64] EDGERNN_UNUSED = {
    {EDGERNN_TANH_TABLE(EDGERNN_TANH_START)},
    {EDGERNN_TANH_TABLE(EDGERNN_TANH_SLOPE)},
    {EDGERNN_TANH_TABLE(EDGERNN_TANH_BEND_4)},
};

/* In registers, in this order: r0-r6, r8-r11, lr. r12 is 2^14. */
typedef struct {
    const int16_t *start, *slope, *bend;
    const void *r3, *r4, *r5;
    void *r6;
    int r8, r9;
    const void *r10;
    void *r11;
    size_t eights;
} edgernn_cell_i16_mve;

#define EDGERNN_CELL_I16(r3, r4, r5, r6, r8, r9, r10, r11, eights) \
    const edgernn_cell_i16_mve cell = {edgernn_tanh_columns[0], edgernn_tanh_columns[1], \
        edgernn_tanh_columns[2], r3, r4, r5, r6, r8, r9, r10, r11, eights}

/* Runs the loop; there is at least one turn. */
#define EDGERNN_CELL_I16_LOOP(code) \
    register const edgernn_cell_i16_mve *r12 __asm__("r12") = &cell; \
    __asm__ volatile( \
        "ldmia.w r12, {r0, r1, r2, r3, r4, r5, r6, r8, r9, r10, r11, lr}\n" \
        "mov.w r12, #16384\n" \
        "dls lr, lr\n" \
        "1:\n" \
        code \
        "le lr, 1b\n" \
        : "+r"(r12) \
        : \
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "lr", "q0", "q1", \
          "q2", "q3", "q4", "q5", "q6", "q7", "cc", "memory")

/* q0 <- the next eight floats at `from`, rounded to -32768..32767. Uses q1. */
#define EDGERNN_MVE_ROUND_8(from) \
    "vld20.32 {q0, q1}, [" from "]\n" \
    "vld21.32 {q0, q1}, [" from "]!\n" \
    "vcvtn.s32.f32 q0, q0\n" \
    "vcvtn.s32.f32 q1, q1\n" \
    "vqmovnb.s32 q0, q0\n" \
    "vqmovnt.s32 q0, q1\n"
#define EDGERNN_MVE_LIMIT(x) \
    "vqneg.s16 " x ", " x "\n" \
    "vqneg.s16 " x ", " x "\n"
/* to <- T of q1 with `index` bits below the interval's number, 13 bits of t after the shift. */
#define EDGERNN_MVE_T(to, index, t) \
    "vshr.u16 q2, q1, #" index "\n" \
    "vshl.i16 q1, q1, #" t "\n" \
    "vldrh.u16 q3, [r2, q2, uxtw #1]\n" \
    "vbic.i16 q1, #0xe000\n" \
    "vldrh.u16 " to ", [r1, q2, uxtw #1]\n" \
    "vqrdmulh.s16 q3, q1, q3\n" \
    "vsub.i16 " to ", " to ", q3\n" \
    "vldrh.u16 q3, [r0, q2, uxtw #1]\n" \
    "vqrdmulh.s16 " to ", " to ", q1\n" \
    "vadd.i16 " to ", " to ", q3\n"
#define EDGERNN_MVE_SIGN(to, from) \
    "vpt.s16 lt, " from ", zr\n" \
    "vnegt.s16 " to ", " to "\n"
/* Of q0; uses q1-q3. */
#define EDGERNN_MVE_TANH_8(to) \
    "vqabs.s16 q1, q0\n" \
    EDGERNN_MVE_T(to, "9", "4") \
    EDGERNN_MVE_SIGN(to, "q0")
#define EDGERNN_MVE_SIGMOID_8(to) \
    "vqabs.s16 q1, q0\n" \
    EDGERNN_MVE_T(to, "10", "3") \
    "vrshr.s16 " to ", " to ", #1\n" \
    EDGERNN_MVE_SIGN(to, "q0") \
    "vadd.i16 " to ", " to ", r12\n"

EDGERNN_UNUSED static size_t edgernn_lstm_first_i16(int16_t *h, int16_t *c, const float *a,
    int shift, size_t hidden)
{
    if (hidden >= 8) {
        EDGERNN_CELL_I16(a, a + hidden, a + 2 * hidden, c, shift, -2 - shift, a + 3 * hidden, h,
            hidden / 8);
        EDGERNN_CELL_I16_LOOP(
            EDGERNN_MVE_ROUND_8("r3")
            EDGERNN_MVE_SIGMOID_8("q4")
            EDGERNN_MVE_ROUND_8("r10")
            EDGERNN_MVE_TANH_8("q5")
            "vmullb.s16 q6, q4, q5\n"
            "vmullt.s16 q7, q4, q5\n"
            "vshl.s32 q6, r9\n"
            "vshl.s32 q7, r9\n"
            EDGERNN_MVE_ROUND_8("r5")
            EDGERNN_MVE_SIGMOID_8("q4")
            "vldrh.u16 q5, [r6]\n"
            "vmullb.s16 q0, q4, q5\n"
            "vmullt.s16 q1, q4, q5\n"
            "vadd.i32 q0, q0, q6\n"
            "vadd.i32 q1, q1, q7\n"
            "vqrshrnb.s32 q5, q0, #15\n"
            "vqrshrnt.s32 q5, q1, #15\n"
            EDGERNN_MVE_LIMIT("q5")
            "vstrh.16 q5, [r6], #16\n"
            "vqabs.s16 q1, q5\n"
            "vqshl.u16 q1, r8\n"
            EDGERNN_MVE_T("q6", "10", "3")
            EDGERNN_MVE_SIGN("q6", "q5")
            EDGERNN_MVE_ROUND_8("r4")
            EDGERNN_MVE_SIGMOID_8("q4")
            "vqrdmulh.s16 q4, q4, q6\n"
            "vstrh.16 q4, [r11], #16\n");
    }
    return hidden & ~(size_t)7;
}

/* h at r11 <- z * h + (1 - z) * n with z's pre-activations at r3, n in q4. */
#define EDGERNN_MVE_GRU_NEXT \
    EDGERNN_MVE_ROUND_8("r3") \
    EDGERNN_MVE_SIGMOID_8("q5") \
    "vldrh.u16 q6, [r11]\n" \
    "vmullb.s16 q0, q5, q6\n" \
    "vmullt.s16 q1, q5, q6\n" \
    "vneg.s16 q5, q5\n" \
    "vadd.i16 q5, q5, r8\n" \
    "vmullb.s16 q2, q5, q4\n" \
    "vmullt.s16 q3, q5, q4\n" \
    "vadd.i32 q0, q0, q2\n" \
    "vadd.i32 q1, q1, q3\n" \
    "vqrshrnb.s32 q0, q0, #15\n" \
    "vqrshrnt.s32 q0, q1, #15\n" \
    "vstrh.16 q0, [r11], #16\n"

EDGERNN_UNUSED static size_t edgernn_gru_first_i16(int16_t *h, const float *zr, const float *p,
    const float *s, size_t hidden)
{
    if (hidden >= 8) {
        EDGERNN_CELL_I16(zr, zr + hidden, p, NULL, 1 << 15, 0, s, h, hidden / 8);
        EDGERNN_CELL_I16_LOOP(
            EDGERNN_MVE_ROUND_8("r4")
            EDGERNN_MVE_SIGMOID_8("q4")
            EDGERNN_MVE_ROUND_8("r10")
            EDGERNN_MVE_LIMIT("q0")
            "vqrdmulh.s16 q4, q4, q0\n"
            EDGERNN_MVE_ROUND_8("r5")
            EDGERNN_MVE_LIMIT("q0")
            "vqadd.s16 q0, q0, q4\n"
            EDGERNN_MVE_TANH_8("q4")
            EDGERNN_MVE_GRU_NEXT);
    }
    return hidden & ~(size_t)7;
}

EDGERNN_UNUSED static size_t edgernn_gru_reset_first_i16(int16_t *g, const float *r,
    const int16_t *h, size_t hidden)
{
    if (hidden >= 8) {
        EDGERNN_CELL_I16(r, h, NULL, NULL, 0, 0, NULL, g, hidden / 8);
        EDGERNN_CELL_I16_LOOP(
            EDGERNN_MVE_ROUND_8("r3")
            EDGERNN_MVE_SIGMOID_8("q4")
            "vldrh.u16 q0, [r4], #16\n"
            "vqrdmulh.s16 q0, q4, q0\n"
            "vstrh.16 q0, [r11], #16\n");
    }
    return hidden & ~(size_t)7;
}

EDGERNN_UNUSED static size_t edgernn_gru_update_first_i16(int16_t *h, const float *z,
    const float *a, size_t hidden)
{
    if (hidden >= 8) {
        EDGERNN_CELL_I16(z, NULL, a, NULL, 1 << 15, 0, NULL, h, hidden / 8);
        EDGERNN_CELL_I16_LOOP(
            EDGERNN_MVE_ROUND_8("r5")
            EDGERNN_MVE_TANH_8("q4")
            EDGERNN_MVE_GRU_NEXT);
    }
    return hidden & ~(size_t)7;
}

EDGERNN_UNUSED static size_t edgernn_rnn_tanh_first_i16(int16_t *h, const float *a, size_t hidden)
{
    if (hidden >= 8) {
        EDGERNN_CELL_I16(a, NULL, NULL, NULL, 0, 0, NULL, h, hidden / 8);
        EDGERNN_CELL_I16_LOOP(
            EDGERNN_MVE_ROUND_8("r3")
            EDGERNN_MVE_TANH_8("q4")
            "vstrh.16 q4, [r11], #16\n");
    }
    return hidden & ~(size_t)7;
}

#endif
