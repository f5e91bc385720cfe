// Convolutions and linear layers in bf16: weights are kept as bf16, what they are multiplied with is rounded to it, sums are floats,
// results floats or rounded to bf16. What is below the least normal number is rounded to 0. Three ways, each rounded in the same way on
// every processor that has it and for any number of threads:
// - by floats (BCONV): the second of each pair of channels, then the first; a product of two bf16 is exact in a float.
// - by pairs (BCONV, `gather` 1): AVX512-BF16, which is defined to add them in that order. The same bits as by floats, but that it takes
//   sums and products below the least normal number (1.2e-38) for 0.
// - by tiles (TCONV): AMX, which of each 32 channels first adds up those with even and those with odd numbers.
#pragma once
#include "bytes.h"

// Written as instructions, since a build has them beside what any processor that it is for can do: `other_ways` looks.
#if defined(BF16_INSTRUCTIONS)
#define PAIRS 1
#if defined(__linux__)
#define TILES 1
#endif
#endif

// -- rounding ------------------------------------------------------------------------------------------------------------------------

INLINE void put(float* to, vec x) {
    const uvec bits = upper_halves(x);
    std::memcpy(to, &bits, sizeof bits);
}

#ifdef PAIRS
INLINE void put(uint16_t* to, vec x) {
    halves_of_vec nearest;
    asm("vcvtneps2bf16 %1, %0" : "=v"(nearest) : "v"(x));
    *reinterpret_cast<loose_halves*>(to) = nearest;
}
#endif

template <class T>
INLINE T one(float x) {
    T found[LANES];
    put(found, all(x));
    return found[0];
}

// The first `count` numbers, then zeros.
INLINE vec first_of(vec x, int64_t count) {
    ivec lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return lane < all_ints(int32_t(count)) ? x : vec{};
}

// -- the input as it is multiplied ---------------------------------------------------------------------------------------------------

enum Way { BY_FLOATS, BY_PAIRS, BY_TILES };
INLINE Way way_of(const Step& s) { return s.kind == TCONV ? BY_TILES : s.gather ? BY_PAIRS : BY_FLOATS; }
INLINE int64_t whole_of(Way way) { return way == BY_TILES ? 32 : 2; }      // a pixel's channels are a multiple of this

INLINE bool alone(const Step& s) { return s.kh == 1 && s.kw == 1; }         // each result sees one pixel
INLINE bool pixel_by_pixel(const Step& s) {
    return alone(s) && s.sh == 1 && s.sw == 1 && s.ph == 0 && s.pw == 0 && s.oh == s.h && s.ow == s.w && !s.planar;
}

// Images whose weights are read once: where a map is small, several.
INLINE int64_t images_at_once(const Step& s) { return std::max<int64_t>(1, std::min(s.n, s.tile / (s.oh * s.ow))); }

// The input of some rows of results: the pixels that are seen, `depth` numbers each, with zeros behind the channels; `spread`, where that is
// less: what a row of taps sees for each result of the row, with zeros behind it.
struct Rounded {
    bool spread;
    int64_t depth, width, step;                         // `step`: pixels of the input from one to the next
    Rounded(const Step& s, Way way) {
        const int64_t whole = whole_of(way), each = over(s.c, whole) * whole, row = over(s.kw * s.c, whole) * whole;
        spread = way == BY_TILES && s.kw > 1 && s.dw == 1 && s.groups == 1 && row < s.kw * each;
        depth = spread ? row : each, width = alone(s) || spread ? s.ow : strip_width(s), step = alone(s) ? s.sw : 1;
    }
    static int64_t rows(const Step& s, int64_t count) { return alone(s) ? count : strip_rows(s, count); }
    int64_t size(const Step& s) const {
        if (pixel_by_pixel(s)) return std::min(s.n * s.h * s.w, std::max<int64_t>(1, s.tile)) * depth;
        return images_at_once(s) * rows(s, conv_rows(s)) * width * depth;
    }
};

// Of a map of halves as they are, or widened.
INLINE void take(const uint16_t* from, uint16_t* to) { std::memcpy(to, from, sizeof(halves_of_vec)); }
INLINE void take(const uint16_t* from, float* to) { store(to, widened(*reinterpret_cast<const loose_halves*>(from))); }

template <class T>
INLINE void round_pixels(const Step& s, const float* from, int64_t stride, int64_t count, T* to, int64_t depth) {
    if (s.halves & 1) {
        for (; count > 0; count--, from += stride, to += depth) {
            for (int64_t i = 0; i < s.c; i += LANES) take(halves_at(from, i), to + i);
            if (depth > s.c) std::memset(to + s.c, 0, (depth - s.c) * sizeof(T));
        }
        return;
    }
    for (; count > 0; count--, from += stride, to += depth)
        for (int64_t i = 0; i < depth; i += LANES) {
            vec x = {};
            if (i < s.c) x = load(from + i);
            if (s.before && i < s.c) x = larger(x * load(s.before + i) + load(s.before + padded(s.c) + i), vec{});
            put(to + i, i + LANES > s.c ? first_of(x, s.c - i) : x);
        }
}

// A row of the input, `width` pixels of `depth` numbers; LANES numbers too many are written.
template <class T>
INLINE void round_row(const Step& s, const float* in, int64_t y, int64_t width, int64_t step, int64_t depth, T* to) {
    const bool there = y >= 0 && y < s.h;
    if (!there || s.planar) std::memset(to, 0, width * depth * sizeof(T));
    if (!there) return;
    const int64_t left = std::min(width, s.pw > 0 ? over(s.pw, step) : 0), right = std::max(left, std::min(width, over(s.w + s.pw, step)));
    const int64_t x = left * step - s.pw;
    if (s.planar) {
        for (int64_t plane = 0; plane < s.c; plane++) {
            const float* from = in + (plane * s.h + y) * s.w + x;
            int64_t i = left;
            for (T some[LANES]; step == 1 && i + LANES <= right; i += LANES, from += LANES) {
                put(some, load(from));
                for (int64_t j = 0; j < LANES; j++) to[(i + j) * depth + plane] = some[j];
            }
            for (; i < right; i++, from += step) to[i * depth + plane] = one<T>(*from);
        }
        return;
    }
    std::memset(to, 0, left * depth * sizeof(T));
    round_pixels(s, in + (y * s.w + x) * s.in_stride, step * s.in_stride, right - left, to + left * depth, depth);
    std::memset(to + right * depth, 0, (width - right) * depth * sizeof(T));
}

typedef uint16_t line_of_halves __attribute__((vector_size(64)));

// For `rows` rows of results from `top` on; `behind` is room for a row of the input.
template <class T>
INLINE void round_rows(const Step& s, const Rounded& as, const float* in, int64_t top, int64_t rows, T* to, T* behind) {
    for (int64_t r = 0; r < Rounded::rows(s, rows); r++, to += as.width * as.depth) {
        const int64_t y = (alone(s) ? (top + r) * s.sh : top * s.sh + r) - s.ph;
        if (!as.spread) {
            round_row(s, in, y, as.width, as.step, as.depth, to);
            continue;
        }
        round_row(s, in, y, strip_width(s), 1, s.c, behind);
        const int64_t row = s.kw * s.c, left = row % CHANNELS ? row / CHANNELS * CHANNELS : row;
        if (as.depth * sizeof(T) == sizeof(line_of_halves)) {
            line_of_halves there;
            for (int64_t i = 0; i < as.depth; i++) there[i] = i < row ? 0xffff : 0;
            for (int64_t x = 0; x < s.ow; x++) {
                line_of_halves seen;
                std::memcpy(&seen, behind + x * s.sw * s.c, sizeof seen);
                seen &= there;
                std::memcpy(to + x * as.depth, &seen, sizeof seen);
            }
            continue;
        }
        for (int64_t x = 0; x < s.ow; x++) {
            const T* from = behind + x * s.sw * s.c;
            T* here = to + x * as.depth;
            for (int64_t i = 0; i < left; i += CHANNELS) std::memcpy(here + i, from + i, CHANNELS * sizeof(T));
            if (left < row) {
                T last[CHANNELS] = {};
                std::memcpy(last, from + left, CHANNELS * sizeof(T));
                for (int64_t i = row - left; i < CHANNELS; i++) last[i] = 0;
                std::memcpy(here + left, last, sizeof last);
            }
            for (int64_t i = over(row, CHANNELS) * CHANNELS; i < as.depth; i += CHANNELS) std::memset(here + i, 0, CHANNELS * sizeof(T));
        }
    }
}

// -- what comes after the sums -------------------------------------------------------------------------------------------------------

INLINE void put_by(Way way, uint16_t* to, vec x) {
#ifdef PAIRS
    if (way != BY_FLOATS) return put(to, x);
#endif
    put_halves(to, x);
}

// As `finish`, of maps that may be halves.
template <Way WAY, int R, int V>
INLINE void finish_rounded(const Block& b, vec (&sum)[R][V]) {
    if (!b.halves) return finish(b, sum);
    if (b.other)
#pragma GCC unroll 16
        for (int i = 0; i < R; i++)
#pragma GCC unroll 2
            for (int v = 0; v < V; v++) sum[i][v] += load_at(b.halves & 4, b.other + i * b.other_stride, v * LANES);
    if (b.activation > RELU6) {
        float found[R][V * LANES];
        for (int i = 0; i < R; i++)
            for (int v = 0; v < V; v++) store(&found[i][v * LANES], sum[i][v]);
        activate(&found[0][0], V * LANES, R, V * LANES, b.activation);
        for (int i = 0; i < R; i++)
            for (int v = 0; v < V; v++) sum[i][v] = load(&found[i][v * LANES]);
    }
    const vec least = all(b.activation == RELU || b.activation == RELU6 ? 0.0f : -INFINITY);
    const vec most = all(b.activation == RELU6 ? 6.0f : INFINITY);
#pragma GCC unroll 16
    for (int i = 0; i < R; i++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) {
            const vec x = smaller(larger(sum[i][v], least), most);
            float* out = b.out + i * b.out_stride;
            b.halves & 2 ? put_by(WAY, halves_at(out, v * LANES), x) : store(out + v * LANES, x);
        }
}

// -- by floats, and by pairs ---------------------------------------------------------------------------------------------------------

// `Block` on numbers that are rounded, and weights of bf16; `depth` counts pairs.
template <int R, int V>
void float_block(const Block& b) {
    vec sum[R][V];
    begin(b, sum);
    const float *weight = b.weight, *ahead = b.ahead;
    const int64_t stride = b.stride, depth = b.depth, ahead_step = b.ahead_step;
    for (int64_t row = 0; row < b.rows; row++)
        for (int64_t tap = 0; tap < b.taps; tap++) {
            const float* in = b.in + row * b.row_stride + tap * b.tap_stride;
            for (int64_t d = 0; d < depth; d++, weight += V * LANES, in += 2, ahead += ahead_step) {
                __builtin_prefetch(ahead, 0, 2);
                vec w[V];
#pragma GCC unroll 2
                for (int v = 0; v < V; v++) w[v] = vec(uvec(load_ints(weight + v * LANES)) & 0xffff0000u);
#pragma GCC unroll 16
                for (int i = 0; i < R; i++)
#pragma GCC unroll 2
                    for (int v = 0; v < V; v++) sum[i][v] += all(in[i * stride + 1]) * w[v];
#pragma GCC unroll 2
                for (int v = 0; v < V; v++) w[v] = vec(load_ints(weight + v * LANES) << 16);
#pragma GCC unroll 16
                for (int i = 0; i < R; i++)
#pragma GCC unroll 2
                    for (int v = 0; v < V; v++) sum[i][v] += all(in[i * stride]) * w[v];
            }
        }
    finish_rounded<BY_FLOATS>(b, sum);
}

#ifdef PAIRS
INLINE vec add_pairs(vec sum, ivec x, ivec w) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w));
    return sum;
}

template <int R, int V>
void pair_block(const Block& b) {
    vec sum[R][V];
    begin(b, sum);
    const float *weight = b.weight, *ahead = b.ahead;
    const int64_t stride = b.stride, depth = b.depth, ahead_step = b.ahead_step;
    for (int64_t row = 0; row < b.rows; row++)
        for (int64_t tap = 0; tap < b.taps; tap++) {
            const float* in = b.in + row * b.row_stride + tap * b.tap_stride;
            for (int64_t d = 0; d < depth; d++, weight += V * LANES, ahead += ahead_step) {
                __builtin_prefetch(ahead, 0, 2);
                ivec w[V];
#pragma GCC unroll 2
                for (int v = 0; v < V; v++) w[v] = load_ints(weight + v * LANES);
#pragma GCC unroll 16
                for (int i = 0; i < R; i++) {
                    int32_t pair;
                    std::memcpy(&pair, in + i * stride + d, 4);
                    const ivec x = all_ints(pair);
#pragma GCC unroll 2
                    for (int v = 0; v < V; v++) sum[i][v] = add_pairs(sum[i][v], x, w[v]);
                }
            }
        }
    finish_rounded<BY_PAIRS>(b, sum);
}
#endif

template <int V>
struct FloatBlocks {
    static constexpr BlockOf of[] = {nullptr, float_block<1, V>, float_block<2, V>, float_block<3, V>, float_block<4, V>, float_block<5, V>,
                                     float_block<6, V>,
#if defined(__AVX512F__) || defined(__aarch64__)
                                     float_block<7, V>, float_block<8, V>,
#endif
#if defined(__AVX512F__)
                                     float_block<9, V>, float_block<10, V>, float_block<11, V>, float_block<12, V>, float_block<13, V>,
                                     float_block<14, V>,
#endif
    };
};

#ifdef PAIRS
template <int V>
struct PairBlocks {
    static constexpr BlockOf of[] = {nullptr, pair_block<1, V>, pair_block<2, V>, pair_block<3, V>, pair_block<4, V>, pair_block<5, V>,
                                     pair_block<6, V>, pair_block<7, V>, pair_block<8, V>, pair_block<9, V>, pair_block<10, V>,
                                     pair_block<11, V>, pair_block<12, V>, pair_block<13, V>, pair_block<14, V>};
};
#endif

// A panel's results for `rows` rows of `places` places, `line` numbers apart in what is multiplied.
template <template <int> class Of>
INLINE void panel_rows(Block b, int64_t rows, int64_t places, int64_t line, bool full) {
    for (int64_t row = 0; row < rows; row++) {
        full ? pixels<Of, 2>(b, places, Turn{0, 1}) : pixels<Of, 1>(b, places, Turn{0, 1});
        b.in += line, b.out += places * b.out_stride;
        if (b.other) b.other += places * b.other_stride;
    }
}

// -- by tiles ------------------------------------------------------------------------------------------------------------------------

#ifdef TILES
constexpr int64_t TILE = 16, TILE_DEPTH = 32;       // pixels, or output channels, and channels of one

struct TileForms {                                  // of eight tiles, all whole
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

template <int TO>
INLINE void load_tile(const float* from, int64_t stride) {                  // bytes from row to row
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(TO) : "memory");
}
template <int FROM>
INLINE void store_tile(float* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(FROM) : "memory");
}
template <int TO, int X, int W>
INLINE void add_tiles() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(TO), "i"(X), "i"(W));
}

// P times 16 places of the input, `b.stride` apart, by V vectors of output channels: their sums, to what is there already, or to the bias.
// `ahead_step` counts lines of the cache.
template <int P, int V>
INLINE void tile_sums(Block& b, float (*sums)[PANEL], bool more) {
    const float* first = more ? sums[0] : b.bias;
    const int64_t next = more ? PANEL * 4 : 0, second = more ? TILE * PANEL : 0;
    load_tile<0>(first, next);
    if (V > 1) load_tile<1>(first + LANES, next);
    if (P > 1) load_tile<2>(first + second, next);
    if (P > 1 && V > 1) load_tile<3>(first + second + LANES, next);
    const float *weight = b.weight, *ahead = b.ahead;
    const int64_t stride = b.stride * 4;
    for (int64_t row = 0; row < b.rows; row++)
        for (int64_t tap = 0; tap < b.taps; tap++) {
            const float* in = b.in + row * b.row_stride + tap * b.tap_stride;
            for (int64_t d = 0; d < b.depth; d += TILE, in += TILE, weight += TILE * V * LANES) {
                load_tile<4>(in, stride);
                if (P > 1) load_tile<5>(in + TILE * b.stride, stride);
                load_tile<6>(weight, V * 64);
                if (V > 1) load_tile<7>(weight + LANES, V * 64);
                add_tiles<0, 4, 6>();
                if (V > 1) add_tiles<1, 4, 7>();
                if (P > 1) add_tiles<2, 5, 6>();
                if (P > 1 && V > 1) add_tiles<3, 5, 7>();
                for (int64_t line = 0; line < b.ahead_step; line++, ahead += 16) __builtin_prefetch(ahead, 0, 2);
            }
        }
    b.ahead = ahead;
    store_tile<0>(sums[0], PANEL * 4);
    if (V > 1) store_tile<1>(&sums[0][LANES], PANEL * 4);
    if (P > 1) store_tile<2>(sums[TILE], PANEL * 4);
    if (P > 1 && V > 1) store_tile<3>(&sums[TILE][LANES], PANEL * 4);
}

INLINE void put_two(uint16_t* to, vec first, vec second) {
    ivec both;
    asm("vcvtne2ps2bf16 %1, %2, %0" : "=v"(both) : "v"(first), "v"(second));
    *reinterpret_cast<loose_ints*>(to) = both;
}

enum Other { NO_OTHER, OF_FLOATS, OF_HALVES };

// The results of `count` pixels in a row, of their sums.
template <int V, Other OTHER, bool HALVES>
INLINE void finish_pixels(Block& b, const float (*sums)[PANEL], int64_t count) {
    const vec least = all(b.activation == RELU || b.activation == RELU6 ? 0.0f : -INFINITY);
    const vec most = all(b.activation == RELU6 ? 6.0f : INFINITY);
    for (; count > 0; count--, sums++, b.out += b.out_stride) {
        vec x[V];
        for (int v = 0; v < V; v++) {
            x[v] = load(*sums + v * LANES);
            if (OTHER != NO_OTHER) x[v] += load_at(OTHER == OF_HALVES, b.other, v * LANES);
            x[v] = smaller(larger(x[v], least), most);
            if (!HALVES) store(b.out + v * LANES, x[v]);
        }
        if (OTHER != NO_OTHER) b.other += b.other_stride;
        if (HALVES) V == 2 ? put_two(halves_at(b.out, 0), x[0], x[V - 1]) : put(halves_at(b.out, 0), x[0]);
    }
}

template <int V>
INLINE void finish_pixels(Block& b, float (*sums)[PANEL], int64_t count) {
    if (b.activation > RELU6) {
        for (int64_t i = 0; b.other && i < count; i++, b.other += b.other_stride)
            for (int v = 0; v < V; v++)
                store(sums[i] + v * LANES, load(sums[i] + v * LANES) + load_at(b.halves & 4, b.other, v * LANES));
        activate(*sums, PANEL, count, V * LANES, b.activation);
        return b.halves & 2 ? finish_pixels<V, NO_OTHER, true>(b, sums, count) : finish_pixels<V, NO_OTHER, false>(b, sums, count);
    }
    switch ((b.other ? b.halves & 4 ? OF_HALVES : OF_FLOATS : NO_OTHER) * 2 + (b.halves & 2 ? 1 : 0)) {
        case 0: return finish_pixels<V, NO_OTHER, false>(b, sums, count);
        case 1: return finish_pixels<V, NO_OTHER, true>(b, sums, count);
        case 2: return finish_pixels<V, OF_FLOATS, false>(b, sums, count);
        case 3: return finish_pixels<V, OF_FLOATS, true>(b, sums, count);
        case 4: return finish_pixels<V, OF_HALVES, false>(b, sums, count);
        case 5: return finish_pixels<V, OF_HALVES, true>(b, sums, count);
    }
}

constexpr int64_t DEEP_TILES = 8 * TILE, SUMMED = 12 * TILE;       // pairs of channels that are summed up at once, and for how many places

// A panel's results for `count` places in a row, of which every `width` the first `there` are results.
template <int V>
INLINE void tile_run(Block b, int64_t count, int64_t width, int64_t there, Turn turn) {
    alignas(64) float sums[SUMMED][PANEL];
    const int64_t blocks = over(count, 2 * TILE), steps = b.rows * b.taps * b.depth / TILE;
    b.ahead_step = over(V * TILE, blocks * turn.calls);
    b.ahead += steps * TILE * b.ahead_step * blocks * turn.call;
    // the weights of some channels stay near while all places are summed up
    const bool pieces = b.rows * b.taps == 1 && b.depth > DEEP_TILES && count > 2 * TILE && count <= SUMMED;
    const int64_t deep = pieces ? DEEP_TILES : b.depth, together = pieces ? count : 2 * TILE;
    for (int64_t done = 0, x = 0; done < count; done += together, b.in += together * b.stride) {
        const int64_t now = std::min(together, count - done);
        for (int64_t from = 0; from < b.depth; from += deep) {
            Block piece = b;
            piece.depth = std::min(deep, b.depth - from), piece.in += from, piece.weight += from * V * LANES;
            for (int64_t i = 0; i < now; i += 2 * TILE, piece.in += 2 * TILE * b.stride)
                now - i > TILE ? tile_sums<2, V>(piece, sums + i, from > 0) : tile_sums<1, V>(piece, sums + i, from > 0);
            b.ahead = piece.ahead;
        }
        for (int64_t i = 0; i < now;) {
            const int64_t written = x < there ? std::min(now - i, there - x) : 0;
            if (written) finish_pixels<V>(b, sums + i, written);
            i += written, x += written;
            const int64_t skipped = x < there ? 0 : std::min(now - i, width - x);
            i += skipped, x += skipped;
            if (x == width) x = 0;
        }
    }
}

template <int V>
INLINE void tile_rows(Block b, int64_t rows, int64_t places, int64_t line, int64_t width, Turn turn) {
    const int64_t whole = (rows - 1) * width + places;
    // in one piece, where that is no more: what lies between two rows is left out
    if (rows > 1 && b.stride * width == line && over(whole, TILE) <= rows * over(places, TILE))
        return tile_run<V>(b, whole, width, places, turn);
    for (int64_t row = 0; row < rows; row++) {
        tile_run<V>(b, places, places, places, {turn.call * rows + row, turn.calls * rows});
        b.in += line, b.out += places * b.out_stride;
        if (b.other) b.other += places * b.other_stride;
    }
}
#endif

// -- all ways ------------------------------------------------------------------------------------------------------------------------

INLINE int64_t rounded_scratch(const Step& s) {
    const Way way = way_of(s);
    const Rounded as(s, way);
    const int64_t beyond = way == BY_TILES ? (32 * s.sw + 1) * as.depth : 0, behind = as.spread ? strip_width(s) * s.c + CHANNELS : 0;
    return over(as.size(s) + beyond + behind, way == BY_FLOATS ? 1 : 2) + 2 * CHANNELS;
}

template <Way WAY>
inline void rounded_conv(const Step& s, const Place& at) {
    typedef typename std::conditional<WAY == BY_FLOATS, float, uint16_t>::type Number;
    constexpr int64_t EACH = WAY == BY_FLOATS ? 1 : 2;                      // of them in 32 bits
    static const float NOTHING[PANEL] = {};
    const Rounded as(s, WAY);
    const int64_t per_group = s.k / s.groups, depth = s.groups == 1 ? as.depth : s.c / s.groups;
    const int64_t channels = s.groups == 1 ? padded(s.k) : per_group, panels = over(channels, PANEL), all_panels = panels * s.groups;
    const Share whole = {0, 1}, &by_panel = s.by_channels ? at.share : whole, &by_tile = s.by_channels ? whole : at.share;
    const int64_t first_panel = by_panel.first(all_panels), last_panel = by_panel.last(all_panels);
    const int64_t across = as.spread ? 1 : s.kw, sw = alone(s) || as.spread ? 1 : s.sw, taps = s.kh * across * depth / 2;
    if (first_panel == last_panel) return;
    const bool joined = s.groups == 1 && s.dw == 1;                         // a row of taps lies in one piece
    Block b = {};
    b.activation = s.activation, b.out_stride = s.out_stride, b.other_stride = s.other_stride, b.halves = s.halves & 6;
    b.rows = s.kh, b.taps = joined ? 1 : across, b.depth = (joined ? across * depth : depth) / 2, b.tap_stride = s.dw * as.depth / EACH;
    b.stride = sw * as.depth / EACH, b.row_stride = s.dh * as.width * as.depth / EACH;
    const int64_t line = (alone(s) ? 1 : s.sh) * as.width * as.depth / EACH;
    Number* const strip = reinterpret_cast<Number*>(at.scratch);
    Number* const behind = strip + as.size(s) + (32 * s.sw + 1) * as.depth;       // for what is spread by tiles
    const float* given = at.scratch;
    // What is given, for so many images of so many rows of results.
    auto multiply = [&](int64_t first, int64_t images, int64_t rows, int64_t places, int64_t image_size) {
        for (int64_t panel = first_panel, image = 0; panel < last_panel; image + 1 < images ? image++ : (image = 0, panel++)) {
            const int64_t pixel = first + image * rows * places;
            const int64_t group = panel / panels, start = panel % panels * PANEL, channel = group * per_group + start;
            const bool full = channels - start >= PANEL;
            b.weight = s.weight + (group * channels + start) * taps;
            b.ahead = b.weight + std::min<int64_t>(PANEL, channels - start) * taps;
            b.bias = s.bias ? s.bias + channel : WAY == BY_TILES ? NOTHING : nullptr;
            b.in = given + image * image_size / EACH + group * depth / EACH;
            b.out = at.arena + s.out + pixel * s.out_stride + (s.halves & 2 ? channel / 2 : channel);
            b.other = s.other < 0 ? nullptr : at.arena + s.other + pixel * s.other_stride + (s.halves & 4 ? channel / 2 : channel);
#ifdef TILES
            if (WAY == BY_TILES) {
                const Turn turn = {image, images};
                full ? tile_rows<2>(b, rows, places, line, as.width, turn) : tile_rows<1>(b, rows, places, line, as.width, turn);
                continue;
            }
#endif
#ifdef PAIRS
            if (WAY == BY_PAIRS) {
                panel_rows<PairBlocks>(b, rows, places, line, full);
                continue;
            }
#endif
            panel_rows<FloatBlocks>(b, rows, places, line, full);
        }
    };
#ifdef TILES
    const TileForms forms;
    if (WAY == BY_TILES) asm volatile("ldtilecfg %0" : : "m"(forms));
#endif
    if (pixel_by_pixel(s)) {
        const bool direct = WAY != BY_FLOATS && s.halves & 1 && s.c == as.depth;        // as it lies
        const int64_t all = s.n * s.h * s.w, tile = std::max<int64_t>(1, s.tile), units = over(all, tile);
        for (int64_t unit = by_tile.first(units); unit < by_tile.last(units); unit++) {
            const int64_t pixel = unit * tile, now = std::min(tile, all - pixel);
            const float* from = at.arena + s.in + pixel * s.in_stride;
            const int64_t there = !direct ? 0 : WAY == BY_TILES ? now / 16 * 16 : now;     // tiles are read whole
            if (there) {
                b.stride = s.in_stride, given = from;
                multiply(pixel, 1, 1, there, 0);
                b.stride = as.depth / EACH, given = at.scratch;
            }
            if (there == now) continue;
            round_pixels(s, from + there * s.in_stride, s.in_stride, now - there, strip, as.depth);
            multiply(pixel + there, 1, 1, now - there, 0);
        }
    } else {
        const int64_t rows = conv_rows(s), strips = over(s.oh, rows), many = images_at_once(s), units = over(s.n, many) * strips;
        const int64_t image_size = Rounded::rows(s, rows) * as.width * as.depth;
        const float* in = s.planar ? at.image : at.arena + s.in;
        for (int64_t unit = by_tile.first(units); unit < by_tile.last(units); unit++) {
            const int64_t first = unit / strips * many, images = std::min(many, s.n - first), top = unit % strips * rows;
            const int64_t count = std::min(rows, s.oh - top), pixel = (first * s.oh + top) * s.ow;
            for (int64_t image = 0; image < images; image++)
                round_rows(s, as, in + (first + image) * (s.planar ? s.c * s.h * s.w : s.h * s.w * s.in_stride), top, count,
                           strip + image * image_size, behind);
            alone(s) ? multiply(pixel, images, 1, count * s.ow, image_size) : multiply(pixel, images, count, s.ow, image_size);
        }
    }
#ifdef TILES
    if (WAY == BY_TILES) asm volatile("tilerelease" : : : "memory");
#endif
}

// Ways besides BY_FLOATS that can be taken here, a bit each: 1 by pairs, 2 by tiles, for which the system is asked.
INLINE int64_t other_ways() {
    int64_t found = 0;
#ifdef PAIRS
    uint32_t a, b, c, d;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) found |= a >> 5 & 1;       // AVX512-BF16
#endif
#ifdef TILES
    constexpr long REQUEST = 0x1023, TILES_OF_THREADS = 18;                 // arch_prctl's ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    if (found && __get_cpuid_count(7, 0, &a, &b, &c, &d) && d >> 22 & d >> 24 & 1 && !syscall(SYS_arch_prctl, REQUEST, TILES_OF_THREADS)) found |= 2;
#endif
    return found;
}
