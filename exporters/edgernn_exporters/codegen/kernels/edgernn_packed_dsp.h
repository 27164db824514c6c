/* Blocks of four rows of packed weights, with the FPU of Cortex-M4 and M7. Included by
 * edgernn_linear_i4_dsp.h and edgernn_linear_w8a16_dsp.h. Inputs and weights start at multiples of
 * 4 bytes.
 */
#ifndef EDGERNN_PACKED_DSP_H
#define EDGERNN_PACKED_DSP_H

/* One row of inputs and whole blocks of weights. */
typedef struct {
    const int16_t *q;
    size_t turns; /* of the loop over groups of inputs */
    float *y;
    const float *start, *w_scale;
    size_t blocks;
    uint32_t enter; /* groups that the first turn leaves out; the code makes an address of it */
    int32_t first[4]; /* where the sums begin */
} edgernn_packed_row_dsp;

/* `group` is code of `bytes` bytes for a group of inputs, `unroll` times in the loop. It finds
 * weights at r0 and inputs at r1, adds to r2-r5, and more registers that `more` clears, and may use
 * all others but lr. Then `sums` makes the sums of the rows in r2-r5, times powers of two that the
 * conversions `by1`-`by3` take off again.
 */
#define EDGERNN_PACKED_DSP_BLOCKS(row, w, unroll, bytes, group, more, sums, by1, by2, by3) \
    register edgernn_packed_row_dsp *r6 __asm__("r6") = row; \
    register const void *r0 __asm__("r0") = w; \
    __asm__ volatile( \
        "push {r7}\n" /* may be the frame pointer, so it cannot be named as clobbered */ \
        "vmov s12, r6\n" \
        "ldr r7, [r6, #24]\n" \
        "adr.w r9, 2f + 1\n" \
        "mov.w r10, #" bytes "\n" \
        "mla r9, r7, r10, r9\n" \
        "str r9, [r6, #24]\n" \
        "1:\n" \
        "ldrd r1, lr, [r6]\n" \
        "add.w r12, r6, #28\n" \
        "ldr r9, [r6, #24]\n" \
        "ldm.w r12, {r2, r3, r4, r5}\n" \
        more \
        "bx r9\n" \
        ".p2align 2\n" \
        "2:\n" \
        ".rept " unroll "\n" \
        group \
        ".endr\n" \
        "subs.w lr, lr, #1\n" \
        "bne.w 2b\n" \
        sums \
        "vmov r6, s12\n" \
        "vmov s0, s1, r2, r3\n" \
        "ldrd r8, r9, [r6, #8]\n" \
        "vmov s2, s3, r4, r5\n" \
        "ldrd r10, r11, [r6, #16]\n" \
        "vcvt.f32.s32 s0, s0\n" \
        "vcvt.f32.s32 s1, s1" by1 "\n" \
        "vcvt.f32.s32 s2, s2" by2 "\n" \
        "vcvt.f32.s32 s3, s3" by3 "\n" \
        "vldmia.32 r10!, {s4-s7}\n" \
        "vldmia.32 r9!, {s8-s11}\n" \
        "vmul.f32 s0, s0, s4\n" \
        "vmul.f32 s1, s1, s5\n" \
        "vmul.f32 s2, s2, s6\n" \
        "vmul.f32 s3, s3, s7\n" \
        "vadd.f32 s0, s0, s8\n" \
        "vadd.f32 s1, s1, s9\n" \
        "vadd.f32 s2, s2, s10\n" \
        "vadd.f32 s3, s3, s11\n" \
        "subs.w r11, r11, #1\n" \
        "vstmia.32 r8!, {s0-s3}\n" \
        "strd r10, r11, [r6, #16]\n" \
        "strd r8, r9, [r6, #8]\n" \
        "bne.w 1b\n" \
        "pop {r7}\n" \
        : "+r"(r6), "+r"(r0) \
        : \
        : "r1", "r2", "r3", "r4", "r5", "r8", "r9", "r10", "r11", "r12", "lr", "s0", "s1", "s2", \
          "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "cc", "memory")

/* The sums of a block's four rows, and whole blocks; a block takes 16 bytes for each group. */
typedef void edgernn_sums_dsp(int32_t *sum, const int16_t *q, const uint8_t *w, size_t groups);
typedef void edgernn_blocks_dsp(edgernn_packed_row_dsp *row, const void *w);

/* One row of inputs. `blocks` is NULL where it cannot be used. */
EDGERNN_INLINE void edgernn_packed_dsp(edgernn_packed_row_dsp *row, float *y, const float *start,
    const int16_t *q, const uint8_t *w, const float *w_scale, size_t n, size_t groups,
    size_t unroll, edgernn_blocks_dsp *blocks, edgernn_sums_dsp *sums)
{
    const size_t whole = blocks && groups > 0 ? n / 4 : 0;
    size_t j, r;
    if (whole > 0) {
        if (!start) {
            for (j = 0; j < n; j++)
                y[j] = -0.0f; /* the only value that changes nothing when added */
            start = y;
        }
        row->q = q;
        row->turns = (groups + unroll - 1) / unroll;
        row->y = y;
        row->start = start;
        row->w_scale = w_scale;
        row->blocks = whole;
        row->enter = (uint32_t)(unroll - groups % unroll) % unroll;
        blocks(row, w);
    }
    for (j = 4 * whole; j < n; j += 4) {
        int32_t sum[4] = {0};
        sums(sum, q, w + 4 * j * groups, groups);
        for (r = 0; r < 4 && j + r < n; r++) {
            const float t = (float)sum[r] * w_scale[j + r];
            y[j + r] = start ? t + start[j + r] : t;
        }
    }
}

#endif
