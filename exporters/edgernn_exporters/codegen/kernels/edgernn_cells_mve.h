/* Gates with Helium (Cortex-M55), four units at a time. Included by edgernn_cells.h.
 *
 * The operations are those of edgernn_exp_plus_1_in_range and edgernn_exp_minus_1_in_range, hence
 * the same bits. Helium has no division: the scalar one works on its registers. It flushes
 * denormals to zero, so values near zero, like those out of range, and the last units are left to
 * the portable functions.
 */

/* What a loop needs. On the stack: 2*log2(e), 2, step, other. In registers: r0 rounder, r1 1, r2-r6
 * C5...C1, r8-r10 three arrays, r11 largest |t|, r12 smallest |e|, q7 -log2(e).
 */
typedef struct {
    float tanh_rate, two;
    uint32_t step, other; /* bytes from one gate to the next; what else a cell wants */
    float rounder, one, c5, c4, c3, c2, c1;
    const void *r8, *r9, *r10;
    float sigmoid_rate;
    size_t fours;
} edgernn_cell_mve;

#define EDGERNN_CELL_MVE(step, other, r8, r9, r10, fours) \
    edgernn_cell_mve cell = {EDGERNN_TANH_RATE, 2.0f, step, other, EDGERNN_ROUNDER, 1.0f, \
        EDGERNN_EXP2_C5, EDGERNN_EXP2_C4, EDGERNN_EXP2_C3, EDGERNN_EXP2_C2, EDGERNN_EXP2_C1, r8, \
        r9, r10, EDGERNN_SIGMOID_RATE, fours}

/* From t in q0: q1 = rounder + n, shifted; q2 = f; q3 = (((c5*f + c4)*f + c3)*f + c2)*f + c1 */
#define EDGERNN_MVE_EXP2 \
    "vmaxnmav.f32 r11, q0\n" \
    "vadd.f32 q1, q0, r0\n" \
    "vsub.f32 q2, q1, r0\n" \
    "vsub.f32 q2, q0, q2\n" \
    "vshl.i32 q1, q1, #23\n" \
    "vmul.f32 q3, q2, r2\n" \
    "vadd.f32 q3, q3, r3\n" \
    "vmul.f32 q3, q3, q2\n" \
    "vadd.f32 q3, q3, r4\n" \
    "vmul.f32 q3, q3, q2\n" \
    "vadd.f32 q3, q3, r5\n" \
    "vmul.f32 q3, q3, q2\n" \
    "vadd.f32 q3, q3, r6\n" \
    "vmul.f32 q3, q3, q2\n"
/* y = 1 + exp(-x) */
#define EDGERNN_MVE_EXP_PLUS_1(y, x) \
    "vmul.f32 q0, " x ", q7\n" \
    EDGERNN_MVE_EXP2 \
    "vadd.f32 q3, q3, r1\n" \
    "vadd.i32 q3, q3, q1\n" \
    "vadd.f32 " y ", q3, r1\n"
/* q0 = e = exp(2*x) - 1, q1 = e + 2 */
#define EDGERNN_MVE_EXP_MINUS_1(x) \
    "ldr r7, [sp]\n" \
    "vmul.f32 q0, " x ", r7\n" \
    EDGERNN_MVE_EXP2 \
    "ldr r7, [sp, #4]\n" \
    "vadd.i32 q1, q1, r1\n" \
    "vmul.f32 q3, q3, q1\n" \
    "vsub.f32 q1, q1, r1\n" \
    "vadd.f32 q0, q3, q1\n" \
    "vadd.f32 q1, q0, r7\n" \
    "vminnmav.f32 r12, q0\n"
/* Four lanes of d = a / b, each a list of registers. */
#define EDGERNN_MVE_DIV_(d0, d1, d2, d3, a0, a1, a2, a3, b0, b1, b2, b3) \
    "vdiv.f32 " d0 ", " a0 ", " b0 "\n" \
    "vdiv.f32 " d1 ", " a1 ", " b1 "\n" \
    "vdiv.f32 " d2 ", " a2 ", " b2 "\n" \
    "vdiv.f32 " d3 ", " a3 ", " b3 "\n"
#define EDGERNN_MVE_DIV(d, a, b) EDGERNN_MVE_DIV_(d, a, b)
#define EDGERNN_Q0 "s0", "s1", "s2", "s3"
#define EDGERNN_Q1 "s4", "s5", "s6", "s7"
#define EDGERNN_Q5 "s20", "s21", "s22", "s23"
#define EDGERNN_Q6 "s24", "s25", "s26", "s27"

#define EDGERNN_MVE_BEGIN \
    "push {r7, r8}\n" \
    "ldmia r12!, {r0, r1, r2, r3}\n" \
    "push {r0, r1, r2, r3}\n" \
    "ldmia.w r12, {r0, r1, r2, r3, r4, r5, r6, r8, r9, r10, r11, lr}\n" \
    "vdup.32 q7, r11\n" \
    "mov.w r11, #0\n" \
    "mov.w r12, #0x7f000000\n" \
    "dls lr, lr\n" \
    "1:\n"
/* |t| < 32 and |e| >= 2^-100, or leave. */
#define EDGERNN_MVE_CHECK \
    "cmp.w r11, #0x42000000\n" \
    "bge 2f\n" \
    "cmp.w r12, #0x0d800000\n" \
    "blt 2f\n"
#define EDGERNN_MVE_END \
    "le lr, 1b\n" \
    "mov.w lr, #0\n" \
    "2:\n" \
    "mov r12, lr\n" \
    "add sp, sp, #16\n" \
    "pop {r7, r8}\n"
/* Runs the loop; returns how many fours are left. */
#define EDGERNN_MVE_LOOP(code) \
    register uint32_t r12 __asm__("r12") = (uint32_t)(uintptr_t)&cell; \
    __asm__ volatile(EDGERNN_MVE_BEGIN code EDGERNN_MVE_END \
        : "+r"(r12) \
        : \
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "lr", "q0", "q1", \
          "q2", "q3", "q4", "q5", "q6", "q7", "cc", "memory"); \
    return r12

/* The functions below handle up to `fours` times four units and return how many fours are left. */

EDGERNN_UNUSED static size_t edgernn_lstm_fours(float *h, float *c, const float *a, size_t hidden,
    size_t fours)
{
    EDGERNN_CELL_MVE(4 * hidden, 16 - 12 * hidden, a, c, h, fours);
    EDGERNN_MVE_LOOP(
        "ldrd r7, r12, [sp, #8]\n"
        "vldrw.u32 q4, [r8]\n"
        "add r8, r8, r7\n"
        "vldrw.u32 q5, [r8]\n"
        "add r8, r8, r7\n"
        "vldrw.u32 q6, [r8]\n"
        "add r8, r8, r7\n"
        EDGERNN_MVE_EXP_PLUS_1("q4", "q4")
        EDGERNN_MVE_EXP_PLUS_1("q5", "q5")
        EDGERNN_MVE_EXP_PLUS_1("q6", "q6")
        "vldrw.u32 q0, [r8]\n"
        "add r8, r8, r12\n"
        "mov.w r12, #0x7f000000\n"
        EDGERNN_MVE_EXP_MINUS_1("q0")
        "vmul.f32 q1, q1, q4\n"
        EDGERNN_MVE_DIV(EDGERNN_Q0, EDGERNN_Q0, EDGERNN_Q1)
        "vldrw.u32 q1, [r9]\n"
        EDGERNN_MVE_DIV(EDGERNN_Q1, EDGERNN_Q1, EDGERNN_Q6)
        "vadd.f32 q4, q1, q0\n"
        EDGERNN_MVE_EXP_MINUS_1("q4")
        "vmul.f32 q1, q1, q5\n"
        EDGERNN_MVE_DIV(EDGERNN_Q0, EDGERNN_Q0, EDGERNN_Q1)
        EDGERNN_MVE_CHECK
        "vstrw.32 q4, [r9], #16\n"
        "vstrw.32 q0, [r10], #16\n");
}

/* n in q0, 1 + exp(-z) in q6. */
#define EDGERNN_MVE_GRU_UPDATE \
    EDGERNN_MVE_DIV(EDGERNN_Q0, EDGERNN_Q0, EDGERNN_Q1) \
    "vldrw.u32 q1, [r10]\n" \
    "vsub.f32 q1, q1, q0\n" \
    EDGERNN_MVE_DIV(EDGERNN_Q1, EDGERNN_Q1, EDGERNN_Q6) \
    "vadd.f32 q0, q0, q1\n" \
    EDGERNN_MVE_CHECK \
    "vstrw.32 q0, [r10], #16\n"

EDGERNN_UNUSED static size_t edgernn_gru_fours(float *h, const float *zr, const float *p,
    const float *s, size_t hidden, size_t fours)
{
    EDGERNN_CELL_MVE(4 * hidden, (uint32_t)(uintptr_t)s, zr, p, h, fours);
    EDGERNN_MVE_LOOP(
        "ldr r7, [sp, #8]\n"
        "add r7, r7, r8\n"
        "vldrw.u32 q6, [r8], #16\n"
        "vldrw.u32 q5, [r7]\n"
        EDGERNN_MVE_EXP_PLUS_1("q5", "q5")
        EDGERNN_MVE_EXP_PLUS_1("q6", "q6")
        "ldr r7, [sp, #12]\n"
        "vldrw.u32 q0, [r7], #16\n"
        "str r7, [sp, #12]\n"
        EDGERNN_MVE_DIV(EDGERNN_Q0, EDGERNN_Q0, EDGERNN_Q5)
        "vldrw.u32 q1, [r9], #16\n"
        "vadd.f32 q0, q1, q0\n"
        EDGERNN_MVE_EXP_MINUS_1("q0")
        EDGERNN_MVE_GRU_UPDATE);
}

EDGERNN_UNUSED static size_t edgernn_gru_reset_fours(float *g, const float *r, const float *h,
    size_t fours)
{
    EDGERNN_CELL_MVE(0, 0, r, h, g, fours);
    EDGERNN_MVE_LOOP(
        "vldrw.u32 q5, [r8], #16\n"
        EDGERNN_MVE_EXP_PLUS_1("q5", "q5")
        "vldrw.u32 q0, [r9], #16\n"
        EDGERNN_MVE_DIV(EDGERNN_Q0, EDGERNN_Q0, EDGERNN_Q5)
        EDGERNN_MVE_CHECK
        "vstrw.32 q0, [r10], #16\n");
}

EDGERNN_UNUSED static size_t edgernn_gru_update_fours(float *h, const float *z, const float *a,
    size_t fours)
{
    EDGERNN_CELL_MVE(0, 0, z, a, h, fours);
    EDGERNN_MVE_LOOP(
        "vldrw.u32 q6, [r8], #16\n"
        EDGERNN_MVE_EXP_PLUS_1("q6", "q6")
        "vldrw.u32 q0, [r9], #16\n"
        EDGERNN_MVE_EXP_MINUS_1("q0")
        EDGERNN_MVE_GRU_UPDATE);
}

EDGERNN_UNUSED static size_t edgernn_tanh_fours(float *h, const float *a, size_t fours)
{
    EDGERNN_CELL_MVE(0, 0, NULL, a, h, fours);
    EDGERNN_MVE_LOOP(
        "vldrw.u32 q0, [r9], #16\n"
        EDGERNN_MVE_EXP_MINUS_1("q0")
        EDGERNN_MVE_DIV(EDGERNN_Q0, EDGERNN_Q0, EDGERNN_Q1)
        EDGERNN_MVE_CHECK
        "vstrw.32 q0, [r10], #16\n");
}

/* In a loop: keeps the compiler from using vectors, which would flush denormals. */
#define EDGERNN_MVE_SCALAR __asm__ volatile("");

/* Runs `call`, one of the functions above, with `fours` from unit j on. What remains before `end`
 * is left to the caller: the units after the last four, or a four that was out of range.
 */
#define EDGERNN_FOURS(call) \
    size_t end = hidden, fours = (hidden - j) / 4; \
    if (fours > 0) { \
        j += 4 * (fours - call); \
        end = hidden - j < 4 ? hidden : j + 4; \
    }

/* a [4*hidden]: pre-activations i, o, f, g.
 * c <- sigmoid(f) * c + sigmoid(i) * tanh(g);  h <- sigmoid(o) * tanh(c)
 */
EDGERNN_UNUSED static void edgernn_lstm_gates(float *restrict h, float *restrict c,
    const float *restrict a, size_t hidden)
{
    const float *o = a + hidden, *f = o + hidden, *g = f + hidden;
    size_t j = 0;
    while (j < hidden) {
        EDGERNN_FOURS(edgernn_lstm_fours(h + j, c + j, a + j, hidden, fours))
        for (; j < end; j++) {
            EDGERNN_MVE_SCALAR
            edgernn_lstm_unit(h + j, c + j, a[j], o[j], f[j], g[j]);
        }
    }
}

/* GRU, linear_before_reset=1. zr [2*hidden]: pre-activations z, r; p [hidden]: input part of the
 * candidate; s [hidden]: its recurrent part with the bias.
 * n = tanh(p + sigmoid(r) * s);  h <- n + sigmoid(z) * (h - n)
 */
EDGERNN_UNUSED static void edgernn_gru_gates(float *restrict h, const float *restrict zr,
    const float *restrict p, const float *restrict s, size_t hidden)
{
    const float *r = zr + hidden;
    size_t j = 0;
    while (j < hidden) {
        EDGERNN_FOURS(edgernn_gru_fours(h + j, zr + j, p + j, s + j, hidden, fours))
        for (; j < end; j++) {
            EDGERNN_MVE_SCALAR
            h[j] = edgernn_gru_next(h[j], zr[j], p[j] + s[j] / edgernn_exp_plus_1(r[j]));
        }
    }
}

/* GRU, linear_before_reset=0, what is multiplied next: g <- sigmoid(r) * h */
EDGERNN_UNUSED static void edgernn_gru_reset(float *restrict g, const float *restrict zr,
    const float *restrict h, size_t hidden)
{
    const float *r = zr + hidden;
    size_t j = 0;
    while (j < hidden) {
        EDGERNN_FOURS(edgernn_gru_reset_fours(g + j, r + j, h + j, fours))
        for (; j < end; j++) {
            EDGERNN_MVE_SCALAR
            g[j] = h[j] / edgernn_exp_plus_1(r[j]);
        }
    }
}

/* GRU, linear_before_reset=0, after that product. a [hidden]: pre-activation of the candidate.
 * n = tanh(a);  h <- n + sigmoid(z) * (h - n)
 */
EDGERNN_UNUSED static void edgernn_gru_update(float *restrict h, const float *restrict zr,
    const float *restrict a, size_t hidden)
{
    size_t j = 0;
    while (j < hidden) {
        EDGERNN_FOURS(edgernn_gru_update_fours(h + j, zr + j, a + j, fours))
        for (; j < end; j++) {
            EDGERNN_MVE_SCALAR
            h[j] = edgernn_gru_next(h[j], zr[j], a[j]);
        }
    }
}

/* h <- tanh(a) */
EDGERNN_UNUSED static void edgernn_rnn_tanh(float *restrict h, const float *restrict a,
    size_t hidden)
{
    size_t j = 0;
    while (j < hidden) {
        EDGERNN_FOURS(edgernn_tanh_fours(h + j, a + j, fours))
        for (; j < end; j++) {
            EDGERNN_MVE_SCALAR
            h[j] = edgernn_tanh(a[j]);
        }
    }
}
