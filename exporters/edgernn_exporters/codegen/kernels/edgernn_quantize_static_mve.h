/* Rounding with given scales, and states, with Helium (Cortex-M55). Included by
 * edgernn_quantize_static.h; each function does all numbers and returns how many. Helium makes 0 of
 * differences and products below 2^-126.
 */
#ifndef EDGERNN_QUANTIZE_STATIC_MVE_H
#define EDGERNN_QUANTIZE_STATIC_MVE_H

#define EDGERNN_INPUTS_DONE(call) (call)

/* Four inputs at a time, fewer at the end; `load` gives centers in q1 and inverses in q2. */
#define EDGERNN_STATIC_MVE(load, store, high) \
    __asm__ volatile( \
        "vdup.32 q3, %[least]\n" \
        "vdup.32 q4, %[most]\n" \
        "ldr %[least], [%[center]]\n" \
        "vdup.32 q1, %[least]\n" \
        "ldr %[least], [%[inverse]]\n" \
        "vdup.32 q2, %[least]\n" \
        "dlstp.32 lr, %[k]\n" \
        "1:\n" \
        "vldrw.u32 q0, [%[x]], #16\n" \
        load \
        "vsub.f32 q0, q0, q1\n" \
        "vmul.f32 q0, q0, q2\n" \
        "vcvtn.s32.f32 q0, q0\n" \
        "vmax.s32 q0, q0, q3\n" \
        "vmin.s32 q0, q0, q4\n" \
        store \
        "letp lr, 1b\n" \
        : [q] "+&l"(q), [x] "+&r"(x), [center] "+&r"(center), [inverse] "+&r"(inverse), \
          [least] "+&r"(least) \
        : [most] "r"(high), [k] "r"(k) \
        : "lr", "q0", "q1", "q2", "q3", "q4", "cc", "memory")
#define EDGERNN_STATIC_MVE_EACH(store, low, high) \
    do { \
        int32_t least = low; \
        if (k > 0 && step) \
            EDGERNN_STATIC_MVE("vldrw.u32 q1, [%[center]], #16\n" \
                               "vldrw.u32 q2, [%[inverse]], #16\n", store, high); \
        else if (k > 0) \
            EDGERNN_STATIC_MVE("", store, high); \
    } while (0)

#if !EDGERNN_I8_WIDE
EDGERNN_UNUSED static size_t edgernn_quantize_first(edgernn_q8 *q, const float *x,
    const float *center, const float *inverse, size_t step, size_t k)
{
    EDGERNN_STATIC_MVE_EACH("vstrb.32 q0, [%[q]], #4\n", -128, 127);
    return k;
}

EDGERNN_UNUSED static size_t edgernn_narrow_first(edgernn_q8 *q, const int16_t *h, size_t k)
{
    if (k > 0)
        __asm__ volatile(
            "dlstp.16 lr, %[k]\n"
            "1:\n"
            "vldrh.u16 q0, [%[h]], #16\n"
            "vshr.u16 q1, q0, #8\n"
            "vbic.i16 q1, #0xfe\n"
            "vqadd.s16 q0, q0, %[half]\n"
            "vqadd.s16 q0, q0, q1\n"
            "vshr.s16 q0, q0, #8\n"
            "vstrb.16 q0, [%[q]], #8\n"
            "letp lr, 1b\n"
            : [q] "+&l"(q), [h] "+&r"(h)
            : [half] "r"(127), [k] "r"(k)
            : "lr", "q0", "q1", "cc", "memory");
    return k;
}
#else
#define edgernn_quantize_first(q, x, center, inverse, step, k) 0
#define edgernn_narrow_first(q, h, k) 0
#endif

EDGERNN_UNUSED static size_t edgernn_quantize_i16_first(int16_t *q, const float *x,
    const float *center, const float *inverse, size_t step, size_t k)
{
    EDGERNN_STATIC_MVE_EACH("vstrh.32 q0, [%[q]], #8\n", -32767, 32767);
    return k;
}

EDGERNN_UNUSED static size_t edgernn_widen_first(float *y, const int16_t *h, float unit, size_t n)
{
    if (n > 0)
        __asm__ volatile(
            "dlstp.32 lr, %[n]\n"
            "1:\n"
            "vldrh.s32 q0, [%[h]], #8\n"
            "vcvt.f32.s32 q0, q0\n"
            "vmul.f32 q0, q0, %[unit]\n"
            "vstrw.32 q0, [%[y]], #16\n"
            "letp lr, 1b\n"
            : [y] "+&r"(y), [h] "+&l"(h)
            : [unit] "r"(unit), [n] "r"(n)
            : "lr", "q0", "cc", "memory");
    return n;
}

#endif
