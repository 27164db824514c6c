/* Gates of the integer precisions with the instructions of Cortex-M4 and M7, two units at a time.
 * Included by edgernn_cells_i16.h; each function returns how many units it has done.
 *
 * Pre-activations are rounded to pairs of 16 bits in the form sign and magnitude. Their upper bits
 * are an index into a table with one half for each sign. An entry has all roundings and signs in
 * its constants: with t the position in the interval,
 *
 *     x = slope + t * bend                    its upper half is the slope at t
 *     y = start + t * (upper half of x)       tanh = y >> 12, sigmoid = y >> 13
 *
 * As -floor(v / n) = floor((n - 1 - v) / n), the constants of negative arguments are minus those of
 * the positive ones, slope and start plus what the shift takes away.
 */
#ifndef EDGERNN_CELLS_I16_DSP_H
#define EDGERNN_CELLS_I16_DSP_H

#define EDGERNN_UNITS_DONE(call) (call)

typedef struct {
    int32_t slope, bend, start;
} edgernn_curve;

#define EDGERNN_TANH_ABOVE(start, slope, bend) \
    {slope * 65536 + 32767, bend * -64, start * 4096 + 2048},
#define EDGERNN_TANH_BENEATH(start, slope, bend) \
    {slope * -65536 + 32768, bend * 64, start * -4096 + 2047},
#define EDGERNN_SIGMOID_ABOVE(start, slope, bend) \
    {slope * 65536 + 32767, bend * -64, start * 4096 + 6144 + (1 << 27)},
#define EDGERNN_SIGMOID_BENEATH(start, slope, bend) \
    {slope * -65536 + 32768, bend * 64, start * -4096 + 2047 + (1 << 27)},

static const edgernn_curve edgernn_tanh_curve[128] EDGERNN_UNUSED = {
    EDGERNN_TANH_TABLE(EDGERNN_TANH_ABOVE) EDGERNN_TANH_TABLE(EDGERNN_TANH_BENEATH)
};
static const edgernn_curve edgernn_sigmoid_curve[64] EDGERNN_UNUSED = {
    EDGERNN_TANH_BELOW_4(EDGERNN_SIGMOID_ABOVE) EDGERNN_TANH_BELOW_4(EDGERNN_SIGMOID_BENEATH)
};

/* y of entry i at t. */
EDGERNN_INLINE int32_t edgernn_on_curve(const edgernn_curve *curve, uint32_t i, uint32_t t)
{
    int32_t y;
    __asm__("mla %0, %2, %3, %1\n"
            "ldm.w %0, {r4, r5, r6}\n"
            "mla r4, %4, r5, r4\n"
            "smlatb %0, r4, %4, r6\n"
            : "=&r"(y)
            : "r"(curve), "r"(i), "r"((uint32_t)sizeof *curve), "r"(t)
            : "r4", "r5", "r6");
    return y;
}

/* Limited to -32768..32767. */
EDGERNN_INLINE int32_t edgernn_ssat16(int32_t x)
{
    __asm__("ssat %0, #16, %1" : "=r"(x) : "r"(x));
    return x;
}

/* The lower halves of two numbers, side by side. */
EDGERNN_INLINE uint32_t edgernn_two(int32_t first, int32_t second)
{
    uint32_t two;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(two) : "r"(first), "r"(second));
    return two;
}

/* Two floats, rounded half to even and limited to -32768..32767. */
EDGERNN_INLINE uint32_t edgernn_round_two(const float *a)
{
    int32_t first, second;
    __asm__("vldmia.32 %2, {s14, s15}\n"
            "vcvtr.s32.f32 s14, s14\n"
            "vcvtr.s32.f32 s15, s15\n"
            "vmov %0, %1, s14, s15\n"
            : "=r"(first), "=r"(second)
            : "r"(a), "m"(*(const float(*)[2])a)
            : "s14", "s15");
    return edgernn_two(edgernn_ssat16(first), edgernn_ssat16(second));
}

/* -32768 becomes -32767. */
EDGERNN_INLINE uint32_t edgernn_limit_two(uint32_t two)
{
    __asm__("qsub16 %0, %0, %1\n"
            "uadd16 %0, %0, %1\n"
            : "+&r"(two)
            : "r"(0x00010001u)
            : "cc");
    return two;
}

/* Two numbers as magnitudes up to 32767, plus 32768 for what is not above 0. */
EDGERNN_INLINE uint32_t edgernn_magnitudes(uint32_t two)
{
    uint32_t less;
    __asm__("qsub16 %0, %1, %2\n"
            "usub16 %0, %3, %0\n"
            "sel %0, %1, %0\n"
            : "=&r"(less)
            : "r"(two), "r"(0x00010001u), "r"(0x7fff7fffu)
            : "cc");
    return less;
}

/* `width` bits from bit `low` on. */
EDGERNN_INLINE uint32_t edgernn_field(uint32_t word, int low, int width)
{
    return word >> low & ((1u << width) - 1);
}

/* Sigmoid and tanh of one of two magnitudes with signs; `place` is 0 or 16. */
EDGERNN_INLINE int32_t edgernn_sigmoid_dsp(uint32_t two, int place)
{
    return edgernn_on_curve(edgernn_sigmoid_curve, edgernn_field(two, place + 10, 6),
               edgernn_field(two, place, 10)) >> 13;
}

EDGERNN_INLINE int32_t edgernn_tanh_dsp(uint32_t two, int place)
{
    return edgernn_on_curve(edgernn_tanh_curve, edgernn_field(two, place + 9, 7),
               2 * edgernn_field(two, place, 9)) >> 12;
}

/* edgernn_tanh_of_cell; -32768 gives what -32767 gives. */
EDGERNN_INLINE int32_t edgernn_tanh_of_cell_dsp(int32_t c, int shift)
{
    int32_t sign = c >> 31;
    uint32_t a = (uint32_t)((c ^ sign) - sign) << shift;
    int32_t y;
    __asm__("usat %0, #16, %1" : "=r"(a) : "r"(a));
    y = edgernn_on_curve(edgernn_tanh_curve, a >> 10, edgernn_field(a, 0, 10));
    return (y >> 12 ^ sign) - sign;
}

EDGERNN_INLINE uint32_t edgernn_load_two(const int16_t *x)
{
    uint32_t two;
    memcpy(&two, x, sizeof two);
    return two;
}

EDGERNN_INLINE void edgernn_store_two(int16_t *x, uint32_t two)
{
    memcpy(x, &two, sizeof two);
}

/* The next c of one of two units, limited to -32768..32767. */
EDGERNN_INLINE int32_t edgernn_next_c(uint32_t in, uint32_t forget, uint32_t new, int32_t c,
    int shift, int place)
{
    int32_t added =
        edgernn_sigmoid_dsp(in, place) * edgernn_tanh_dsp(new, place) >> (2 + shift);
    int32_t sum = edgernn_sigmoid_dsp(forget, place) * c + added + (1 << 14);
    return edgernn_ssat16(sum >> 15);
}

EDGERNN_UNUSED static size_t edgernn_lstm_first_i16(int16_t *h, int16_t *c, const float *a,
    int shift, size_t hidden)
{
    size_t j;
    for (j = 0; j + 2 <= hidden; j += 2) {
        uint32_t in = edgernn_magnitudes(edgernn_round_two(a + j));
        uint32_t out = edgernn_magnitudes(edgernn_round_two(a + hidden + j));
        uint32_t forget = edgernn_magnitudes(edgernn_round_two(a + 2 * hidden + j));
        uint32_t new = edgernn_magnitudes(edgernn_round_two(a + 3 * hidden + j));
        uint32_t before = edgernn_load_two(c + j);
        int32_t c0 = edgernn_next_c(in, forget, new, (int16_t)before, shift, 0);
        int32_t c1 = edgernn_next_c(in, forget, new, (int32_t)before >> 16, shift, 16);
        int32_t h0 = edgernn_multiply_q15(edgernn_sigmoid_dsp(out, 0),
            edgernn_tanh_of_cell_dsp(c0, shift));
        int32_t h1 = edgernn_multiply_q15(edgernn_sigmoid_dsp(out, 16),
            edgernn_tanh_of_cell_dsp(c1, shift));
        edgernn_store_two(c + j, edgernn_limit_two(edgernn_two(c0, c1)));
        edgernn_store_two(h + j, edgernn_two(h0, h1));
    }
    return j;
}

/* z * h + (1 - z) * tanh(p) of one of two units; p and z are magnitudes with signs. */
EDGERNN_INLINE int32_t edgernn_next_h(uint32_t z, uint32_t p, int32_t h, int place)
{
    int32_t keep = edgernn_sigmoid_dsp(z, place);
    return (keep * h + ((1 << 15) - keep) * edgernn_tanh_dsp(p, place) + (1 << 14)) >> 15;
}

EDGERNN_INLINE void edgernn_gru_two(int16_t *h, const float *z, uint32_t p)
{
    uint32_t before = edgernn_load_two(h), update = edgernn_magnitudes(edgernn_round_two(z));
    p = edgernn_magnitudes(p);
    edgernn_store_two(h,
        edgernn_two(edgernn_next_h(update, p, (int16_t)before, 0),
            edgernn_next_h(update, p, (int32_t)before >> 16, 16)));
}

/* Sigmoids of two floats times two numbers. */
EDGERNN_INLINE uint32_t edgernn_reset_two(const float *r, uint32_t two)
{
    uint32_t reset = edgernn_magnitudes(edgernn_round_two(r));
    return edgernn_two(
        edgernn_multiply_q15(edgernn_sigmoid_dsp(reset, 0), (int16_t)two),
        edgernn_multiply_q15(edgernn_sigmoid_dsp(reset, 16), (int32_t)two >> 16));
}

EDGERNN_UNUSED static size_t edgernn_gru_first_i16(int16_t *h, const float *zr, const float *p,
    const float *s, size_t hidden)
{
    size_t j;
    for (j = 0; j + 2 <= hidden; j += 2) {
        uint32_t part = edgernn_reset_two(zr + hidden + j,
            edgernn_limit_two(edgernn_round_two(s + j)));
        uint32_t sum = edgernn_limit_two(edgernn_round_two(p + j));
        __asm__("qadd16 %0, %0, %1" : "+r"(sum) : "r"(part));
        edgernn_gru_two(h + j, zr + j, sum);
    }
    return j;
}

EDGERNN_UNUSED static size_t edgernn_gru_reset_first_i16(int16_t *g, const float *r,
    const int16_t *h, size_t hidden)
{
    size_t j;
    for (j = 0; j + 2 <= hidden; j += 2)
        edgernn_store_two(g + j, edgernn_reset_two(r + j, edgernn_load_two(h + j)));
    return j;
}

EDGERNN_UNUSED static size_t edgernn_gru_update_first_i16(int16_t *h, const float *z,
    const float *a, size_t hidden)
{
    size_t j;
    for (j = 0; j + 2 <= hidden; j += 2)
        edgernn_gru_two(h + j, z + j, edgernn_round_two(a + j));
    return j;
}

EDGERNN_UNUSED static size_t edgernn_rnn_tanh_first_i16(int16_t *h, const float *a, size_t hidden)
{
    size_t j;
    for (j = 0; j + 2 <= hidden; j += 2) {
        uint32_t p = edgernn_magnitudes(edgernn_round_two(a + j));
        edgernn_store_two(h + j, edgernn_two(edgernn_tanh_dsp(p, 0), edgernn_tanh_dsp(p, 16)));
    }
    return j;
}

#endif
