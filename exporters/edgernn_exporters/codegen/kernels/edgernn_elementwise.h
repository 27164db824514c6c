/* Elementwise float operators of ONNX beyond the activations of recurrent cells.
 *
 * Plain operations in a fixed order, no libm; loops over most of them vectorise.
 */
#ifndef EDGERNN_ELEMENTWISE_H
#define EDGERNN_ELEMENTWISE_H

#include "edgernn_activations.h"

static inline float edgernn_min(float a, float b)
{
    return b < a ? b : a;
}

static inline float edgernn_max(float a, float b)
{
    return b > a ? b : a;
}

static inline float edgernn_clamp(float x, float low, float high)
{
    x = x < low ? low : x;
    return x > high ? high : x;
}

static inline float edgernn_sign(float x)
{
    return (float)((x > 0.0f) - (x < 0.0f));
}

/* Toward zero. From 2^23 on every float is whole. */
static inline float edgernn_truncate(float x)
{
    float small = edgernn_abs(x) < 8388608.0f ? x : 0.0f;
    float whole = (float)(int32_t)small;
    return edgernn_abs(x) < 8388608.0f ? whole : x;
}

static inline float edgernn_floor(float x)
{
    float whole = edgernn_truncate(x);
    return whole > x ? whole - 1.0f : whole;
}

static inline float edgernn_ceil(float x)
{
    float whole = edgernn_truncate(x);
    return whole < x ? whole + 1.0f : whole;
}

/* Half to even, for any x: beside 2^23 the steps of a float are whole. */
static inline float edgernn_round_even(float x)
{
    float size = edgernn_abs(x);
    float near = (size + 8388608.0f) - 8388608.0f;
    near = size < 8388608.0f ? near : size;
    return x < 0.0f ? -near : near;
}

static inline float edgernn_square(float x)
{
    return x * x;
}

static inline float edgernn_cube(float x)
{
    return x * x * x;
}

/* x^y by exp(y log |x|); relative error about 1e-7 * (1 + |y log x|). */
static inline float edgernn_pow(float x, float y)
{
    float size = edgernn_exp(y * edgernn_log(edgernn_abs(x)));
    float half = 0.5f * y;
    float whole = edgernn_truncate(y) == y ? 1.0f : 0.0f;
    float odd = edgernn_truncate(half) == half ? 0.0f : whole;
    size = x == 1.0f || y == 0.0f ? 1.0f : size;
    if (x < 0.0f)
        size = whole > 0.0f ? (odd > 0.0f ? -size : size) : edgernn_from_bits(0x7fc00000u);
    return size;
}

/* Remainder with the sign of x, exact, as C's fmodf. */
static inline float edgernn_remainder(float x, float y)
{
    uint32_t a = edgernn_bits(x) & 0x7fffffffu, b = edgernn_bits(y) & 0x7fffffffu;
    uint32_t sign = edgernn_bits(x) & 0x80000000u, rest, divisor;
    int32_t power, other;
    if (b == 0 || a >= 0x7f800000u || b > 0x7f800000u)
        return edgernn_from_bits(0x7fc00000u);
    if (a < b)
        return x;
    power = (int32_t)(a >> 23);
    other = (int32_t)(b >> 23);
    rest = power ? (a & 0x007fffffu) | 0x00800000u : a;
    divisor = other ? (b & 0x007fffffu) | 0x00800000u : b;
    power += power == 0;
    other += other == 0;
    for (; power > other; power--)
        rest = rest % divisor << 1;
    rest %= divisor;
    if (rest == 0)
        return edgernn_from_bits(sign);
    while (rest < 0x00800000u && power > 1) {
        rest <<= 1;
        power--;
    }
    a = rest >= 0x00800000u ? (rest & 0x007fffffu) | ((uint32_t)power << 23) : rest;
    return edgernn_from_bits(sign | a);
}

static inline float edgernn_gelu(float x)
{
    return 0.5f * x * (1.0f + edgernn_erf(x * 0.707106769f));
}

static inline float edgernn_gelu_tanh(float x)
{
    return 0.5f * x * (1.0f + edgernn_tanh(0.797884583f * (x + 0.0447149985f * x * x * x)));
}

static inline float edgernn_selu(float x, float alpha, float gamma)
{
    return gamma * edgernn_elu(x, alpha);
}

static inline float edgernn_celu(float x, float alpha)
{
    return x < 0.0f ? alpha * (edgernn_exp(x / alpha) - 1.0f) : x;
}

static inline float edgernn_mish(float x)
{
    return x * edgernn_tanh(edgernn_softplus(x));
}

/* x * sigmoid(alpha x) */
static inline float edgernn_swish(float x, float alpha)
{
    return x * edgernn_sigmoid(alpha * x);
}

static inline float edgernn_hard_swish(float x)
{
    return x * edgernn_clamp(x * 0.166666672f + 0.5f, 0.0f, 1.0f);
}

static inline float edgernn_shrink(float x, float lambd, float bias)
{
    float y = x < -lambd ? x + bias : 0.0f;
    return x > lambd ? x - bias : y;
}

/* Infinite in a direction that counts. */
static inline int edgernn_is_infinite(float x, int negative, int positive)
{
    return (positive && x > 3.40282347e38f) || (negative && x < -3.40282347e38f);
}

/* Integers nearest to zero; out of range, the nearest that fits; 0 for NaN. */
static inline int64_t edgernn_to_int64(float x)
{
    int64_t y = x > -9.22337204e18f && x < 9.22337204e18f ? (int64_t)x : 0;
    y = x >= 9.22337204e18f ? INT64_MAX : y;
    return x <= -9.22337204e18f ? INT64_MIN : y;
}

static inline int32_t edgernn_to_int32(float x)
{
    int32_t y = x > -2147483648.0f && x < 2147483648.0f ? (int32_t)x : 0;
    y = x >= 2147483648.0f ? INT32_MAX : y;
    return x <= -2147483648.0f ? INT32_MIN : y;
}

/* round(x / scale) + zero, within [low, high]. */
static inline int32_t edgernn_quantize(float x, float scale, int32_t zero, int32_t low, int32_t high)
{
    float y = edgernn_round_even(x / scale) + (float)zero;
    return edgernn_to_int32(edgernn_clamp(y, (float)low, (float)high));
}

#endif
