/* Float products with the FPU of Cortex-M4 and M7. Included by edgernn_linear_f32.h. */
#if defined(__ARM_FP) && (__ARM_FP & 4) && defined(__ARM_FEATURE_FMA) && __ARM_ARCH_PROFILE == 'M'
#define EDGERNN_F32_DSP 1

/* In registers, in this order: r0-r6, r8. */
typedef struct {
    float *y;
    const float *start, *x, *x_main, *x_end, *w, *w_end; /* x_main: after whole eights */
    uint32_t skip;
} edgernn_f32_row;

#define EDGERNN_FMA4(w0, w1, w2, w3, x) \
    "vfma.f32 s0, " w0 ", " x "\n" \
    "vfma.f32 s1, " w1 ", " x "\n" \
    "vfma.f32 s2, " w2 ", " x "\n" \
    "vfma.f32 s3, " w3 ", " x "\n"
/* Four inputs of four rows: 17 instructions for 16 products. */
#define EDGERNN_FMA16(x0, x1, x2, x3) \
    "vldmia r5!, {s4-s19}\n" \
    EDGERNN_FMA4("s4", "s5", "s6", "s7", x0) \
    EDGERNN_FMA4("s8", "s9", "s10", "s11", x1) \
    EDGERNN_FMA4("s12", "s13", "s14", "s15", x2) \
    EDGERNN_FMA4("s16", "s17", "s18", "s19", x3)

/* Eight inputs of four rows: 140 bytes of code. */
#define EDGERNN_FMA32 \
    "vldmia r10!, {s20-s27}\n" \
    EDGERNN_FMA16("s20", "s21", "s22", "s23") \
    EDGERNN_FMA16("s24", "s25", "s26", "s27")

/* One row of inputs and whole blocks of weights. The loop over eights of inputs is unrolled four
 * times; r9 is the address in it where the first pass begins, r10 the inputs still to come.
 */
EDGERNN_UNUSED __attribute__((noinline)) static void edgernn_linear_f32_row(const edgernn_f32_row *row)
{
    register const edgernn_f32_row *r12 __asm__("r12") = row;
    __asm__ volatile(
        "ldmia.w r12, {r0, r1, r2, r3, r4, r5, r6, r8}\n"
        "adr.w r9, 2f + 1\n"
        "mov.w r10, #140\n"
        "mla r9, r8, r10, r9\n"
        "1:\n"
        "vldmia r1!, {s0-s3}\n"
        "mov r10, r2\n"
        "bx r9\n"
        "2:\n"
        ".rept 4\n"
        EDGERNN_FMA32
        ".endr\n"
        "cmp r10, r3\n"
        "bne.w 2b\n"
        "cmp r10, r4\n"
        "beq 5f\n"
        "4:\n"
        "vldmia r10!, {s20}\n"
        "vldmia r5!, {s4-s7}\n"
        EDGERNN_FMA4("s4", "s5", "s6", "s7", "s20")
        "cmp r10, r4\n"
        "bne 4b\n"
        "5:\n"
        "vstmia r0!, {s0-s3}\n"
        "cmp r5, r6\n"
        "bne.w 1b\n"
        : "+r"(r12)
        :
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "s0", "s1", "s2", "s3",
          "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14", "s15", "s16",
          "s17", "s18", "s19", "s20", "s21", "s22", "s23", "s24", "s25", "s26", "s27", "cc",
          "memory");
}
#endif

/* The interface is described in edgernn_linear_f32.h; a block has four rows. */
EDGERNN_UNUSED static void edgernn_linear_f32(float *y, size_t y_stride, const float *start,
    size_t start_stride, const float *x, size_t x_stride, const float *w, size_t m, size_t n,
    size_t k)
{
    size_t first, last, i, j, l;
    /* With several rows of inputs, about 8 KiB of weights at a time: what a cache may hold. */
    size_t tile = m > 1 && k > 0 ? 4 * (512 / k + (k > 512)) : n;
    for (first = 0; first < n; first = last) {
        last = n - first > tile ? first + tile : n;
        for (i = 0; i < m; i++) {
            const float *xi = x + i * x_stride, *before = start ? start + i * start_stride : NULL;
            float *yi = y + i * y_stride;
            j = first;
#ifdef EDGERNN_F32_DSP
            if (last - first >= 4 && k > 0) {
                edgernn_f32_row row;
                if (!start) {
                    for (l = first; l < last; l++)
                        yi[l] = 0.0f;
                    before = yi;
                }
                j += (last - first) / 4 * 4;
                row.y = yi + first;
                row.start = before + first;
                row.x = xi;
                row.x_main = xi + k / 8 * 8;
                row.x_end = xi + k;
                row.w = w + first * k;
                row.w_end = w + j * k;
                row.skip = k < 8 ? 4 : (4 - k / 8 % 4) % 4;
                edgernn_linear_f32_row(&row);
            }
#endif
            for (; j < last; j++) {
                const float *wj = w + j / 4 * 4 * k + j % 4;
                float sum = before ? before[j] : 0.0f;
                for (l = 0; l < k; l++)
                    sum = edgernn_madd(xi[l], wj[4 * l], sum);
                yi[j] = sum;
            }
        }
    }
}
