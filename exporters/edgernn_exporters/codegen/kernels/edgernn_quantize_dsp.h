/* Rounding of float rows with the instructions of Cortex-M4 and M7. Included by edgernn_quantize.h.
 *
 * Whole eights of a row are handled by the assembly below: int16 in the order 0, 2, 1, 3 of each
 * four. The same bits as the portable code. x and q start at multiples of 4 bytes.
 */
#if EDGERNN_I8_WIDE && defined(__ARM_FP) && (__ARM_FP & 4) && __ARM_ARCH_PROFILE == 'M'
#define EDGERNN_QUANTIZE_DSP 1

/* max(top, 2 * |x|) as bits, sign shifted out. */
#define EDGERNN_TOP(x) "cmp.w %0, " x ", lsl #1\n it lo\n lsllo.w %0, " x ", #1\n"

/* The largest |x| of 8 * eights inputs, as bits. */
static inline uint32_t edgernn_top_dsp(const float *x, size_t eights)
{
    uint32_t top = 0;
    __asm__ volatile("1:\n"
            "ldmia.w %1!, {r3, r4, r5, r6, r8, r9, r10, r11}\n"
            EDGERNN_TOP("r3") EDGERNN_TOP("r4") EDGERNN_TOP("r5") EDGERNN_TOP("r6")
            EDGERNN_TOP("r8") EDGERNN_TOP("r9") EDGERNN_TOP("r10") EDGERNN_TOP("r11")
            "subs %2, %2, #1\n"
            "bne 1b\n"
            : "+&r"(top), "+&r"(x), "+&r"(eights)
            :
            : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "cc", "memory");
    return top >> 1;
}

/* r3 to r6 and r8 to r11 = the next eight of %1, divided by s8 and rounded. */
#define EDGERNN_DIVIDE_EIGHT \
    "vldmia %1!, {s0-s7}\n" \
    "vdiv.f32 s0, s0, s8\n" \
    "vdiv.f32 s1, s1, s8\n" \
    "vdiv.f32 s2, s2, s8\n" \
    "vdiv.f32 s3, s3, s8\n" \
    "vdiv.f32 s4, s4, s8\n" \
    "vdiv.f32 s5, s5, s8\n" \
    "vdiv.f32 s6, s6, s8\n" \
    "vdiv.f32 s7, s7, s8\n" \
    "vcvtr.s32.f32 s0, s0\n" \
    "vcvtr.s32.f32 s1, s1\n" \
    "vcvtr.s32.f32 s2, s2\n" \
    "vcvtr.s32.f32 s3, s3\n" \
    "vcvtr.s32.f32 s4, s4\n" \
    "vcvtr.s32.f32 s5, s5\n" \
    "vcvtr.s32.f32 s6, s6\n" \
    "vcvtr.s32.f32 s7, s7\n" \
    "vmov r3, r4, s0, s1\n" \
    "vmov r5, r6, s2, s3\n" \
    "vmov r8, r9, s4, s5\n" \
    "vmov r10, r11, s6, s7\n"

/* Store them to %0 as int16. */
#define EDGERNN_PACK_EIGHT \
    "pkhbt r3, r3, r5, lsl #16\n" \
    "pkhbt r4, r4, r6, lsl #16\n" \
    "pkhbt r5, r8, r10, lsl #16\n" \
    "pkhbt r6, r9, r11, lsl #16\n" \
    "stmia.w %0!, {r3, r4, r5, r6}\n"

/* Divide and round 8 * eights inputs. The largest |x| / unit of a row is 127. */
static inline void edgernn_divide_dsp(edgernn_q8 *q, const float *x, float unit, size_t eights)
{
    __asm__ volatile("vmov s8, %3\n"
            "1:\n"
            EDGERNN_DIVIDE_EIGHT
            EDGERNN_PACK_EIGHT
            "subs %2, %2, #1\n"
            "bne 1b\n"
            : "+&r"(q), "+&r"(x), "+&r"(eights)
            : "r"(unit)
            : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "s0", "s1", "s2", "s3", "s4", "s5",
              "s6", "s7", "s8", "cc", "memory");
}

/* The same with the fixed unit 1/127; what is outside -128..127 saturates. */
static inline void edgernn_divide_unit_dsp(edgernn_q8 *q, const float *h, size_t eights)
{
    __asm__ volatile("vmov s8, %3\n"
            "1:\n"
            EDGERNN_DIVIDE_EIGHT
            "ssat r3, #8, r3\n"
            "ssat r4, #8, r4\n"
            "ssat r5, #8, r5\n"
            "ssat r6, #8, r6\n"
            "ssat r8, #8, r8\n"
            "ssat r9, #8, r9\n"
            "ssat r10, #8, r10\n"
            "ssat r11, #8, r11\n"
            EDGERNN_PACK_EIGHT
            "subs %2, %2, #1\n"
            "bne 1b\n"
            : "+&r"(q), "+&r"(h), "+&r"(eights)
            : "r"(EDGERNN_UNIT)
            : "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "s0", "s1", "s2", "s3", "s4", "s5",
              "s6", "s7", "s8", "cc", "memory");
}
#endif

/* u = max(max|x| * (1/127), 1e-30); q = rint(x / u); return u. q[k..] up to whole groups is 0. */
EDGERNN_UNUSED static float edgernn_quantize_row(edgernn_q8 *q, const float *x, size_t k)
{
    uint32_t top = 0; /* floats without their sign compare like their bits */
    size_t l, done = 0;
    float unit;
#ifdef EDGERNN_QUANTIZE_DSP
    done = k & ~(size_t)7;
    if (done > 0)
        top = edgernn_top_dsp(x, done / 8);
#endif
    for (l = done; l < k; l++) {
        uint32_t bits = edgernn_bits(x[l]) & 0x7fffffffu;
        top = bits > top ? bits : top;
    }
    unit = edgernn_from_bits(top) * EDGERNN_UNIT;
    unit = unit < 1e-30f ? 1e-30f : unit;
#ifdef EDGERNN_QUANTIZE_DSP
    if (done > 0)
        edgernn_divide_dsp(q, x, unit, done / 8);
#endif
    for (l = done; l < k; l++)
        q[edgernn_quantized_place(l)] = edgernn_quantize_one(x[l] / unit);
    edgernn_quantize_padding(q, k);
    return unit;
}

/* q = clip(rint(h / (1/127)), -128, 127). q[k..] up to whole groups is 0. */
EDGERNN_UNUSED static void edgernn_quantize_unit(edgernn_q8 *q, const float *h, size_t k)
{
    size_t l, done = 0;
#ifdef EDGERNN_QUANTIZE_DSP
    done = k & ~(size_t)7;
    if (done > 0)
        edgernn_divide_unit_dsp(q, h, done / 8);
#endif
    for (l = done; l < k; l++) {
        float x = h[l] / EDGERNN_UNIT;
        x = x > 127.0f ? 127.0f : x;
        x = x < -128.0f ? -128.0f : x;
        q[edgernn_quantized_place(l)] = edgernn_quantize_one(x);
    }
    edgernn_quantize_padding(q, k);
}
