/* int8 products with Helium (Cortex-M55). Included by edgernn_linear_i8.h.
 *
 * Weights are [ceil(n / 4)][ceil(k / 16)][4][16], zero padded: four rows share a vector of 16
 * inputs. Up to 64 inputs stay in registers for all rows. The bits are those of the portable code,
 * except that Helium makes 0 of products and terms below 2^-126.
 */

/* In registers, in this order: r0, r1, r3, r5, r9-r12. Blocks of four rows, groups of 16 inputs. */
typedef struct {
    float *y;
    const float *start;
    const edgernn_q8 *q;
    const int8_t *w;
    const float *w_scale;
    float x_scale;
    size_t blocks, groups;
} edgernn_i8_row;

/* r2, r4, r6, r8: sums of four rows; q4, q5: weights. */
#define EDGERNN_I8_MVE_GROUP(dot, x) \
    "vldrb.u8 q4, [r5], #16\n" \
    "vldrb.u8 q5, [r5], #16\n" \
    dot " r2, q4, " x "\n" \
    "vldrb.u8 q4, [r5], #16\n" \
    dot " r4, q5, " x "\n" \
    "vldrb.u8 q5, [r5], #16\n" \
    dot " r6, q4, " x "\n" \
    dot " r8, q5, " x "\n"
/* float(sum) * w_scale * x_scale + start */
#define EDGERNN_I8_MVE_END \
    "vldrw.u32 q5, [r9], #16\n" \
    "vmov q4[2], q4[0], r2, r6\n" \
    "vmov q4[3], q4[1], r4, r8\n" \
    "vcvt.f32.s32 q4, q4\n" \
    "vmul.f32 q4, q4, q5\n" \
    "vldrw.u32 q5, [r1], #16\n" \
    "vmul.f32 q4, q4, r10\n" \
    "vadd.f32 q4, q4, q5\n" \
    "vstrw.32 q4, [r0], #16\n"
#define EDGERNN_I8_MVE_ASM(code) \
    __asm__ volatile("ldmia.w r12, {r0, r1, r3, r5, r9, r10, r11, r12}\n" code \
        : "+r"(r12) \
        : \
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "lr", "q0", "q1", \
          "q2", "q3", "q4", "q5", "cc", "memory")

/* One row of inputs, whole blocks of weights. */
EDGERNN_UNUSED __attribute__((noinline)) static void edgernn_linear_i8_row(const edgernn_i8_row *row)
{
    register const edgernn_i8_row *r12 __asm__("r12") = row;
    if (row->groups == 4)
        EDGERNN_I8_MVE_ASM(
            "vldrb.u8 q0, [r3], #16\n"
            "vldrb.u8 q1, [r3], #16\n"
            "vldrb.u8 q2, [r3], #16\n"
            "vldrb.u8 q3, [r3], #16\n"
            "dls lr, r11\n"
            "1:\n"
            EDGERNN_I8_MVE_GROUP("vmladav.s8", "q0")
            EDGERNN_I8_MVE_GROUP("vmladava.s8", "q1")
            EDGERNN_I8_MVE_GROUP("vmladava.s8", "q2")
            EDGERNN_I8_MVE_GROUP("vmladava.s8", "q3")
            EDGERNN_I8_MVE_END
            "le lr, 1b\n");
    else if (row->groups == 3)
        EDGERNN_I8_MVE_ASM(
            "vldrb.u8 q0, [r3], #16\n"
            "vldrb.u8 q1, [r3], #16\n"
            "vldrb.u8 q2, [r3], #16\n"
            "dls lr, r11\n"
            "1:\n"
            EDGERNN_I8_MVE_GROUP("vmladav.s8", "q0")
            EDGERNN_I8_MVE_GROUP("vmladava.s8", "q1")
            EDGERNN_I8_MVE_GROUP("vmladava.s8", "q2")
            EDGERNN_I8_MVE_END
            "le lr, 1b\n");
    else if (row->groups == 2)
        EDGERNN_I8_MVE_ASM(
            "vldrb.u8 q0, [r3], #16\n"
            "vldrb.u8 q1, [r3], #16\n"
            "dls lr, r11\n"
            "1:\n"
            EDGERNN_I8_MVE_GROUP("vmladav.s8", "q0")
            EDGERNN_I8_MVE_GROUP("vmladava.s8", "q1")
            EDGERNN_I8_MVE_END
            "le lr, 1b\n");
    else
        EDGERNN_I8_MVE_ASM(
            "1:\n"
            "movs r2, #0\n"
            "movs r4, #0\n"
            "movs r6, #0\n"
            "mov.w r8, #0\n"
            "lsrs.w lr, r12, #1\n"
            "wls lr, lr, 3f\n"
            "2:\n"
            "vldrb.u8 q0, [r3], #16\n"
            EDGERNN_I8_MVE_GROUP("vmladava.s8", "q0")
            "vldrb.u8 q1, [r3], #16\n"
            EDGERNN_I8_MVE_GROUP("vmladava.s8", "q1")
            "le lr, 2b\n"
            "3:\n"
            "lsls.w lr, r12, #31\n"
            "bpl 4f\n"
            "vldrb.u8 q0, [r3], #16\n"
            EDGERNN_I8_MVE_GROUP("vmladava.s8", "q0")
            "4:\n"
            "sub.w r3, r3, r12, lsl #4\n"
            EDGERNN_I8_MVE_END
            "subs.w r11, r11, #1\n"
            "bne 1b\n");
}

/* The interface is described in edgernn_linear_i8.h, the layout above. */
EDGERNN_UNUSED static void edgernn_linear_i8(float *y, size_t y_stride, const float *start,
    size_t start_stride, const edgernn_q8 *q, size_t q_stride, const float *x_scale,
    const int8_t *w, const int32_t *w_sums, const float *w_scale, size_t m, size_t n, size_t k)
{
    size_t groups = edgernn_quantized_size(k) / 16;
    size_t first, last, i, r;
    /* With several rows of inputs, about 8 KiB of weights at a time: what a cache may hold. */
    size_t tile = m > 1 && groups > 0 ? 4 * (128 / groups + (groups > 128)) : n;
    for (first = 0; first < n; first = last) {
        last = n - first > tile ? first + tile : n;
        for (i = 0; i < m; i++) {
            const edgernn_q8 *qi = q + i * q_stride;
            const float *before = start ? start + i * start_stride : NULL;
            float *yi = y + i * y_stride;
            size_t blocks = (last - first) / 4, whole = first + 4 * blocks;
            edgernn_i8_row row;
            if (!start) {
                for (r = first; r < last; r++)
                    yi[r] = -0.0f; /* the only value that changes nothing when added */
                before = yi;
            }
            row.q = qi;
            row.x_scale = x_scale ? x_scale[i] : 1.0f;
            row.groups = groups;
            if (blocks > 0) {
                row.y = yi + first;
                row.start = before + first;
                row.w = w + 16 * first * groups;
                row.w_scale = w_scale + first;
                row.blocks = blocks;
                edgernn_linear_i8_row(&row);
            }
            if (whole < last) {
                float end[4] = {0}, end_scale[4] = {0};
                for (r = 0; r < last - whole; r++) {
                    end[r] = before[whole + r];
                    end_scale[r] = w_scale[whole + r];
                }
                row.y = end;
                row.start = end;
                row.w = w + 16 * whole * groups;
                row.w_scale = end_scale;
                row.blocks = 1;
                edgernn_linear_i8_row(&row);
                for (r = 0; r < last - whole; r++)
                    yi[whole + r] = end[r];
            }
        }
    }
    (void)w_sums;
}
