/* Rounding with given scales, and states, with the instructions of Cortex-M4 and M7. Included by
 * edgernn_quantize_static.h; each function returns how many numbers it has done, from the first on.
 */
#ifndef EDGERNN_QUANTIZE_STATIC_DSP_H
#define EDGERNN_QUANTIZE_STATIC_DSP_H

#define EDGERNN_INPUTS_DONE(call) (call)

/* Four inputs become integers of `bits` bits in r3-r6. */
#define EDGERNN_STATIC_DSP_FOUR(bits, s0, s1, s2, s3) \
    "vmov r3, r4, " s0 ", " s1 "\n" \
    "vmov r5, r6, " s2 ", " s3 "\n" \
    "ssat r3, #" bits ", r3\n" \
    "ssat r4, #" bits ", r4\n" \
    "ssat r5, #" bits ", r5\n" \
    "ssat r6, #" bits ", r6\n"
/* In registers, in this order: r0-r2, r8-r10. */
typedef struct {
    void *q;
    const float *x, *center, *inverse;
    size_t step, eights; /* bytes to the next eight centers and inverses: 32 or 0 */
} edgernn_static_dsp;

/* Eights of inputs; `pack` stores four of them. */
#define EDGERNN_STATIC_DSP(bits, pack) \
    register const edgernn_static_dsp *r12 __asm__("r12") = &row; \
    __asm__ volatile( \
        "ldm.w r12, {r0, r1, r2, r8, r9, r10}\n" \
        "1:\n" \
        "vldmia.32 r1!, {s0-s7}\n" \
        "vldmia.32 r2, {s8-s15}\n" \
        "vsub.f32 s0, s0, s8\n" \
        "vsub.f32 s1, s1, s9\n" \
        "vsub.f32 s2, s2, s10\n" \
        "vsub.f32 s3, s3, s11\n" \
        "vsub.f32 s4, s4, s12\n" \
        "vsub.f32 s5, s5, s13\n" \
        "vsub.f32 s6, s6, s14\n" \
        "vsub.f32 s7, s7, s15\n" \
        "vldmia.32 r8, {s8-s15}\n" \
        "add r2, r2, r9\n" \
        "add r8, r8, r9\n" \
        "vmul.f32 s0, s0, s8\n" \
        "vmul.f32 s1, s1, s9\n" \
        "vmul.f32 s2, s2, s10\n" \
        "vmul.f32 s3, s3, s11\n" \
        "vmul.f32 s4, s4, s12\n" \
        "vmul.f32 s5, s5, s13\n" \
        "vmul.f32 s6, s6, s14\n" \
        "vmul.f32 s7, s7, s15\n" \
        "vcvtr.s32.f32 s0, s0\n" \
        "vcvtr.s32.f32 s1, s1\n" \
        "vcvtr.s32.f32 s2, s2\n" \
        "vcvtr.s32.f32 s3, s3\n" \
        "vcvtr.s32.f32 s4, s4\n" \
        "vcvtr.s32.f32 s5, s5\n" \
        "vcvtr.s32.f32 s6, s6\n" \
        "vcvtr.s32.f32 s7, s7\n" \
        EDGERNN_STATIC_DSP_FOUR(bits, "s0", "s1", "s2", "s3") \
        pack \
        EDGERNN_STATIC_DSP_FOUR(bits, "s4", "s5", "s6", "s7") \
        pack \
        "subs.w r10, r10, #1\n" \
        "bne 1b\n" \
        : "+r"(r12) \
        : \
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "s0", "s1", "s2", "s3", \
          "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14", "s15", "cc", \
          "memory")
/* Centers and inverses of eight inputs, also where there is one for all. */
#define EDGERNN_STATIC_DSP_ROW \
    edgernn_static_dsp row = {q, x, center, inverse, 32 * step, k / 8}; \
    float same[2][8]; \
    size_t l; \
    if (k < 8) \
        return 0; \
    for (l = 0; l < 8 && !step; l++) { \
        same[0][l] = *center; \
        same[1][l] = *inverse; \
        row.center = same[0]; \
        row.inverse = same[1]; \
    }

#if EDGERNN_I8_WIDE
EDGERNN_UNUSED static size_t edgernn_quantize_first(edgernn_q8 *q, const float *x,
    const float *center, const float *inverse, size_t step, size_t k)
{
    EDGERNN_STATIC_DSP_ROW
    EDGERNN_STATIC_DSP("8",
        "pkhbt r3, r3, r5, lsl #16\n"
        "pkhbt r4, r4, r6, lsl #16\n"
        "strd r3, r4, [r0], #8\n");
    return k & ~(size_t)7;
}

/* Four at a time. */
EDGERNN_UNUSED static size_t edgernn_narrow_first(edgernn_q8 *q, const int16_t *h, size_t k)
{
    size_t fours = k / 4;
    if (fours > 0)
        __asm__ volatile(
            "1:\n"
            "ldr r3, [%[h]], #4\n"
            "ldr r4, [%[h]], #4\n"
            "and.w r5, %[one], r3, lsr #8\n"
            "and.w r6, %[one], r4, lsr #8\n"
            "qadd16 r3, r3, %[half]\n"
            "qadd16 r4, r4, %[half]\n"
            "qadd16 r3, r3, r5\n"
            "qadd16 r4, r4, r6\n"
            "sxtb16 r3, r3, ror #8\n"
            "sxtb16 r4, r4, ror #8\n"
            "pkhbt r5, r3, r4, lsl #16\n"
            "pkhtb r6, r4, r3, asr #16\n"
            "strd r5, r6, [%[q]], #8\n"
            "subs %[fours], %[fours], #1\n"
            "bne 1b\n"
            : [q] "+&r"(q), [h] "+&r"(h), [fours] "+&r"(fours)
            : [one] "r"(0x00010001u), [half] "r"(0x007f007fu)
            : "r3", "r4", "r5", "r6", "cc", "memory");
    return k & ~(size_t)3;
}
#else
#define edgernn_quantize_first(q, x, center, inverse, step, k) 0
#define edgernn_narrow_first(q, h, k) 0
#endif

/* 16 bits; -32768 becomes -32767. */
EDGERNN_UNUSED static size_t edgernn_quantize_i16_first(int16_t *q, const float *x,
    const float *center, const float *inverse, size_t step, size_t k)
{
    EDGERNN_STATIC_DSP_ROW
    EDGERNN_STATIC_DSP("16",
        "pkhbt r3, r3, r4, lsl #16\n"
        "pkhbt r4, r5, r6, lsl #16\n"
        "mov.w r5, #0x00010001\n"
        "qsub16 r3, r3, r5\n"
        "qsub16 r4, r4, r5\n"
        "uadd16 r3, r3, r5\n"
        "uadd16 r4, r4, r5\n"
        "strd r3, r4, [r0], #8\n");
    return k & ~(size_t)7;
}

/* Four at a time. */
EDGERNN_UNUSED static size_t edgernn_widen_first(float *y, const int16_t *h, float unit, size_t n)
{
    size_t fours = n / 4;
    if (fours > 0)
        __asm__ volatile(
            "vmov s4, %[unit]\n"
            "1:\n"
            "ldr r3, [%[h]], #4\n"
            "ldr r5, [%[h]], #4\n"
            "lsrs r4, r3, #16\n"
            "lsrs r6, r5, #16\n"
            "vmov s0, s1, r3, r4\n"
            "vmov s2, s3, r5, r6\n"
            "vcvt.f32.s16 s0, s0, #0\n"
            "vcvt.f32.s16 s1, s1, #0\n"
            "vcvt.f32.s16 s2, s2, #0\n"
            "vcvt.f32.s16 s3, s3, #0\n"
            "vmul.f32 s0, s0, s4\n"
            "vmul.f32 s1, s1, s4\n"
            "vmul.f32 s2, s2, s4\n"
            "vmul.f32 s3, s3, s4\n"
            "vstmia.32 %[y]!, {s0-s3}\n"
            "subs %[fours], %[fours], #1\n"
            "bne 1b\n"
            : [y] "+&r"(y), [h] "+&r"(h), [fours] "+&r"(fours)
            : [unit] "r"(unit)
            : "r3", "r4", "r5", "r6", "s0", "s1", "s2", "s3", "s4", "cc", "memory");
    return n & ~(size_t)3;
}

#endif
