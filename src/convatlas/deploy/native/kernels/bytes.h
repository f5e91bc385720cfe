// Steps on maps of bytes: (byte - zero) · step is the number that a byte stands for, with a step and a zero for each map. Sums are whole
// numbers, a result is one of them times a float, rounded to the nearest whole number, half to even: nothing that a compiler, a processor
// or a number of threads could compute in another way. Where two maps are added both are rounded to 256ths of the result's step first.
// A pixel's four neighbouring channels are read as one number of 32 bits, so that strides are counted as in maps of floats.
#pragma once
#include "conv.h"
#include "halves.h"
#include "maps.h"

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
#endif

typedef int32_t loose_ints __attribute__((vector_size(LANES * 4), aligned(1), may_alias));
typedef uint8_t bytes_of_vec __attribute__((vector_size(LANES)));
typedef uint8_t loose_bytes __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef uint8_t sixteen __attribute__((vector_size(16), aligned(1), may_alias));

constexpr int64_t FINE = 8;                     // bits behind the point where two maps are added

INLINE ivec load_ints(const void* p) { return *static_cast<const loose_ints*>(p); }
INLINE void store_ints(void* p, ivec x) { *static_cast<loose_ints*>(p) = x; }
INLINE ivec all_ints(int32_t x) { return x - ivec{}; }

// As many bytes as there are lanes, each as a whole number.
INLINE ivec load_bytes(const uint8_t* p) {
#if defined(__AVX512F__)
    return ivec(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#else
    return __builtin_convertvector(*reinterpret_cast<const loose_bytes*>(p), ivec);
#endif
}

// Numbers from 0 to 255.
INLINE void store_bytes(uint8_t* p, ivec x) {
#if defined(__AVX512F__)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(__m512i(x)));
#else
    *reinterpret_cast<loose_bytes*>(p) = __builtin_convertvector(x, bytes_of_vec);
#endif
}

INLINE vec floats(ivec x) { return __builtin_convertvector(x, vec); }

// The nearest whole numbers, half to even; of what fits.
INLINE ivec rounded(vec x) {
#if defined(__AVX512F__)
    return ivec(_mm512_cvtps_epi32(__m512(x)));
#elif defined(__AVX2__)
    return ivec(_mm256_cvtps_epi32(__m256(x)));
#elif defined(__aarch64__)
    return ivec(vcvtnq_s32_f32(float32x4_t(x)));
#elif defined(__wasm_simd128__)
    return ivec(wasm_i32x4_trunc_sat_f32x4(wasm_f32x4_nearest(v128_t(x))));
#else
    ivec r;
    for (int i = 0; i < LANES; i++) r[i] = int32_t(__builtin_rintf(x[i]));
    return r;
#endif
}

INLINE ivec between(ivec x, ivec low, ivec high) {
    x = x > low ? x : low;
    return x < high ? x : high;
}

// To each sum the products of four bytes of `x`, from 0 to 255, with four of `w`, from -128 to 127.
INLINE ivec dot(ivec sum, ivec x, ivec w) {
#if defined(__AVX512VNNI__)
    return ivec(_mm512_dpbusd_epi32(__m512i(sum), __m512i(x), __m512i(w)));
#elif defined(__AVX512BW__)
    const __m512i even = _mm512_and_si512(__m512i(x), _mm512_set1_epi16(255)), odd = _mm512_srli_epi16(__m512i(x), 8);
    const __m512i first = _mm512_srai_epi16(_mm512_slli_epi16(__m512i(w), 8), 8), second = _mm512_srai_epi16(__m512i(w), 8);
    return sum + ivec(_mm512_madd_epi16(even, first)) + ivec(_mm512_madd_epi16(odd, second));
#elif defined(__AVX2__)
    const __m256i even = _mm256_and_si256(__m256i(x), _mm256_set1_epi16(255)), odd = _mm256_srli_epi16(__m256i(x), 8);
    const __m256i first = _mm256_srai_epi16(_mm256_slli_epi16(__m256i(w), 8), 8), second = _mm256_srai_epi16(__m256i(w), 8);
    return sum + ivec(_mm256_madd_epi16(even, first)) + ivec(_mm256_madd_epi16(odd, second));
#elif defined(__wasm_simd128__)
    const v128_t even = wasm_v128_and(v128_t(x), wasm_i16x8_splat(255)), odd = wasm_u16x8_shr(v128_t(x), 8);
    const v128_t first = wasm_i16x8_shr(wasm_i16x8_shl(v128_t(w), 8), 8), second = wasm_i16x8_shr(v128_t(w), 8);
    return sum + ivec(wasm_i32x4_dot_i16x8(even, first)) + ivec(wasm_i32x4_dot_i16x8(odd, second));
#else
    for (int i = 0; i < 4; i++) sum += ivec(uvec(x) >> (8 * i) & 255) * (ivec(uvec(w) << (24 - 8 * i)) >> 24);
    return sum;
#endif
}

INLINE const uint8_t* bytes_at(const Place& at, int64_t floats) { return reinterpret_cast<const uint8_t*>(at.arena + floats); }
INLINE uint8_t* bytes_out(const Place& at, int64_t floats) { return reinterpret_cast<uint8_t*>(at.arena + floats); }

// An activation that is not a bound, of each of `count` bytes.
inline void look_up(uint8_t* at, int64_t count, const uint8_t* table) {
#if defined(__AVX512VBMI__)
    __m512i part[4];
    for (int i = 0; i < 4; i++) part[i] = _mm512_loadu_si512(table + 64 * i);
    for (int64_t i = 0; i < count; i += 64) {
        const __mmask64 there = count - i >= 64 ? ~__mmask64(0) : (__mmask64(1) << (count - i)) - 1;
        const __m512i x = _mm512_maskz_loadu_epi8(there, at + i);
        const __m512i lower = _mm512_permutex2var_epi8(part[0], x, part[1]), upper = _mm512_permutex2var_epi8(part[2], x, part[3]);
        _mm512_mask_storeu_epi8(at + i, there, _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), lower, upper));
    }
#else
    for (int64_t i = 0; i < count; i++) at[i] = table[at[i]];
#endif
}

INLINE const uint8_t* table_of(const Step& s) { return reinterpret_cast<const uint8_t*>(s.table); }

// -- convolutions and linear layers --------------------------------------------------------------------------------------------------

// `Block` on bytes, in numbers of 32 bits. `high` 0: results are floats.
struct ByteBlock {
    const int32_t* in;
    int64_t stride, rows, row_stride, taps, tap_stride, depth;
    const int32_t *weight, *bias;
    const float* scale;
    const uint8_t* other;
    int64_t other_stride, activation;
    float other_scale;
    int32_t other_zero, zero, low, high;
    uint8_t* out;
    int64_t out_stride;                     // bytes from pixel to pixel
    const int32_t* ahead;                   // as in Block
    int64_t ahead_step;
};

template <int R, int V>
void byte_block(const ByteBlock& b) {
    ivec sum[R][V];
#pragma GCC unroll 16
    for (int i = 0; i < R; i++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) sum[i][v] = load_ints(b.bias + v * LANES);
    const int32_t *weight = b.weight, *ahead = b.ahead;
    const int64_t stride = b.stride, depth = b.depth, ahead_step = b.ahead_step;
    for (int64_t row = 0; row < b.rows; row++)
        for (int64_t tap = 0; tap < b.taps; tap++) {
            const int32_t* in = b.in + row * b.row_stride + tap * b.tap_stride;
            for (int64_t d = 0; d < depth; d++, weight += V * LANES, ahead += ahead_step) {
                __builtin_prefetch(ahead, 0, 2);
                ivec w[V];
#pragma GCC unroll 2
                for (int v = 0; v < V; v++) w[v] = load_ints(weight + v * LANES);
#pragma GCC unroll 16
                for (int i = 0; i < R; i++) {
                    const ivec x = all_ints(in[i * stride + d]);
#pragma GCC unroll 2
                    for (int v = 0; v < V; v++) sum[i][v] = dot(sum[i][v], x, w[v]);
                }
            }
        }
    vec scale[V];
#pragma GCC unroll 2
    for (int v = 0; v < V; v++) scale[v] = load(b.scale + v * LANES);
    const ivec low = all_ints(b.low), high = all_ints(b.high), zero = all_ints(b.zero);
    if (!b.high) {
#pragma GCC unroll 16
        for (int i = 0; i < R; i++)
#pragma GCC unroll 2
            for (int v = 0; v < V; v++) store(reinterpret_cast<float*>(b.out + i * b.out_stride) + v * LANES, floats(sum[i][v]) * scale[v]);
        if (b.activation) activate(reinterpret_cast<float*>(b.out), b.out_stride / 4, R, V * LANES, b.activation);
    } else if (b.other) {
        const ivec other_zero = all_ints(b.other_zero), half = all_ints((1 << (FINE - 1)) + (b.zero << FINE));
#pragma GCC unroll 16
        for (int i = 0; i < R; i++)
#pragma GCC unroll 2
            for (int v = 0; v < V; v++) {
                const ivec more = rounded(floats(load_bytes(b.other + i * b.other_stride + v * LANES) - other_zero) * b.other_scale);
                store_bytes(b.out + i * b.out_stride + v * LANES, between((rounded(floats(sum[i][v]) * scale[v]) + more + half) >> FINE, low, high));
            }
    } else {
#pragma GCC unroll 16
        for (int i = 0; i < R; i++)
#pragma GCC unroll 2
            for (int v = 0; v < V; v++)
                store_bytes(b.out + i * b.out_stride + v * LANES, between(rounded(floats(sum[i][v]) * scale[v]) + zero, low, high));
    }
}

typedef void (*ByteBlockOf)(const ByteBlock&);
template <int V>
struct ByteBlocks {
    static constexpr ByteBlockOf of[] = {nullptr, byte_block<1, V>, byte_block<2, V>, byte_block<3, V>, byte_block<4, V>, byte_block<5, V>,
                                         byte_block<6, V>,
#if defined(__AVX512F__) || defined(__aarch64__)
                                         byte_block<7, V>, byte_block<8, V>,
#endif
#if defined(__AVX512F__)
                                         byte_block<9, V>, byte_block<10, V>, byte_block<11, V>, byte_block<12, V>, byte_block<13, V>,
                                         byte_block<14, V>,
#endif
    };
};

INLINE void byte_pixels(const ByteBlock& b, int64_t count, bool whole_panel) {
    whole_panel ? pixels<ByteBlocks, 2>(b, count, Turn{0, 1}) : pixels<ByteBlocks, 1>(b, count, Turn{0, 1});
}

INLINE int64_t fours(int64_t channels) { return over(channels, 4); }

INLINE bool bytes_in_place(const Step& s) {
    return s.kh == 1 && s.kw == 1 && s.sh == 1 && s.sw == 1 && s.ph == 0 && s.pw == 0 && s.oh == s.h && s.ow == s.w && s.groups == 1;
}

INLINE int64_t byte_conv_scratch(const Step& s) {
    return bytes_in_place(s) ? 0 : strip_rows(s, conv_rows(s)) * strip_width(s) * fours(s.c) + CHANNELS;
}

// As copy_strip; around the map are zeros, whatever byte stands for them. Twelve bytes too many are written.
inline void copy_byte_strip(const Step& s, const uint8_t* in, int64_t top, int64_t rows, uint8_t* strip) {
    const int64_t width = strip_width(s), c = fours(s.c) * 4, stride = s.in_stride * 4;
    for (int64_t r = 0; r < strip_rows(s, rows); r++, strip += width * c) {
        const int64_t y = top * s.sh - s.ph + r;
        if (y < 0 || y >= s.h) {
            std::memset(strip, int(s.in_zero), width * c);
            continue;
        }
        const int64_t left = std::min(width, s.pw), right = std::min(width, s.w + left);
        std::memset(strip, int(s.in_zero), left * c);
        const uint8_t* from = in + y * s.w * stride;
        if (c == stride)
            std::memcpy(strip + left * c, from, (right - left) * c);
        else if (c == 4)
            for (int64_t x = left; x < right; x++, from += stride) std::memcpy(strip + x * 4, from, 4);
        else
            for (int64_t x = left; x < right; x++, from += stride)
                for (int64_t i = 0; i < c; i += 16) *reinterpret_cast<sixteen*>(strip + x * c + i) = *reinterpret_cast<const sixteen*>(from + i);
        if (right < width) std::memset(strip + right * c, int(s.in_zero), (width - right) * c);
    }
}

inline void byte_conv(const Step& s, const Place& at) {
    const int64_t per_group = s.k / s.groups, depth = fours(s.c / s.groups);
    const int64_t channels = s.groups == 1 ? padded(s.k) : per_group, panels = over(channels, PANEL), all_panels = panels * s.groups;
    const Share whole = {0, 1}, &by_panel = s.by_channels ? at.share : whole, &by_tile = s.by_channels ? whole : at.share;
    const int64_t first_panel = by_panel.first(all_panels), last_panel = by_panel.last(all_panels);
    if (first_panel == last_panel) return;
    const int64_t taps = s.kh * s.kw * depth, wide = s.high ? 1 : 4;
    const float* in = at.arena + s.in;
    uint8_t* out = bytes_out(at, s.out);
    const uint8_t* other = s.other < 0 ? nullptr : bytes_at(at, s.other);
    auto channel_of = [&](int64_t panel) { return panel / panels * per_group + panel % panels * PANEL; };
    auto panel_of = [&](int64_t panel, ByteBlock& b, int64_t& channel) {
        const int64_t group = panel / panels, start = panel % panels * PANEL;
        channel = channel_of(panel);
        b.weight = reinterpret_cast<const int32_t*>(s.weight) + (group * channels + start) * taps;
        b.ahead = b.weight + std::min<int64_t>(PANEL, channels - start) * taps;
        b.bias = reinterpret_cast<const int32_t*>(s.bias) + channel;
        b.scale = s.scale + channel;
        return channels - start >= PANEL;
    };
    const int64_t begin = channel_of(first_panel), end = last_panel == all_panels ? padded(s.k) : channel_of(last_panel);
    ByteBlock b = {};
    b.activation = s.activation, b.out_stride = s.out_stride * 4, b.other_stride = s.other_stride * 4;
    b.other_scale = float(s.epsilon), b.other_zero = int32_t(s.other_zero), b.zero = int32_t(s.out_zero);
    b.low = int32_t(s.low), b.high = int32_t(s.high);
    auto finish = [&](int64_t pixel, int64_t count) {                       // of the channels that are computed here
        if (!s.table || !s.high) return;
        if (end - begin == b.out_stride) return look_up(out + pixel * b.out_stride, count * b.out_stride, table_of(s));
        for (int64_t i = 0; i < count; i++) look_up(out + (pixel + i) * b.out_stride + begin, end - begin, table_of(s));
    };
    const bool joined = s.groups == 1 && s.dw == 1;
    const int64_t all = fours(s.c);                                         // of a pixel, of all groups
    b.rows = s.kh, b.taps = joined ? 1 : s.kw, b.depth = joined ? s.kw * depth : depth, b.tap_stride = s.dw * all;
    if (bytes_in_place(s)) {
        const int64_t count = s.n * s.h * s.w, blocks = over(count, ROWS), tile = std::max<int64_t>(1, s.tile / ROWS) * ROWS;
        const int64_t first = by_tile.first(blocks) * ROWS, last = std::min(count, by_tile.last(blocks) * ROWS);
        b.stride = s.in_stride;
        for (int64_t pixel = first; pixel < last; pixel += tile) {
            const int64_t now = std::min(tile, last - pixel);
            for (int64_t panel = first_panel; panel < last_panel; panel++) {
                int64_t channel;
                const bool full = panel_of(panel, b, channel);
                b.in = reinterpret_cast<const int32_t*>(in + pixel * s.in_stride);
                b.out = out + pixel * b.out_stride + channel * wide;
                b.other = other ? other + pixel * b.other_stride + channel : nullptr;
                byte_pixels(b, now, full);
            }
            finish(pixel, now);
        }
        return;
    }
    const int64_t rows = conv_rows(s), strips = over(s.oh, rows), width = strip_width(s);
    const int32_t* strip = reinterpret_cast<const int32_t*>(at.scratch);
    b.stride = s.sw * all, b.row_stride = s.dh * width * all;
    for (int64_t unit = by_tile.first(s.n * strips); unit < by_tile.last(s.n * strips); unit++) {
        const int64_t image = unit / strips, top = unit % strips * rows, count = std::min(rows, s.oh - top);
        copy_byte_strip(s, reinterpret_cast<const uint8_t*>(in + image * s.h * s.w * s.in_stride), top, count, reinterpret_cast<uint8_t*>(at.scratch));
        const int64_t start = (image * s.oh + top) * s.ow;
        for (int64_t panel = first_panel; panel < last_panel; panel++) {
            int64_t channel;
            const bool full = panel_of(panel, b, channel);
            for (int64_t row = 0; row < count; row++) {
                const int64_t pixel = start + row * s.ow;
                b.in = strip + row * s.sh * width * all + panel / panels * depth;
                b.out = out + pixel * b.out_stride + channel * wide;
                b.other = other ? other + pixel * b.other_stride + channel : nullptr;
                byte_pixels(b, s.ow, full);
            }
        }
        finish(start, count * s.ow);
    }
}

// -- depthwise -----------------------------------------------------------------------------------------------------------------------

// Sixteen channels at a time. The rows that a kernel sees lie in a ring, where each pixel has four bytes of every channel: its own and
// those of the three pixels after it. A fourth of a row of taps is then one sum of products.
struct ByteRing {
    int64_t width, rows, each, places, fourths;
    explicit ByteRing(const Step& s)
        : width((s.ow - 1) * s.sw + over(s.kw, 4) * 4), rows(s.kh), each(4 % s.sw ? 1 : s.sw), places(over(width, each)), fourths(over(s.kw, 4)) {}
    int64_t row() const { return places * CHANNELS; }                       // numbers of 32 bits, or floats
    int64_t size() const { return (rows + 1) * row() + (width + 8) * CHANNELS / 4; }
};

INLINE int64_t byte_depthwise_scratch(const Step& s) { return ByteRing(s).size(); }

// Four pixels of sixteen channels, a byte each, as four bytes of each channel.
INLINE void four_of_each(const uint8_t* from, int32_t* to) {
#if defined(__AVX512VBMI__)
    alignas(64) static const uint8_t ORDER[64] = {0, 16, 32, 48, 1, 17, 33, 49, 2, 18, 34, 50, 3, 19, 35, 51, 4, 20, 36, 52, 5, 21,
        37, 53, 6, 22, 38, 54, 7, 23, 39, 55, 8, 24, 40, 56, 9, 25, 41, 57, 10, 26, 42, 58, 11, 27, 43, 59, 12, 28, 44, 60, 13, 29, 45, 61,
        14, 30, 46, 62, 15, 31, 47, 63};
    _mm512_storeu_si512(to, _mm512_permutexvar_epi8(_mm512_load_si512(ORDER), _mm512_loadu_si512(from)));
#else
    for (int c = 0; c < CHANNELS; c += LANES) {
        uvec found = {};
        for (int i = 0; i < 4; i++) found |= uvec(load_bytes(from + i * CHANNELS + c)) << (8 * i);
        store_ints(to + c, ivec(found));
    }
#endif
}

template <int R>
void byte_run(const Step& s, const int32_t* const* rows, int64_t fourths, int64_t step, int64_t next, const int32_t* weight, ivec bias,
              vec scale, uint8_t* out) {
    ivec sum[R];
#pragma GCC unroll 16
    for (int i = 0; i < R; i++) sum[i] = bias;
    for (int64_t y = 0; y < s.kh; y++) {
        if (!rows[y]) {                         // nothing but bytes 0
            weight += fourths * CHANNELS;
            continue;
        }
        const int32_t* in = rows[y];
        for (int64_t f = 0; f < fourths; f++, in += next, weight += CHANNELS) {
            const ivec w = load_ints(weight);
#pragma GCC unroll 16
            for (int i = 0; i < R; i++) sum[i] = dot(sum[i], load_ints(in + i * step), w);
        }
    }
    const ivec low = all_ints(int32_t(s.low)), high = all_ints(int32_t(s.high)), zero = all_ints(int32_t(s.out_zero));
#pragma GCC unroll 16
    for (int i = 0; i < R; i++) store_bytes(out + i * s.out_stride * 4, between(rounded(floats(sum[i]) * scale) + zero, low, high));
}

typedef void (*ByteRunOf)(const Step&, const int32_t* const*, int64_t, int64_t, int64_t, const int32_t*, ivec, vec, uint8_t*);
constexpr ByteRunOf BYTE_RUNS[] = {nullptr, byte_run<1>, byte_run<2>, byte_run<3>, byte_run<4>, byte_run<5>, byte_run<6>,
#if defined(__AVX512F__)
                                   byte_run<7>, byte_run<8>, byte_run<9>, byte_run<10>, byte_run<11>, byte_run<12>, byte_run<13>, byte_run<14>,
#endif
};

inline void byte_depthwise(const Step& s, const Place& at) {
    const ByteRing ring(s);
    const int64_t blocks = padded(s.c) / CHANNELS, units = s.n * blocks, runs = over(s.ow, RUN), in_stride = s.in_stride * 4;
    const int64_t step = s.sw / ring.each * CHANNELS, next = 4 / ring.each * CHANNELS;
    int32_t* const first = reinterpret_cast<int32_t*>(at.scratch);
    int32_t* const around = first + ring.rows * ring.row();                 // a row beyond the map
    uint8_t* const staged = reinterpret_cast<uint8_t*>(around + ring.row());
    std::memset(around, int(s.in_zero), ring.row() * 4);
    std::memset(staged, int(s.in_zero), (ring.width + 8) * CHANNELS);
    const int64_t left = std::min(ring.width, s.pw), right = std::min(ring.width, s.w + left);
    for (int64_t unit = at.share.first(units); unit < at.share.last(units); unit++) {
        const int64_t image = unit / blocks, channel = unit % blocks * CHANNELS;
        const uint8_t* in = bytes_at(at, s.in) + image * s.h * s.w * in_stride + channel;
        uint8_t* out = bytes_out(at, s.out) + image * s.oh * s.ow * s.out_stride * 4 + channel;
        const int32_t* weight = reinterpret_cast<const int32_t*>(s.weight) + channel * s.kh * ring.fourths;
        int64_t copied = 0;                     // rows of the image that have been in the ring
        for (int64_t oy = 0; oy < s.oh; oy++, out += s.ow * s.out_stride * 4) {
            const int32_t* rows[TALLEST];
            const int64_t top = oy * s.sh - s.ph;
            for (int64_t y = std::max(top, copied); y < std::min(s.h, top + ring.rows); y++, copied = y) {
                const uint8_t* from = in + y * s.w * in_stride;
                for (int64_t x = left; x < right; x++, from += in_stride)
                    *reinterpret_cast<sixteen*>(staged + x * CHANNELS) = *reinterpret_cast<const sixteen*>(from);
                int32_t* to = first + y % ring.rows * ring.row();
                for (int64_t x = 0; x < ring.places; x++) four_of_each(staged + x * ring.each * CHANNELS, to + x * CHANNELS);
            }
            for (int64_t y = 0; y < s.kh; y++) {
                const int64_t row = top + y;
                rows[y] = row >= 0 && row < s.h ? first + row % ring.rows * ring.row() : s.in_zero ? around : nullptr;
            }
            for (int64_t lane = 0; lane < CHANNELS; lane += LANES) {
                const ivec bias = load_ints(s.bias + channel + lane);
                const vec scale = load(s.scale + channel + lane);
                for (int64_t r = 0, from = 0; r < runs; r++) {
                    const int64_t to = s.ow * (r + 1) / runs;
                    const int32_t* here[TALLEST];
                    for (int64_t y = 0; y < s.kh; y++) here[y] = rows[y] ? rows[y] + from * step + lane : nullptr;
                    BYTE_RUNS[to - from](s, here, ring.fourths, step, next, weight + lane, bias, scale, out + from * s.out_stride * 4 + lane);
                    from = to;
                }
            }
            if (s.table)
                for (int64_t x = 0; x < s.ow; x++) look_up(out + x * s.out_stride * 4, CHANNELS, table_of(s));
        }
    }
}

// -- what lies between convolutions --------------------------------------------------------------------------------------------------

// `f(in, out, channel)` for the vectors of each pixel of a thread's share; then the activation.
template <class F>
INLINE void each_byte(const Step& s, const Place& at, const F& f) {
    const int64_t pixels = s.n * s.h * s.w, channels = padded(s.c);
    for (int64_t pixel = at.share.first(pixels); pixel < at.share.last(pixels); pixel++) {
        uint8_t* out = bytes_out(at, s.out) + pixel * s.out_stride * 4;
        for (int64_t c = 0; c < channels; c += LANES)
            store_bytes(out + c, between(f(pixel, c), all_ints(int32_t(s.low)), all_ints(int32_t(s.high))));
        if (s.table) look_up(out, channels, table_of(s));
    }
}

// Floats as bytes: `epsilon` is one over the step. Of the network's image, whose planes lie one after the other, a pixel's first four
// channels are one number; channels that are not there are not written.
inline void quantize(const Step& s, const Place& at) {
    const float scale = float(s.epsilon);
    const ivec zero = all_ints(int32_t(s.out_zero)), low = all_ints(int32_t(s.low)), high = all_ints(int32_t(s.high));
    auto of = [&](vec x) { return between(rounded(smaller(larger(x * scale, all(-512.0f)), all(512.0f))) + zero, low, high); };
    if (!s.planar) return each_byte(s, at, [&](int64_t pixel, int64_t c) { return of(load(at.arena + s.in + pixel * s.in_stride + c)); });
    const int64_t area = s.h * s.w, pixels = s.n * area, last = at.share.last(pixels);
    for (int64_t pixel = at.share.first(pixels), to; pixel < last; pixel = to) {
        const int64_t image = pixel / area, from = pixel % area;
        to = std::min({last, pixel + LANES, (image + 1) * area});
        for (int64_t c = 0; c < s.c; c += 4) {
            ivec four = {};
            for (int64_t i = 0; i < 4 && c + i < s.c; i++) {
                vec x = {};
                std::memcpy(&x, at.image + (image * s.c + c + i) * area + from, (to - pixel) * sizeof(float));
                four |= of(x) << int32_t(8 * i);
            }
            for (int64_t i = 0; i < to - pixel; i++) {
                const int32_t number = four[i];
                std::memcpy(bytes_out(at, s.out + (pixel + i) * s.out_stride) + c, &number, 4);
            }
        }
    }
}

inline void dequantize(const Step& s, const Place& at) {
    const int64_t pixels = s.n * s.h * s.w;
    for (int64_t pixel = at.share.first(pixels); pixel < at.share.last(pixels); pixel++)
        for (int64_t c = 0; c < padded(s.c); c += LANES)
            store(at.arena + s.out + pixel * s.out_stride + c,
                  floats(load_bytes(bytes_at(at, s.in) + pixel * s.in_stride * 4 + c) - int32_t(s.in_zero)) * float(s.epsilon));
}

// Maps of one step and zero; what is beyond the border is not looked at.
inline void byte_max_pool(const Step& s, const Place& at) {
    const int64_t stride = s.in_stride * 4;
    windows(s, at, bytes_at(at, s.in), stride, bytes_out(at, s.out), s.out_stride * 4,
            [&](uint8_t* out, const uint8_t* in, const Window& high, const Window& wide) {
        for (int64_t c = 0; c < padded(s.c); c += 16) {
            sixteen most = {};
            for (int64_t y = 0; y < high.last - high.first; y++)
                for (int64_t x = 0; x < wide.last - wide.first; x++) {
                    const sixteen v = *reinterpret_cast<const sixteen*>(in + (y * s.w + x) * stride + c);
                    most = v > most ? v : most;
                }
            *reinterpret_cast<sixteen*>(out + c) = most;
        }
    });
}

// `epsilon`: the step before over that of the result.
inline void byte_average_pool(const Step& s, const Place& at) {
    const int64_t stride = s.in_stride * 4;
    windows(s, at, bytes_at(at, s.in), stride, bytes_out(at, s.out), s.out_stride * 4,
            [&](uint8_t* out, const uint8_t* in, const Window& high, const Window& wide) {
        const int64_t seen = (high.last - high.first) * (wide.last - wide.first);
        const float scale = float(s.epsilon) / float(s.counts_padding ? high.whole * wide.whole : seen);
        for (int64_t c = 0; c < padded(s.c); c += LANES) {
            ivec sum = all_ints(int32_t(-s.in_zero * seen));
            for (int64_t y = 0; y < high.last - high.first; y++)
                for (int64_t x = 0; x < wide.last - wide.first; x++) sum += load_bytes(in + (y * s.w + x) * stride + c);
            store_bytes(out + c, between(rounded(floats(sum) * scale) + int32_t(s.out_zero), all_ints(int32_t(s.low)), all_ints(int32_t(s.high))));
        }
        if (s.table) look_up(out, padded(s.c), table_of(s));
    });
}

// `epsilon`: the step before over that of the result and the number of pixels.
inline void byte_mean(const Step& s, const Place& at) {
    const int64_t blocks = padded(s.c) / CHANNELS, units = s.n * blocks, pixels = s.h * s.w;
    for (int64_t unit = at.share.first(units); unit < at.share.last(units); unit++)
        for (int64_t lane = 0; lane < CHANNELS; lane += LANES) {
            const int64_t image = unit / blocks, channel = unit % blocks * CHANNELS + lane;
            const uint8_t* in = bytes_at(at, s.in) + image * pixels * s.in_stride * 4 + channel;
            ivec sums[4] = {};
            for (int64_t p = 0; p < pixels; p++, in += s.in_stride * 4) sums[p % 4] += load_bytes(in);
            const ivec sum = sums[0] + sums[1] + sums[2] + sums[3] - int32_t(s.in_zero * pixels);
            uint8_t* out = bytes_out(at, s.out) + image * s.out_stride * 4 + channel;
            store_bytes(out, between(rounded(floats(sum) * float(s.epsilon)) + int32_t(s.out_zero), all_ints(int32_t(s.low)), all_ints(int32_t(s.high))));
            if (s.table) look_up(out, LANES, table_of(s));
        }
}

// `scale` has the two maps' steps over the result's, in 256ths.
inline void byte_add(const Step& s, const Place& at) {
    each_byte(s, at, [&](int64_t pixel, int64_t c) {
        const ivec x = load_bytes(bytes_at(at, s.in) + pixel * s.in_stride * 4 + c) - int32_t(s.in_zero);
        const ivec y = load_bytes(bytes_at(at, s.other) + pixel * s.other_stride * 4 + c) - int32_t(s.other_zero);
        const ivec sum = rounded(floats(x) * s.scale[0]) + rounded(floats(y) * s.scale[1]);
        return ((sum + (1 << (FINE - 1))) >> FINE) + int32_t(s.out_zero);
    });
}

// By one value for each image and channel. `epsilon`: the product of the steps over the result's.
inline void byte_multiply(const Step& s, const Place& at) {
    const int64_t area = s.h * s.w;
    each_byte(s, at, [&](int64_t pixel, int64_t c) {
        const ivec x = load_bytes(bytes_at(at, s.in) + pixel * s.in_stride * 4 + c) - int32_t(s.in_zero);
        const ivec y = load_bytes(bytes_at(at, s.other) + pixel / area * s.other_stride * 4 + c) - int32_t(s.other_zero);
        return rounded(floats(x * y) * float(s.epsilon)) + int32_t(s.out_zero);
    });
}

// Factors and offsets of each channel, in 256ths of the result's step.
inline void byte_affine(const Step& s, const Place& at) {
    each_byte(s, at, [&](int64_t pixel, int64_t c) {
        const ivec x = load_bytes(bytes_at(at, s.in) + pixel * s.in_stride * 4 + c) - int32_t(s.in_zero);
        const ivec sum = rounded(floats(x) * load(s.scale + c)) + load_ints(s.bias + c);
        return ((sum + (1 << (FINE - 1))) >> FINE) + int32_t(s.out_zero);
    });
}

inline void byte_copy(const Step& s, const Place& at) {
    const int64_t pixels = s.n * s.h * s.w;
    for (int64_t pixel = at.share.first(pixels); pixel < at.share.last(pixels); pixel++)
        std::memcpy(bytes_out(at, s.out) + pixel * s.out_stride * 4, bytes_at(at, s.in) + pixel * s.in_stride * 4, s.c);
}
