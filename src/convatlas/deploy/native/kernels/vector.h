// Sixteen (or eight) numbers at a time, and the activations on them. GCC's and clang's vector types: any processor that these know.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "step.h"

#if defined(__AVX512F__)
constexpr int LANES = 16, ROWS = 14;       // 14 rows of two vectors, and two of weights: 30 of 32 registers
#elif defined(__aarch64__)
constexpr int LANES = 4, ROWS = 8;
#elif defined(__wasm__)
constexpr int LANES = 4, ROWS = 4;        // 8 sums, 4 numbers, 2 weights: 14 of 16 registers, whatever order a browser's compiler has loads in
#else
constexpr int LANES = 8, ROWS = 6;         // 6 rows of two vectors, and two of weights: 14 of 16 registers
#endif
constexpr int PANEL = 2 * LANES;            // output channels that are computed at once

typedef float vec __attribute__((vector_size(LANES * 4)));
typedef int32_t ivec __attribute__((vector_size(LANES * 4)));
typedef float loose __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

INLINE vec load(const float* p) { return *reinterpret_cast<const loose*>(p); }
INLINE void store(float* p, vec x) { *reinterpret_cast<loose*>(p) = x; }
INLINE vec all(float x) { return x - vec{}; }
// NaN in `a` comes through, as in torch; `b` is a bound.
INLINE vec larger(vec a, vec b) { return b > a ? b : a; }
INLINE vec smaller(vec a, vec b) { return b < a ? b : a; }
// NaN in either comes through.
INLINE vec largest(vec a, vec b) { return ((b > a) | (b != b)) ? b : a; }

INLINE vec square_root(vec x) {
    for (int i = 0; i < LANES; i++) x[i] = __builtin_sqrtf(x[i]);
    return x;
}

// e^x; relative error below 2e-7 from -87 to 88, and the values there beyond.
INLINE vec exponential(vec x) {
    x = smaller(larger(x, all(-87.0f)), all(88.0f));
    const vec shift = all(12582912.0f);                                     // 1.5 * 2^23: adding it rounds to a whole number
#if defined(__AVX512F__)
    // 2^whole is one instruction, which lets NaN through; 2^f from -1/2 to 1/2 is a polynomial that was fitted for the least relative error
    const vec whole = (x * 1.44269504f + shift) - shift, f = (x * 1.44269504f - whole) + x * 1.925963e-8f;      // log2 e in two parts
    vec p = all(1.326459089e-3f);
    p = p * f + 9.671619145e-3f;
    p = p * f + 5.550735033e-2f;
    p = p * f + 2.402224046e-1f;
    p = p * f + 6.931469764e-1f;
    p = p * f + 1.0f;
    return vec(_mm512_scalef_ps(__m512(p), __m512(whole)));
#else
    const vec rounded = x * 1.44269504f + shift, whole = rounded - shift;
    const vec r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;      // ln 2 in two parts
    vec p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    ivec bits, power;
    std::memcpy(&bits, &p, sizeof bits);
    std::memcpy(&power, &rounded, sizeof power);
    bits += power << 23;
    std::memcpy(&p, &bits, sizeof p);
    return x == x ? p : x;
#endif
}

// 1 / x of what is neither 0 nor infinite: divisions of such vectors are slow, an estimate and one step of Newton's are as exact.
INLINE vec inverse(vec x) {
#if defined(__AVX512F__)
    const vec near = vec(_mm512_rcp14_ps(__m512(x)));
    return near + near * (1.0f - x * near);
#else
    return 1.0f / x;
#endif
}

INLINE vec sigmoid(vec x) { return inverse(1.0f + exponential(-x)); }

INLINE vec tangent(vec x) { return 2.0f * sigmoid(2.0f * x) - 1.0f; }       // hyperbolic

// tanh(ln(1 + e^x)), as a quotient of polynomials of e^x.
INLINE vec softplus_tangent(vec x) {
    const vec e = exponential(smaller(x, all(20.0f))), q = e * (e + 2.0f);
    return q * inverse(q + 2.0f);
}

// The error function; absolute error below 2e-7 (Abramowitz and Stegun, 7.1.26).
INLINE vec erf(vec x) {
    const vec size = x < 0.0f ? -x : x, t = inverse(1.0f + 0.3275911f * smaller(size, all(1e9f)));
    vec p = all(1.061405429f);
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    const vec y = 1.0f - p * t * exponential(-size * size);
    return x < 0.0f ? -y : y;
}

INLINE vec activated(vec x, int64_t activation) {
    const vec zero = {};
    switch (activation) {
        case RELU: return larger(x, zero);
        case RELU6: return smaller(larger(x, zero), all(6.0f));
        case SILU: return x * sigmoid(x);
        case HARDSWISH: return x * smaller(larger(x + 3.0f, zero), all(6.0f)) * (1.0f / 6.0f);
        case SIGMOID: return sigmoid(x);
        case HARDSIGMOID: return smaller(larger(x + 3.0f, zero), all(6.0f)) * (1.0f / 6.0f);
        case GELU: return 0.5f * x * (1.0f + erf(x * 0.70710678f));
        case TANH: return tangent(x);
        case SCALEDTANH: return 1.7159f * tangent(x * 0.66666667f);
        case LEAKYRELU: return x < 0.0f ? 0.01f * x : x;
        case ELU: return x < 0.0f ? exponential(x) - 1.0f : x;
        case MISH: return x * softplus_tangent(x);
        default: return x;
    }
}

template <int64_t ACTIVATION>
INLINE void activate_by(float* out, int64_t stride, int64_t pixels, int64_t channels) {
    for (int64_t pixel = 0; pixel < pixels; pixel++, out += stride)
        for (int64_t c = 0; c < channels; c += LANES) store(out + c, activated(load(out + c), ACTIVATION));
}

// The less simple activations, of what was just written: the registers are too few to have them where it is summed up.
static __attribute__((noinline)) void activate(float* out, int64_t stride, int64_t pixels, int64_t channels, int64_t activation) {
    switch (activation) {
        case SILU: return activate_by<SILU>(out, stride, pixels, channels);
        case HARDSWISH: return activate_by<HARDSWISH>(out, stride, pixels, channels);
        case GELU: return activate_by<GELU>(out, stride, pixels, channels);
    }
    for (int64_t pixel = 0; pixel < pixels; pixel++, out += stride)
        for (int64_t c = 0; c < channels; c += LANES) store(out + c, activated(load(out + c), activation));
}
