// 3×3 convolutions of stride 1 by Winograd's F(4×4, 3×3) and F(2×2, 3×3): 36 products for each 16 results, or 16 for each 4, where the
// definition takes 9 for each (Lavin and Gray, 2015, arXiv:1509.09308). Tiles of the input are transformed, multiplied as so many
// matrices, and transformed back. The weights are 4 or 1.8 times as many, which counts where a map is small.
#pragma once
#include "conv.h"
#include "halves.h"

template <int TILE>
struct Winograd;

// The polynomials are evaluated at 0, ±1/√2, ±√2 and infinity: their rounding error is smaller than that of the paper's 0, ±1, ±2.
template <>
struct Winograd<4> {
    static constexpr float NEAR = 0.70710678f, FAR = 1.41421356f;
    static INLINE void into(vec* d) {           // Bᵀ times six values
        const vec a = d[4] - 2.0f * d[2], b = NEAR * (d[3] - 2.0f * d[1]), c = d[4] - 0.5f * d[2], e = FAR * (d[3] - 0.5f * d[1]);
        const vec first = d[0] + (d[4] - 2.5f * d[2]), last = d[1] + (d[5] - 2.5f * d[3]);
        d[0] = first, d[1] = a + b, d[2] = a - b, d[3] = c + e, d[4] = c - e, d[5] = last;
    }
    static INLINE void back(const vec* m, vec* o) {         // Aᵀ times six values
        const vec p = m[1] + m[2], q = m[1] - m[2], r = m[3] + m[4], s = m[3] - m[4];
        o[0] = m[0] + p + r, o[1] = NEAR * q + FAR * s, o[2] = 0.5f * p + 2.0f * r, o[3] = (0.5f * NEAR) * q + (2.0f * FAR) * s + m[5];
    }
};

// At 0, ±1 and infinity.
template <>
struct Winograd<2> {
    static INLINE void into(vec* d) {
        const vec first = d[0] - d[2], last = d[3] - d[1], a = d[1] + d[2];
        d[2] = d[2] - d[1], d[0] = first, d[1] = a, d[3] = last;
    }
    static INLINE void back(const vec* m, vec* o) { o[0] = m[0] + m[1] + m[2], o[1] = m[1] - m[2] + m[3]; }
};

template <int TILE>
struct Tiles {
    static constexpr int REACH = TILE + 2, POINTS = REACH * REACH;
    int64_t high, wide, each;
    explicit Tiles(const Step& s) : high(over(s.oh, TILE)), wide(over(s.ow, TILE)), each(high * wide) {}
};

// The matrices of one point lie `apart`: a multiple of a page plus a line, lest they fall on the same lines of the cache.
INLINE int64_t apart(int64_t tile, int64_t channels) { return tile * channels + CHANNELS; }

template <int TILE>
INLINE int64_t winograd_scratch(const Step& s) {
    const int64_t tile = std::min(s.tile, s.n * Tiles<TILE>(s).each);
    return Tiles<TILE>::POINTS * (apart(tile, padded(s.c)) + apart(tile, s.gather * PANEL));
}

constexpr int64_t FAR_AWAY = 1 << 19;       // numbers of a map that comes from beyond the near caches

// The input of one tile, from its first pixel, which may lie outside the map, where INSIDE is false. HALVES: some map of the step is of bf16.
template <int TILE, bool HALVES, bool INSIDE>
INLINE void transform(const Step& s, const float* first, int64_t top, int64_t left, float* to, int64_t matrix) {
    constexpr int REACH = TILE + 2;
    const int64_t line = s.w * s.in_stride;
    const bool far = s.h * line > FAR_AWAY;
    for (int64_t c = 0; c < padded(s.c); c += LANES) {
        vec columns[REACH][REACH];
#pragma GCC unroll 6
        for (int x = 0; x < REACH; x++) {
            vec d[REACH];
#pragma GCC unroll 6
            for (int y = 0; y < REACH; y++) {
                const bool there = INSIDE || (top + y >= 0 && top + y < s.h && left + x >= 0 && left + x < s.w);
                const float* pixel = first + y * line + x * s.in_stride;
                if (far && x >= 2) __builtin_prefetch(pixel + 2 * TILE * s.in_stride + c, 0, 3);     // of the tile after the next
                d[y] = there ? load_at(HALVES && s.halves & 1, pixel, c) : vec{};
            }
            Winograd<TILE>::into(d);
#pragma GCC unroll 6
            for (int y = 0; y < REACH; y++) columns[y][x] = d[y];
        }
#pragma GCC unroll 6
        for (int y = 0; y < REACH; y++) {
            Winograd<TILE>::into(columns[y]);
#pragma GCC unroll 6
            for (int x = 0; x < REACH; x++) store(to + (y * REACH + x) * matrix + c, columns[y][x]);
        }
    }
}

template <int TILE, bool HALVES>
INLINE void transform_tile(const Step& s, const float* image, int64_t top, int64_t left, float* to, int64_t matrix) {
    const float* first = image + (top * s.w + left) * s.in_stride;
    if (top >= 0 && left >= 0 && top + TILE + 2 <= s.h && left + TILE + 2 <= s.w)
        transform<TILE, HALVES, true>(s, first, top, left, to, matrix);
    else
        transform<TILE, HALVES, false>(s, first, top, left, to, matrix);
}

// The results of one tile; WHOLE: all of them are on the map.
template <int TILE, bool HALVES, bool WHOLE>
INLINE void transform_back(const Step& s, const Place& at, const float* from, int64_t matrix, int64_t image, int64_t top, int64_t left,
                           int64_t channel) {
    constexpr int REACH = TILE + 2;
    vec rows[TILE][REACH];
#pragma GCC unroll 6
    for (int x = 0; x < REACH; x++) {
        vec m[REACH], o[TILE];
#pragma GCC unroll 6
        for (int y = 0; y < REACH; y++) m[y] = load(from + (y * REACH + x) * matrix);
        Winograd<TILE>::back(m, o);
#pragma GCC unroll 4
        for (int y = 0; y < TILE; y++) rows[y][x] = o[y];
    }
    const int64_t first = (image * s.oh + top) * s.ow + left;
    const vec bias = s.bias ? load(s.bias + channel) : vec{};
    float* out = at.arena + s.out + first * s.out_stride;
    const float* other = s.other < 0 ? nullptr : at.arena + s.other + first * s.other_stride;
    const bool to_halves = HALVES && s.halves & 2, other_halves = HALVES && s.halves & 4;
    const float least = s.activation == RELU ? 0.0f : -INFINITY;
    const int64_t high = WHOLE ? TILE : std::min<int64_t>(TILE, s.oh - top), wide = WHOLE ? TILE : std::min<int64_t>(TILE, s.ow - left);
#pragma GCC unroll 4
    for (int y = 0; y < TILE; y++) {
        if (!WHOLE && y >= high) break;
        vec o[TILE];
        float row[TILE * LANES];                    // of floats, what goes into halves
        Winograd<TILE>::back(rows[y], o);
#pragma GCC unroll 4
        for (int x = 0; x < TILE; x++) {
            if (!WHOLE && x >= wide) break;
            vec sum = o[x] + bias;
            if (other) sum += load_at(other_halves, other + x * s.other_stride, channel);
            store(to_halves ? row + x * LANES : out + x * s.out_stride + channel, larger(sum, all(least)));
        }
        if (s.activation > RELU) activate(to_halves ? row : out + channel, to_halves ? LANES : s.out_stride, wide, LANES, s.activation);
        if (to_halves)
            for (int64_t x = 0; x < wide; x++) put_halves(halves_at(out + x * s.out_stride, channel), load(row + x * LANES));
        out += s.ow * s.out_stride;
        if (other) other += s.ow * s.other_stride;
    }
}

// Bring into the cache what a tile's results will be written to, and added to.
template <int TILE>
INLINE void fetch(const Step& s, const Place& at, int64_t image, int64_t top, int64_t left, int64_t channel, int64_t wide) {
    for (int64_t y = 0; y < std::min<int64_t>(TILE, s.oh - top); y++)
        for (int64_t x = 0; x < std::min<int64_t>(TILE, s.ow - left); x++)
            for (int64_t c = channel; c < channel + wide; c += CHANNELS) {
                const int64_t pixel = (image * s.oh + top + y) * s.ow + left + x;
                __builtin_prefetch(at.arena + s.out + pixel * s.out_stride + (s.halves & 2 ? c / 2 : c), 1, 3);
                if (s.other >= 0) __builtin_prefetch(at.arena + s.other + pixel * s.other_stride + (s.halves & 4 ? c / 2 : c), 0, 3);
            }
}

template <int TILE, bool HALVES = false>
inline void winograd(const Step& s, const Place& at) {
    const Tiles<TILE> tiles(s);
    constexpr int POINTS = Tiles<TILE>::POINTS;
    const int64_t channels = padded(s.c), results = padded(s.k), panels = over(results, PANEL), count = s.n * tiles.each;
    const Share whole = {0, 1}, &by_panel = s.by_channels ? at.share : whole, &by_tile = s.by_channels ? whole : at.share;
    const int64_t first = by_tile.first(count), last = by_tile.last(count);
    const int64_t size = std::min(s.tile, count), matrix = apart(size, channels), product = apart(size, s.gather * PANEL);
    float *transformed = at.scratch, *products = at.scratch + POINTS * matrix;
    auto place = [&](int64_t tile, int64_t& image, int64_t& top, int64_t& left) {
        image = tile / tiles.each, top = tile % tiles.each / tiles.wide * TILE, left = tile % tiles.wide * TILE;
    };
    for (int64_t from = first; from < last; from += size) {
        const int64_t here = std::min(size, last - from);
        const Cut cut(here);
        int64_t image, top, left;
        for (int64_t t = 0; t < here; t++) {
            place(from + t, image, top, left);
            transform_tile<TILE, HALVES>(s, at.arena + s.in + image * s.h * s.w * s.in_stride, top - s.ph, left - s.pw, transformed + t * channels, matrix);
        }
        const int64_t end = by_panel.last(panels);
        for (int64_t panel = by_panel.first(panels); panel < end; panel += s.gather) {
            const int64_t many = std::min(s.gather, end - panel), wide = std::min(many * PANEL, results - panel * PANEL);
            for (int64_t point = 0; point < POINTS; point++)
                for (int64_t p = 0; p < many; p++) {
                    const int64_t start = (panel + p) * PANEL, lanes = std::min<int64_t>(PANEL, results - start);
                    Block b = {};
                    b.in = transformed + point * matrix, b.stride = channels, b.rows = b.taps = 1, b.depth = s.c;
                    b.weight = s.weight + (start * POINTS + point * lanes) * s.c;
                    b.ahead = b.weight + lanes * s.c;
                    b.out = products + point * product + p * PANEL, b.out_stride = s.gather * PANEL;
                    pixels(b, cut, lanes == PANEL);
                }
            for (int64_t t = 0; t < here; t++) {
                if (t + 2 < here) {                         // where those after the next go
                    place(from + t + 2, image, top, left);
                    fetch<TILE>(s, at, image, top, left, panel * PANEL, wide);
                }
                place(from + t, image, top, left);
                const bool all_there = top + TILE <= s.oh && left + TILE <= s.ow;
                for (int64_t c = 0; c < wide; c += LANES) {
                    const float* given = products + t * s.gather * PANEL + c;
                    if (all_there)
                        transform_back<TILE, HALVES, true>(s, at, given, product, image, top, left, panel * PANEL + c);
                    else
                        transform_back<TILE, HALVES, false>(s, at, given, product, image, top, left, panel * PANEL + c);
                }
            }
        }
    }
}
