/* Activations in plain float operations of a fixed order: the same bits on every target.
 *
 * Coefficients: scripts/fit_activations.py. Errors over all floats: scripts/activation_error.py.
 * No function calls libm. Clamps are written so that NaN passes through and loops vectorise.
 */
#ifndef EDGERNN_ACTIVATIONS_H
#define EDGERNN_ACTIVATIONS_H

#include "edgernn_base.h"

/* Beyond these, sigmoid and tanh are 0, 1 and -1 as floats. */
#define EDGERNN_SIGMOID_LIMIT 87.0f
#define EDGERNN_TANH_LIMIT 12.0f

/* -1 / log 2 and 2 / log 2 */
#define EDGERNN_SIGMOID_RATE (-1.44269504f)
#define EDGERNN_TANH_RATE 2.88539008f

/* 2^f - 1 is f * (C1 + C2 * f + ... + C5 * f^4) for |f| <= 1/2 */
#define EDGERNN_EXP2_C1 0.693147123f
#define EDGERNN_EXP2_C2 0.240223512f
#define EDGERNN_EXP2_C3 0.0555050001f
#define EDGERNN_EXP2_C4 0.00966624357f
#define EDGERNN_EXP2_C5 0.00133335614f

/* 1 + exp(-x) for |x| <= EDGERNN_SIGMOID_LIMIT: exp(-x) = 2^n * 2^f with n an integer. */
static inline float edgernn_exp_plus_1_in_range(float x)
{
    float t = x * EDGERNN_SIGMOID_RATE;
    float n = t + EDGERNN_ROUNDER; /* n in its low bits */
    float f = t - (n - EDGERNN_ROUNDER);
    float power = edgernn_from_bits((edgernn_bits(n) << 23) + 0x3f800000u);
    float p = EDGERNN_EXP2_C5 * f + EDGERNN_EXP2_C4;
    p = p * f + EDGERNN_EXP2_C3;
    p = p * f + EDGERNN_EXP2_C2;
    p = p * f + EDGERNN_EXP2_C1;
    p = p * f + 1.0f;
    return power * p + 1.0f; /* NaN passes through p */
}

/* exp(2 * x) - 1 for |x| <= EDGERNN_TANH_LIMIT, as 2^n * (2^f - 1) + (2^n - 1): exact around 0. */
static inline float edgernn_exp_minus_1_in_range(float x)
{
    float t = x * EDGERNN_TANH_RATE;
    float n = t + EDGERNN_ROUNDER;
    float f = t - (n - EDGERNN_ROUNDER);
    float power = edgernn_from_bits((edgernn_bits(n) << 23) + 0x3f800000u);
    float p = EDGERNN_EXP2_C5 * f + EDGERNN_EXP2_C4;
    p = p * f + EDGERNN_EXP2_C3;
    p = p * f + EDGERNN_EXP2_C2;
    p = p * f + EDGERNN_EXP2_C1;
    return power * (p * f) + (power - 1.0f);
}

/* 1 / sigmoid(x) */
static inline float edgernn_exp_plus_1(float x)
{
    x = x > EDGERNN_SIGMOID_LIMIT ? EDGERNN_SIGMOID_LIMIT : x;
    x = x < -EDGERNN_SIGMOID_LIMIT ? -EDGERNN_SIGMOID_LIMIT : x;
    return edgernn_exp_plus_1_in_range(x);
}

/* e, of which tanh(x) is e / (e + 2) */
static inline float edgernn_exp_minus_1(float x)
{
    x = x > EDGERNN_TANH_LIMIT ? EDGERNN_TANH_LIMIT : x;
    x = x < -EDGERNN_TANH_LIMIT ? -EDGERNN_TANH_LIMIT : x;
    return edgernn_exp_minus_1_in_range(x);
}

/* 1 / (1 + exp(-x)); within [0, 1]. */
static inline float edgernn_sigmoid(float x)
{
    return 1.0f / edgernn_exp_plus_1(x);
}

/* Within [-1, 1]. */
static inline float edgernn_tanh(float x)
{
    float e = edgernn_exp_minus_1(x);
    return e / (e + 2.0f);
}

/* 2^n for n in -126..127. */
static inline float edgernn_power_of_two(int32_t n)
{
    return edgernn_from_bits((uint32_t)(n + 127) << 23);
}

/* exp(x); infinity above 88.72, denormal results included, 0 below -104. */
static inline float edgernn_exp(float x)
{
    float t, n, r, p;
    int32_t power, half;
    x = x > 89.0f ? 89.0f : x;
    x = x < -104.0f ? -104.0f : x;
    t = x * 1.44269504f + EDGERNN_ROUNDER;
    n = t - EDGERNN_ROUNDER;
    r = (x - n * 0.693145752f) - n * 1.42860677e-06f; /* log 2 in two parts */
    p = 0.00836896803f + 0.00139505218f * r;
    p = 0.041666206f + p * r;
    p = 0.166665182f + p * r;
    p = 0.5f + p * r;
    p = 1.0f + (r + r * r * p);
    power = (int32_t)(edgernn_bits(t) - edgernn_bits(EDGERNN_ROUNDER));
    half = power / 2;
    return p * edgernn_power_of_two(half) * edgernn_power_of_two(power - half);
}

/* log((1 + s) / (1 - s)) for |s| <= 1/3. */
static inline float edgernn_log_ratio(float s)
{
    float u = s * s;
    float p = 0.2790654f + 0.284292042f * u;
    p = 0.400282949f + p * u;
    p = 0.666662693f + p * u;
    return 2.0f * s + s * (u * p);
}

/* log(x); -infinity at 0, NaN below. */
static inline float edgernn_log(float x)
{
    /* x = m * 2^n with m in [sqrt 0.5, sqrt 2); denormals are scaled up first. */
    float tiny = x < 1.17549435e-38f ? 1.0f : 0.0f;
    uint32_t bits = edgernn_bits(tiny > 0.0f ? x * 8388608.0f : x);
    uint32_t shifted = bits - 0x3f3504f3u;
    float n = (float)((int32_t)shifted >> 23) - 23.0f * tiny;
    float m = edgernn_from_bits((shifted & 0x007fffffu) + 0x3f3504f3u);
    float s = (m - 1.0f) / (m + 1.0f);
    float y = n * 0.693145752f + (edgernn_log_ratio(s) + n * 1.42860677e-06f);
    y = x > 3.40282347e38f ? x : y;
    y = x == 0.0f ? edgernn_from_bits(0xff800000u) : y;
    return x >= 0.0f ? y : edgernn_from_bits(0x7fc00000u);
}

/* Square root, correctly rounded; NaN below 0. */
static inline float edgernn_sqrt(float x)
{
#if defined(EDGERNN_AVX2)
    return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x)));
#elif !defined(EDGERNN_PORTABLE) && defined(__aarch64__)
    float y;
    __asm__("fsqrt %s0, %s1" : "=w"(y) : "w"(x));
    return y;
#elif !defined(EDGERNN_PORTABLE) && defined(__arm__) && defined(__ARM_FP) && (__ARM_FP & 4)
    float y;
    __asm__("vsqrt.f32 %0, %1" : "=t"(y) : "t"(x));
    return y;
#else
    uint32_t bits = edgernn_bits(x), root = 0, rest, bit;
    int32_t exponent;
    uint64_t square;
    if (!(x > 0.0f) || bits >= 0x7f800000u)
        return x >= 0.0f || x == 0.0f ? x : edgernn_from_bits(0x7fc00000u);
    exponent = (int32_t)(bits >> 23) - 127;
    if (exponent == -127) {
        bits = edgernn_bits(x * 8388608.0f);
        exponent = (int32_t)(bits >> 23) - 127 - 23;
    }
    rest = (bits & 0x007fffffu) | 0x00800000u;
    if (exponent & 1)
        rest <<= 1;
    exponent = (exponent - (exponent & 1)) / 2;
    square = (uint64_t)rest << 25; /* the root has 24 bits and one more to round by */
    for (bit = 1u << 24; bit != 0; bit >>= 1) {
        uint64_t next = root | bit;
        if (next * next <= square)
            root |= bit;
    }
    /* A root is never halfway between two floats, so the last bit decides. */
    root = (root + 1u) >> 1;
    return edgernn_from_bits(root - 0x00800000u + ((uint32_t)(exponent + 127) << 23));
#endif
}

/* x * P(x^2) / Q(x^2) on [-3.92, 3.92], constant outside. */
static inline float edgernn_erf(float x)
{
    float u, u2, p, q;
    x = x > 3.92f ? 3.92f : x;
    x = x < -3.92f ? -3.92f : x;
    u = x * x;
    u2 = u * u;
    p = (1.12837911f + 0.190407336f * u) +
        u2 * ((0.0527488291f + 0.00376565172f * u) + u2 * (0.000284883135f + 2.05007586e-06f * u));
    q = (1.0f + 0.502076864f * u) +
        u2 * ((0.114109464f + 0.0149692865f * u) + u2 * (0.00116254319f + 3.80916172e-05f * u));
    p = x * p / q;
    p = p > 1.0f ? 1.0f : p;
    return p < -1.0f ? -1.0f : p;
}

static inline float edgernn_abs(float x)
{
    return edgernn_from_bits(edgernn_bits(x) & 0x7fffffffu);
}

static inline float edgernn_relu(float x)
{
    return x < 0.0f ? 0.0f : x;
}

/* log(1 + exp(x)) */
static inline float edgernn_softplus(float x)
{
    float e = edgernn_exp(-edgernn_abs(x));
    return edgernn_relu(x) + edgernn_log_ratio(e / (2.0f + e));
}

static inline float edgernn_softsign(float x)
{
    float y = x / (1.0f + edgernn_abs(x));
    y = x > 3.40282347e38f ? 1.0f : y;
    return x < -3.40282347e38f ? -1.0f : y;
}

/* The activations of ONNX's RNN, GRU and LSTM with their parameters. */
static inline float edgernn_affine(float x, float alpha, float beta)
{
    return alpha * x + beta;
}

static inline float edgernn_leaky_relu(float x, float alpha)
{
    return x < 0.0f ? alpha * x : x;
}

static inline float edgernn_thresholded_relu(float x, float alpha)
{
    return x < alpha ? 0.0f : x;
}

static inline float edgernn_scaled_tanh(float x, float alpha, float beta)
{
    return alpha * edgernn_tanh(beta * x);
}

static inline float edgernn_hard_sigmoid(float x, float alpha, float beta)
{
    float y = alpha * x + beta;
    y = y < 0.0f ? 0.0f : y;
    return y > 1.0f ? 1.0f : y;
}

static inline float edgernn_elu(float x, float alpha)
{
    return x < 0.0f ? alpha * (edgernn_exp(x) - 1.0f) : x;
}

#if defined(EDGERNN_AVX2) || (defined(EDGERNN_NEON) && defined(__aarch64__))
#include "edgernn_activations_simd.h"
#else

/* y[0..n-1] = tanh(x[0..n-1]); y may be x. */
static inline void edgernn_tanh_n(float *y, const float *x, size_t n)
{
    size_t j;
    for (j = 0; j < n; j++)
        y[j] = edgernn_tanh(x[j]);
}

/* y[0..n-1] = sigmoid(x[0..n-1]); y may be x. */
static inline void edgernn_sigmoid_n(float *y, const float *x, size_t n)
{
    size_t j;
    for (j = 0; j < n; j++)
        y[j] = edgernn_sigmoid(x[j]);
}

#endif
#endif
