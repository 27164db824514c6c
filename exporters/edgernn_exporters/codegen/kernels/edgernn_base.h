/* Instruction sets, weight layout and rounding, common to all kernels.
 *
 * The generated source defines the weight layout before it includes a kernel:
 *   EDGERNN_F32_ROWS   rows per block of float weights
 *   EDGERNN_I8_ROWS    rows per block of int8 weights
 *   EDGERNN_I8_DEPTH   consecutive inputs of one row in a block (a multiple of 4)
 *   EDGERNN_I16_DEPTH  the same where int8 weights multiply 16-bit inputs
 *   EDGERNN_I8_WIDE    0, or 2 for cores that multiply pairs of int16: quantized inputs are int16,
 *                      each group of 4 stored as 0, 2, 1, 3; weights in pairs of rows (see
 *                      edgernn_linear_i8.h)
 * Each kernel is right for every layout. An instruction set is used where its kernel fits the
 * layout; -DEDGERNN_PORTABLE switches all of them off.
 *
 * Everything except float products gives the same bits on every target, so a multiplication and an
 * addition must not become one fused operation. The pragma below says so for all that follows; it
 * also lets gcc vectorise loops with comparisons and keep clamps as they are.
 */
#ifndef EDGERNN_BASE_H
#define EDGERNN_BASE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__)
#error "edgernn: -ffast-math and -fassociative-math change results; remove them"
#endif

#ifndef EDGERNN_F32_ROWS
#define EDGERNN_F32_ROWS 16
#endif
#ifndef EDGERNN_I8_ROWS
#define EDGERNN_I8_ROWS 16
#endif
#ifndef EDGERNN_I8_DEPTH
#define EDGERNN_I8_DEPTH 4
#endif
#ifndef EDGERNN_I16_DEPTH
#define EDGERNN_I16_DEPTH 2
#endif
#ifndef EDGERNN_I8_WIDE
#define EDGERNN_I8_WIDE 0
#endif
#if EDGERNN_I8_DEPTH % 4 != 0 || EDGERNN_F32_ROWS % 4 != 0
#error "edgernn: EDGERNN_I8_DEPTH and EDGERNN_F32_ROWS must be multiples of 4"
#endif
#if EDGERNN_I8_WIDE != 0 && \
    (EDGERNN_I8_WIDE != 2 || EDGERNN_I8_DEPTH != 4 || EDGERNN_I8_ROWS % 4 != 0)
#error "edgernn: EDGERNN_I8_WIDE must be 0, or 2 with EDGERNN_I8_DEPTH 4, EDGERNN_I8_ROWS 4, 8, ..."
#endif

#ifndef EDGERNN_PORTABLE
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__FMA__)
#define EDGERNN_AVX512F 1
#endif
#if defined(EDGERNN_AVX512F) && defined(__AVX512VNNI__)
#define EDGERNN_AVX512VNNI 1
#endif
#if defined(__AVX2__) && defined(__FMA__)
#define EDGERNN_AVX2 1
#endif
#if defined(__ARM_NEON)
#define EDGERNN_NEON 1
#endif
#if defined(EDGERNN_NEON) && defined(__ARM_FEATURE_DOTPROD)
#define EDGERNN_NEON_DOT 1
#endif
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 2)
#define EDGERNN_MVE 1
#endif
#if defined(__ARM_FEATURE_DSP) && defined(__ARM_FEATURE_SIMD32) && !defined(__ARM_NEON) && \
    !defined(EDGERNN_MVE)
#define EDGERNN_DSP 1
#endif
#if defined(EDGERNN_DSP) && defined(__ARM_FP) && (__ARM_FP & 4) && __ARM_ARCH_PROFILE == 'M'
#define EDGERNN_DSP_FPU 1
#endif
#endif

#if defined(EDGERNN_AVX2)
#include <immintrin.h>
#elif defined(EDGERNN_NEON)
#include <arm_neon.h>
#endif

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC optimize("fp-contract=off", "no-trapping-math", "no-thread-jumps")
#if defined(__riscv)
/* Scheduling before registers are assigned loads too much ahead: 4.9 instructions for each int8
 * product instead of 3.5.
 */
#pragma GCC optimize("no-schedule-insns")
#endif
#endif

#define EDGERNN_UNUSED __attribute__((unused))
#define EDGERNN_ALIGN(n) __attribute__((aligned(n)))
#define EDGERNN_INLINE static inline __attribute__((always_inline))
#define EDGERNN_APART static EDGERNN_UNUSED __attribute__((noinline))

/* Before a loop of a few constant turns over registers. */
#ifdef __clang__
#define EDGERNN_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define EDGERNN_UNROLL _Pragma("GCC unroll 32")
#else
#define EDGERNN_UNROLL
#endif

static inline uint32_t edgernn_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float edgernn_from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Added to a float below 2^22, this leaves the nearest integer (half to even) in the low bits. */
#define EDGERNN_ROUNDER 12582912.0f

/* Round half to even; |x| < 2^22. */
static inline float edgernn_round(float x)
{
    return (x + EDGERNN_ROUNDER) - EDGERNN_ROUNDER;
}

/* a * b + c, fused where the hardware does it at once. Only for float products. */
static inline float edgernn_madd(float a, float b, float c)
{
#if !defined(EDGERNN_PORTABLE) && (defined(__FP_FAST_FMAF) || defined(__ARM_FEATURE_FMA))
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

#endif
