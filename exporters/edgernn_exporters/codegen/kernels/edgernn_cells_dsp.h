/* Gates with the FPU of Cortex-M4 and M7, four units at a time. Included by edgernn_cells.h.
 *
 * The operations are those of edgernn_exp_plus_1_in_range and edgernn_exp_minus_1_in_range, hence
 * the same bits. A conversion to 16 bits notices, in FPSCR.IOC, what is out of range (or NaN): then,
 * and for the last units, the functions for one unit do the work.
 */
#if defined(__ARM_FP) && (__ARM_FP & 4) && __ARM_ARCH_PROFILE == 'M'
#define EDGERNN_CELLS_DSP 1

/* Four lanes of `op d, a, b`, each of d, a, b one of the lists of registers below. */
#define EDGERNN_V4_(op, d0, d1, d2, d3, a0, a1, a2, a3, b0, b1, b2, b3) \
    op " " d0 ", " a0 ", " b0 "\n" op " " d1 ", " a1 ", " b1 "\n" \
    op " " d2 ", " a2 ", " b2 "\n" op " " d3 ", " a3 ", " b3 "\n"
#define EDGERNN_V4(op, d, a, b) EDGERNN_V4_(op, d, a, b)
#define EDGERNN_VA "s0", "s1", "s2", "s3"
#define EDGERNN_VB "s4", "s5", "s6", "s7"
#define EDGERNN_VC "s8", "s9", "s10", "s11"
#define EDGERNN_VD "s12", "s13", "s14", "s15"
#define EDGERNN_VALL(s) s, s, s, s

/* s16-s25 in all assembly below. */
static const float edgernn_cells_constants[10] = {EDGERNN_ROUNDER, 1.0f, 2.0f, EDGERNN_SIGMOID_RATE,
    EDGERNN_TANH_RATE, EDGERNN_EXP2_C5, EDGERNN_EXP2_C4, EDGERNN_EXP2_C3, EDGERNN_EXP2_C2,
    EDGERNN_EXP2_C1};

/* s0-s3: t = rate * x; s4-s7: rounder + n; s8-s11: f */
#define EDGERNN_SPLIT(rate, bits) \
    EDGERNN_V4("vmul.f32", EDGERNN_VA, EDGERNN_VA, EDGERNN_VALL(rate)) \
    EDGERNN_V4("vadd.f32", EDGERNN_VB, EDGERNN_VA, EDGERNN_VALL("s16")) \
    EDGERNN_V4("vsub.f32", EDGERNN_VC, EDGERNN_VB, EDGERNN_VALL("s16")) \
    EDGERNN_V4("vsub.f32", EDGERNN_VC, EDGERNN_VA, EDGERNN_VC) \
    EDGERNN_V4("vcvt.s16.f32", EDGERNN_VA, EDGERNN_VA, EDGERNN_VALL(bits))

/* s12-s15: (((c5*f + c4)*f + c3)*f + c2)*f + c1 */
#define EDGERNN_HORNER_STEP(c) \
    EDGERNN_V4("vmul.f32", EDGERNN_VD, EDGERNN_VD, EDGERNN_VC) \
    EDGERNN_V4("vadd.f32", EDGERNN_VD, EDGERNN_VD, EDGERNN_VALL(c))
#define EDGERNN_HORNER \
    EDGERNN_V4("vmul.f32", EDGERNN_VD, EDGERNN_VC, EDGERNN_VALL("s21")) \
    EDGERNN_V4("vadd.f32", EDGERNN_VD, EDGERNN_VD, EDGERNN_VALL("s22")) \
    EDGERNN_HORNER_STEP("s23") \
    EDGERNN_HORNER_STEP("s24") \
    EDGERNN_HORNER_STEP("s25")

/* s0-s3 <- 1 + exp(-s0-s3) for |x| < 44. Uses s4-s15, r4, r5, r8, r9. */
EDGERNN_UNUSED __attribute__((naked, noinline)) static void edgernn_exp_plus_1_dsp(void)
{
    __asm__(EDGERNN_SPLIT("s19", "#9")
            EDGERNN_HORNER
            EDGERNN_HORNER_STEP("s17")
            "vmov r4, r5, s12, s13\n"
            "vmov r8, r9, s4, s5\n"
            "add.w r4, r4, r8, lsl #23\n"
            "add.w r5, r5, r9, lsl #23\n"
            "vmov s0, s1, r4, r5\n"
            "vmov r4, r5, s14, s15\n"
            "vmov r8, r9, s6, s7\n"
            "add.w r4, r4, r8, lsl #23\n"
            "add.w r5, r5, r9, lsl #23\n"
            "vmov s2, s3, r4, r5\n"
            EDGERNN_V4("vadd.f32", EDGERNN_VA, EDGERNN_VALL("s17"), EDGERNN_VA)
            "bx lr\n");
}

/* s0-s3 <- e = exp(2 * s0-s3) - 1 for |x| < 11; s4-s7 <- e + 2. Uses s8-s15, r4, r5, r8. */
EDGERNN_UNUSED __attribute__((naked, noinline)) static void edgernn_exp_minus_1_dsp(void)
{
    __asm__(EDGERNN_SPLIT("s20", "#10")
            "vmov r4, r5, s4, s5\n"
            "mov.w r8, #0x3f800000\n"
            "add.w r4, r8, r4, lsl #23\n"
            "add.w r5, r8, r5, lsl #23\n"
            "vmov s4, s5, r4, r5\n"
            "vmov r4, r5, s6, s7\n"
            "add.w r4, r8, r4, lsl #23\n"
            "add.w r5, r8, r5, lsl #23\n"
            "vmov s6, s7, r4, r5\n"
            EDGERNN_HORNER
            EDGERNN_V4("vmul.f32", EDGERNN_VD, EDGERNN_VD, EDGERNN_VC)
            EDGERNN_V4("vmul.f32", EDGERNN_VD, EDGERNN_VB, EDGERNN_VD)
            EDGERNN_V4("vsub.f32", EDGERNN_VA, EDGERNN_VB, EDGERNN_VALL("s17"))
            EDGERNN_V4("vadd.f32", EDGERNN_VA, EDGERNN_VA, EDGERNN_VD)
            EDGERNN_V4("vadd.f32", EDGERNN_VB, EDGERNN_VA, EDGERNN_VALL("s18"))
            "bx lr\n");
}

/* In registers, in this order: r0-r4, r6, r10, r11. The arrays are those that a cell names. */
typedef struct {
    const void *r0, *r1, *r2, *r3;
    const float *constants;
    const void *r6, *r10;
    size_t fours;
} edgernn_cell_dsp;

#define EDGERNN_CELL_DSP(r0, r1, r2, r3, r6, r10, fours) \
    edgernn_cell_dsp cell = {r0, r1, r2, r3, edgernn_cells_constants, r6, r10, fours}

#define EDGERNN_PLUS "bl %c[plus]\n"
#define EDGERNN_MINUS "bl %c[minus]\n"
/* Leave, with this four not done, if something is out of range. */
#define EDGERNN_CHECK \
    "vmrs r5, fpscr\n" \
    "lsls r5, r5, #31\n" \
    "bmi 2f\n"
/* Runs the loop; returns how many fours are left. */
#define EDGERNN_DSP_LOOP(code) \
    register uint32_t r12 __asm__("r12") = (uint32_t)(uintptr_t)&cell; \
    __asm__ volatile( \
        "ldmia.w r12, {r0, r1, r2, r3, r4, r6, r10, r11}\n" \
        "vldmia r4, {s16-s25}\n" \
        "vmrs r5, fpscr\n" \
        "bic r5, r5, #1\n" \
        "vmsr fpscr, r5\n" \
        "1:\n" \
        code \
        "subs.w r11, r11, #1\n" \
        "bne 1b\n" \
        "2:\n" \
        "mov r12, r11\n" \
        : "+r"(r12) \
        : [plus] "i"(edgernn_exp_plus_1_dsp), [minus] "i"(edgernn_exp_minus_1_dsp) \
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "lr", "s0", "s1", \
          "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14", \
          "s15", "s16", "s17", "s18", "s19", "s20", "s21", "s22", "s23", "s24", "s25", "cc", \
          "memory"); \
    return r12

/* The functions below handle up to `fours` times four units and return how many fours are left. */

EDGERNN_UNUSED static size_t edgernn_lstm_fours(float *h, float *c, const float *i,
    const float *o, const float *f, const float *g, size_t fours)
{
    EDGERNN_CELL_DSP(g, i, f, c, o, h, fours);
    EDGERNN_DSP_LOOP(
        "vldmia r0!, {s0-s3}\n"
        EDGERNN_MINUS
        "vpush {s0-s7}\n"
        "vldmia r1!, {s0-s3}\n"
        EDGERNN_PLUS
        "vpop {s4-s11}\n"
        EDGERNN_V4("vmul.f32", EDGERNN_VA, EDGERNN_VA, EDGERNN_VC)
        EDGERNN_V4("vdiv.f32", EDGERNN_VA, EDGERNN_VB, EDGERNN_VA)
        "vpush {s0-s3}\n"
        "vldmia r2!, {s0-s3}\n"
        EDGERNN_PLUS
        "vldmia r3, {s4-s7}\n"
        EDGERNN_V4("vdiv.f32", EDGERNN_VB, EDGERNN_VB, EDGERNN_VA)
        "vpop {s0-s3}\n"
        EDGERNN_V4("vadd.f32", EDGERNN_VA, EDGERNN_VB, EDGERNN_VA)
        "vpush {s0-s3}\n"
        EDGERNN_MINUS
        "vpush {s0-s7}\n"
        "vldmia r6!, {s0-s3}\n"
        EDGERNN_PLUS
        "vpop {s4-s11}\n"
        EDGERNN_V4("vmul.f32", EDGERNN_VA, EDGERNN_VA, EDGERNN_VC)
        EDGERNN_V4("vdiv.f32", EDGERNN_VA, EDGERNN_VB, EDGERNN_VA)
        "vpop {s4-s7}\n"
        EDGERNN_CHECK
        "vstmia r3!, {s4-s7}\n"
        "vstmia r10!, {s0-s3}\n");
}

/* n in s0-s3, z at r6, h at r10. */
#define EDGERNN_GRU_UPDATE \
    "vpush {s0-s3}\n" \
    "vldmia r6!, {s0-s3}\n" \
    EDGERNN_PLUS \
    "vpop {s4-s7}\n" \
    "vldmia r10, {s8-s11}\n" \
    EDGERNN_V4("vsub.f32", EDGERNN_VC, EDGERNN_VC, EDGERNN_VB) \
    EDGERNN_V4("vdiv.f32", EDGERNN_VC, EDGERNN_VC, EDGERNN_VA) \
    EDGERNN_V4("vadd.f32", EDGERNN_VA, EDGERNN_VB, EDGERNN_VC) \
    EDGERNN_CHECK \
    "vstmia r10!, {s0-s3}\n"

EDGERNN_UNUSED static size_t edgernn_gru_fours(float *h, const float *z, const float *r,
    const float *p, const float *s, size_t fours)
{
    EDGERNN_CELL_DSP(r, s, p, NULL, z, h, fours);
    EDGERNN_DSP_LOOP(
        "vldmia r0!, {s0-s3}\n"
        EDGERNN_PLUS
        "vldmia r1!, {s4-s7}\n"
        EDGERNN_V4("vdiv.f32", EDGERNN_VB, EDGERNN_VB, EDGERNN_VA)
        "vldmia r2!, {s0-s3}\n"
        EDGERNN_V4("vadd.f32", EDGERNN_VA, EDGERNN_VA, EDGERNN_VB)
        EDGERNN_MINUS
        EDGERNN_V4("vdiv.f32", EDGERNN_VA, EDGERNN_VA, EDGERNN_VB)
        EDGERNN_GRU_UPDATE);
}

EDGERNN_UNUSED static size_t edgernn_gru_reset_fours(float *g, const float *r, const float *h,
    size_t fours)
{
    EDGERNN_CELL_DSP(r, h, NULL, NULL, NULL, g, fours);
    EDGERNN_DSP_LOOP(
        "vldmia r0!, {s0-s3}\n"
        EDGERNN_PLUS
        "vldmia r1!, {s4-s7}\n"
        EDGERNN_V4("vdiv.f32", EDGERNN_VA, EDGERNN_VB, EDGERNN_VA)
        EDGERNN_CHECK
        "vstmia r10!, {s0-s3}\n");
}

EDGERNN_UNUSED static size_t edgernn_gru_update_fours(float *h, const float *z, const float *a,
    size_t fours)
{
    EDGERNN_CELL_DSP(a, NULL, NULL, NULL, z, h, fours);
    EDGERNN_DSP_LOOP(
        "vldmia r0!, {s0-s3}\n"
        EDGERNN_MINUS
        EDGERNN_V4("vdiv.f32", EDGERNN_VA, EDGERNN_VA, EDGERNN_VB)
        EDGERNN_GRU_UPDATE);
}

EDGERNN_UNUSED static size_t edgernn_tanh_fours(float *h, const float *a, size_t fours)
{
    EDGERNN_CELL_DSP(a, NULL, NULL, NULL, NULL, h, fours);
    EDGERNN_DSP_LOOP(
        "vldmia r0!, {s0-s3}\n"
        EDGERNN_MINUS
        EDGERNN_V4("vdiv.f32", EDGERNN_VA, EDGERNN_VA, EDGERNN_VB)
        EDGERNN_CHECK
        "vstmia r10!, {s0-s3}\n");
}

/* Runs `call`, one of the functions above, with `fours` from unit j on. What remains before `end`
 * is left to the caller: the units after the last four, or a four that was out of range.
 */
#define EDGERNN_FOURS(call) \
    size_t end = hidden, fours = (hidden - j) / 4; \
    if (fours > 0) { \
        j += 4 * (fours - call); \
        end = hidden - j < 4 ? hidden : j + 4; \
    }
#else
#define EDGERNN_FOURS(call) size_t end = hidden;
#endif

/* a [4*hidden]: pre-activations i, o, f, g.
 * c <- sigmoid(f) * c + sigmoid(i) * tanh(g);  h <- sigmoid(o) * tanh(c)
 */
EDGERNN_UNUSED static void edgernn_lstm_gates(float *restrict h, float *restrict c,
    const float *restrict a, size_t hidden)
{
    const float *o = a + hidden, *f = o + hidden, *g = f + hidden;
    size_t j = 0;
    while (j < hidden) {
        EDGERNN_FOURS(edgernn_lstm_fours(h + j, c + j, a + j, o + j, f + j, g + j, fours))
        for (; j < end; j++) {
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
        EDGERNN_FOURS(edgernn_gru_fours(h + j, zr + j, r + j, p + j, s + j, fours))
        for (; j < end; j++) {
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
        for (; j < end; j++)
            g[j] = h[j] / edgernn_exp_plus_1(r[j]);
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
        for (; j < end; j++)
            h[j] = edgernn_tanh(a[j]);
    }
}
