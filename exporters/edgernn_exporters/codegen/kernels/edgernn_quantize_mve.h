/* Rounding of float rows with Helium (Cortex-M55). Included by edgernn_quantize.h.
 *
 * Whole sixteens of a row are handled by the assembly below, with the bits of the portable code.
 * Helium has no division: the scalar one works on its registers.
 */
#if !EDGERNN_I8_WIDE

#define EDGERNN_MVE_DIVIDE(s0, s1, s2, s3) \
    "vdiv.f32 " s0 ", " s0 ", s16\n" \
    "vdiv.f32 " s1 ", " s1 ", s16\n" \
    "vdiv.f32 " s2 ", " s2 ", s16\n" \
    "vdiv.f32 " s3 ", " s3 ", s16\n"
#define EDGERNN_MVE_DIVIDE_16 \
    "vldrw.u32 q0, [%[x]], #16\n" \
    EDGERNN_MVE_DIVIDE("s0", "s1", "s2", "s3") \
    "vldrw.u32 q1, [%[x]], #16\n" \
    EDGERNN_MVE_DIVIDE("s4", "s5", "s6", "s7") \
    "vcvtn.s32.f32 q0, q0\n" \
    "vldrw.u32 q2, [%[x]], #16\n" \
    EDGERNN_MVE_DIVIDE("s8", "s9", "s10", "s11") \
    "vcvtn.s32.f32 q1, q1\n" \
    "vldrw.u32 q3, [%[x]], #16\n" \
    EDGERNN_MVE_DIVIDE("s12", "s13", "s14", "s15") \
    "vcvtn.s32.f32 q2, q2\n" \
    "vcvtn.s32.f32 q3, q3\n"
#define EDGERNN_MVE_STORE_16 \
    "vstrb.32 q0, [%[q]], #4\n" \
    "vstrb.32 q1, [%[q]], #4\n" \
    "vstrb.32 q2, [%[q]], #4\n" \
    "vstrb.32 q3, [%[q]], #4\n"

/* The largest |x| of 16 * count inputs. */
static inline float edgernn_top_mve(const float *x, size_t count)
{
    uint32_t top = 0;
    __asm__ volatile(
        "dls lr, %[count]\n"
        "1:\n"
        "vldrw.u32 q0, [%[x]], #16\n"
        "vldrw.u32 q1, [%[x]], #16\n"
        "vmaxnmav.f32 %[top], q0\n"
        "vldrw.u32 q2, [%[x]], #16\n"
        "vmaxnmav.f32 %[top], q1\n"
        "vldrw.u32 q3, [%[x]], #16\n"
        "vmaxnmav.f32 %[top], q2\n"
        "vmaxnmav.f32 %[top], q3\n"
        "le lr, 1b\n"
        : [x] "+&r"(x), [top] "+&r"(top)
        : [count] "r"(count)
        : "lr", "q0", "q1", "q2", "q3", "memory");
    return edgernn_from_bits(top);
}

/* Divide and round 16 * count inputs. The largest |x| / unit of a row is 127. */
static inline void edgernn_divide_mve(edgernn_q8 *q, const float *x, float unit, size_t count)
{
    __asm__ volatile(
        "vmov s16, %[unit]\n"
        "dls lr, %[count]\n"
        "1:\n"
        EDGERNN_MVE_DIVIDE_16
        EDGERNN_MVE_STORE_16
        "le lr, 1b\n"
        : [x] "+&r"(x), [q] "+&l"(q)
        : [unit] "r"(unit), [count] "r"(count)
        : "lr", "q0", "q1", "q2", "q3", "q4", "memory");
}

/* The same with the fixed unit 1/127; what is outside -128..127 saturates. */
static inline void edgernn_divide_unit_mve(edgernn_q8 *q, const float *h, size_t count)
{
    __asm__ volatile(
        "vmov s16, %[unit]\n"
        "vmov.i32 q5, #127\n"
        "vmvn.i32 q6, #127\n"
        "dls lr, %[count]\n"
        "1:\n"
        EDGERNN_MVE_DIVIDE_16
        "vmin.s32 q0, q0, q5\n"
        "vmin.s32 q1, q1, q5\n"
        "vmin.s32 q2, q2, q5\n"
        "vmin.s32 q3, q3, q5\n"
        "vmax.s32 q0, q0, q6\n"
        "vmax.s32 q1, q1, q6\n"
        "vmax.s32 q2, q2, q6\n"
        "vmax.s32 q3, q3, q6\n"
        EDGERNN_MVE_STORE_16
        "le lr, 1b\n"
        : [x] "+&r"(h), [q] "+&l"(q)
        : [unit] "r"(EDGERNN_UNIT), [count] "r"(count)
        : "lr", "q0", "q1", "q2", "q3", "q4", "q5", "q6", "memory");
}
#endif

/* u = max(max|x| * (1/127), 1e-30); q = rint(x / u); return u. q[k..] up to whole groups is 0. */
EDGERNN_UNUSED static float edgernn_quantize_row(edgernn_q8 *q, const float *x, size_t k)
{
    size_t l, done = 0;
    float top = 0.0f, unit;
#if !EDGERNN_I8_WIDE
    done = k & ~(size_t)15;
    if (done > 0)
        top = edgernn_top_mve(x, done / 16);
#endif
    for (l = done; l < k; l++) {
        float size = edgernn_from_bits(edgernn_bits(x[l]) & 0x7fffffffu);
        top = size > top ? size : top;
    }
    unit = top * EDGERNN_UNIT;
    unit = unit < 1e-30f ? 1e-30f : unit;
#if !EDGERNN_I8_WIDE
    if (done > 0)
        edgernn_divide_mve(q, x, unit, done / 16);
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
#if !EDGERNN_I8_WIDE
    done = k & ~(size_t)15;
    if (done > 0)
        edgernn_divide_unit_mve(q, h, done / 16);
#endif
    for (l = done; l < k; l++) {
        float x = h[l] / EDGERNN_UNIT;
        x = x > 127.0f ? 127.0f : x;
        x = x < -128.0f ? -128.0f : x;
        q[edgernn_quantized_place(l)] = edgernn_quantize_one(x);
    }
    edgernn_quantize_padding(q, k);
}
