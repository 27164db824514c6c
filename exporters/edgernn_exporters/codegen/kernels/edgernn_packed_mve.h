/* Blocks of four rows of packed weights with Helium (Cortex-M55). Included by
 * edgernn_linear_i4_mve.h and edgernn_linear_w8a16_mve.h.
 *
 * The bits are those of the portable code, except that Helium makes 0 of products and terms below
 * 2^-126.
 */
#ifndef EDGERNN_PACKED_MVE_H
#define EDGERNN_PACKED_MVE_H

/* One row of inputs and whole blocks of weights. In registers, in this order: r0, r1, r3, r5,
 * r9-r12.
 */
typedef struct {
    float *y;
    const float *start;
    const void *q;
    const uint8_t *w;
    const float *w_scale;
    int32_t first; /* where the sums begin */
    size_t blocks, groups;
} edgernn_packed_row_mve;

typedef void edgernn_blocks_mve(const edgernn_packed_row_mve *row);

/* (first + sums in r2, r4, r6, r8) * w_scale + start */
#define EDGERNN_PACKED_MVE_END \
    "vldrw.u32 q5, [r9], #16\n" \
    "vmov q4[2], q4[0], r2, r6\n" \
    "vmov q4[3], q4[1], r4, r8\n" \
    "vadd.i32 q4, q4, r10\n" \
    "vcvt.f32.s32 q4, q4\n" \
    "vmul.f32 q4, q4, q5\n" \
    "vldrw.u32 q5, [r1], #16\n" \
    "vadd.f32 q4, q4, q5\n" \
    "vstrw.32 q4, [r0], #16\n"
#define EDGERNN_PACKED_MVE_ASM(code) \
    __asm__ volatile("ldmia.w r12, {r0, r1, r3, r5, r9, r10, r11, r12}\n" code \
        : "+r"(r12) \
        : \
        : "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r8", "r9", "r10", "r11", "lr", "q0", "q1", \
          "q2", "q3", "q4", "q5", "q6", "q7", "cc", "memory")
/* Blocks of any number of groups; `group` loads its 1 << shift bytes of inputs. */
#define EDGERNN_PACKED_MVE_LOOP(group, shift) \
    "1:\n" \
    "movs r2, #0\n" \
    "movs r4, #0\n" \
    "movs r6, #0\n" \
    "mov.w r8, #0\n" \
    "lsrs.w lr, r12, #2\n" \
    "wls lr, lr, 3f\n" \
    "2:\n" \
    group group group group \
    "le lr, 2b\n" \
    "3:\n" \
    "and.w lr, r12, #3\n" \
    "wls lr, lr, 5f\n" \
    "4:\n" \
    group \
    "le lr, 4b\n" \
    "5:\n" \
    "sub.w r3, r3, r12, lsl #" shift "\n" \
    EDGERNN_PACKED_MVE_END \
    "subs.w r11, r11, #1\n" \
    "bne.w 1b\n"

/* One row of inputs; `bytes` are those of a block of weights. */
EDGERNN_INLINE void edgernn_packed_mve(float *y, const float *start, const void *q,
    const uint8_t *w, const float *w_scale, int32_t first, size_t n, size_t groups, size_t bytes,
    edgernn_blocks_mve *blocks)
{
    const size_t whole = n / 4;
    edgernn_packed_row_mve row = {y, start, q, w, w_scale, first, whole, groups};
    size_t r;
    if (!start) {
        for (r = 0; r < n; r++)
            y[r] = -0.0f; /* the only value that changes nothing when added */
        row.start = y;
    }
    if (whole > 0)
        blocks(&row);
    if (4 * whole < n) {
        float end[4] = {0}, end_scale[4] = {0};
        const size_t rest = n - 4 * whole;
        memcpy(end, row.start + 4 * whole, rest * sizeof *end);
        memcpy(end_scale, w_scale + 4 * whole, rest * sizeof *end);
        row.y = end;
        row.start = end;
        row.w = w + whole * bytes;
        row.w_scale = end_scale;
        row.blocks = 1;
        blocks(&row);
        memcpy(y + 4 * whole, end, rest * sizeof *end);
    }
}

#endif
