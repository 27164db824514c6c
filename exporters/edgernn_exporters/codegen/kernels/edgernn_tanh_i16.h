/* Sigmoid and tanh of integers, and what else the gates of the integer precisions are made of.
 *
 * docs/numerics.md, "int8, w8a16 and int4". Pre-activations p are in units of 2^-12, gates and
 * states in units of 2^-15, all within -32767 and 32767. Products of two of them fit 32 bits.
 */
#ifndef EDGERNN_TANH_I16_H
#define EDGERNN_TANH_I16_H

#include "edgernn_base.h"

typedef char edgernn_shifts_keep_the_sign[(-1 >> 1) == -1 ? 1 : -1];

/* tanh on 64 intervals of 1/8: E(value at the start, slope there, how much the slope falls). */
#define EDGERNN_TANH_TABLE(E) EDGERNN_TANH_BELOW_4(E) EDGERNN_TANH_FROM_4(E)
#define EDGERNN_TANH_BELOW_4(E) \
    E(0, 16426, 126) E(4074, 16175, 366) E(8025, 15434, 561) E(11743, 14294, 695) \
    E(15143, 12886, 764) E(18173, 11345, 787) E(20813, 9761, 751) E(23066, 8249, 690) \
    E(24956, 6867, 615) E(26519, 5643, 534) E(27797, 4574, 442) E(28830, 3694, 376) \
    E(29660, 2950, 304) E(30322, 2344, 245) E(30847, 1857, 197) E(31262, 1469, 161) \
    E(31589, 1157, 128) E(31846, 911, 104) E(32048, 709, 78) E(32206, 555, 62) E(32329, 441, 54) \
    E(32426, 338, 37) E(32501, 269, 33) E(32560, 207, 23) E(32606, 160, 17) E(32642, 120, 9) \
    E(32670, 89, 3) E(32691, 82, 13) E(32708, 67, 14) E(32722, 38, 0) E(32732, 31, 0) \
    E(32740, 24, 0)
#define EDGERNN_TANH_FROM_4(E) \
    E(32746, 21, 1) E(32751, 15, 0) E(32755, 10, 0) E(32758, 7, 0) E(32760, 7, 0) E(32762, 4, 0) \
    E(32763, 6, 0) E(32764, 6, 0) E(32765, 3, 0) E(32766, 0, 0) E(32766, 3, 0) E(32767, 0, 0) \
    E(32767, 0, 0) E(32767, 0, 0) E(32767, 0, 0) E(32767, 0, 0) E(32767, 0, 0) E(32767, 0, 0) \
    E(32767, 0, 0) E(32767, 0, 0) E(32767, 0, 0) E(32767, 0, 0) E(32767, 0, 0) E(32767, 0, 0) \
    E(32767, 0, 0) E(32767, 0, 0) E(32767, 0, 0) E(32767, 0, 0) E(32767, 0, 0) E(32767, 0, 0) \
    E(32767, 0, 0) E(32767, 0, 0)

#define EDGERNN_TANH_START(start, slope, bend) start,
#define EDGERNN_TANH_SLOPE(start, slope, bend) slope,
#define EDGERNN_TANH_BEND(start, slope, bend) bend,
#define EDGERNN_TANH_ENTRY(start, slope, bend) {start, slope, bend, 0},

static inline int32_t edgernn_saturate_i16(int32_t x)
{
    x = x > 32767 ? 32767 : x;
    return x < -32767 ? -32767 : x;
}

/* a * b / 2^15, half up. */
static inline int32_t edgernn_multiply_q15(int32_t a, int32_t b)
{
    return (a * b + (1 << 14)) >> 15;
}

/* The nearest integer, half to even, within -32767 and 32767; so is what NaN gives. */
static inline int32_t edgernn_round_i16(float a)
{
    a = a < 32767.0f ? a : 32767.0f;
    a = a > -32767.0f ? a : -32767.0f;
    return (int16_t)(uint16_t)edgernn_bits(a + EDGERNN_ROUNDER);
}

static const int16_t edgernn_tanh_entries[64][4] EDGERNN_UNUSED EDGERNN_ALIGN(8) = {
    EDGERNN_TANH_TABLE(EDGERNN_TANH_ENTRY)
};

/* tanh in units of 2^-15 of a in units of 2^-13, 0 to 65535. */
static inline int32_t edgernn_tanh_of_magnitude(int32_t a)
{
    const int16_t *entry = edgernn_tanh_entries[a >> 10];
    int32_t t = a & 1023, slope = entry[1] - ((t * entry[2] + 512) >> 10);
    return entry[0] + ((t * slope + 2048) >> 12);
}

static inline int32_t edgernn_tanh_q15(int32_t p)
{
    return p < 0 ? -edgernn_tanh_of_magnitude(-2 * p) : edgernn_tanh_of_magnitude(2 * p);
}

static inline int32_t edgernn_sigmoid_q15(int32_t p)
{
    int32_t half = (edgernn_tanh_of_magnitude(p < 0 ? -p : p) + 1) >> 1;
    return (1 << 14) + (p < 0 ? -half : half);
}

/* tanh of a cell state in units of 2^(shift - 13). */
static inline int32_t edgernn_tanh_of_cell(int32_t c, int shift)
{
    int32_t a = (int32_t)((uint32_t)(c < 0 ? -c : c) << shift);
    int32_t value = edgernn_tanh_of_magnitude(a > 65535 ? 65535 : a);
    return c < 0 ? -value : value;
}

#endif
