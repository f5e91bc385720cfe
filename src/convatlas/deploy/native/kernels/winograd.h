// 3×3 convolutions of stride 1 by Winograd's F(4×4, 3×3) and F(2×2, 3×3): 36 products for each 16 results, or 16 for each 4, where the
// definition takes 9 for each (Lavin and Gray, 2015, arXiv:1509.09308). Tiles of the input are transformed, multiplied as so many
// matrices, and transformed back. The weights are 4 or 1.8 times as many, which counts where a map is small.
#pragma once
#include "conv.h"

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

template <int TILE>
INLINE void transform_tile(const Step& s, const float* image, int64_t top, int64_t left, float* to, int64_t matrix) {
    constexpr int REACH = TILE + 2;
    const bool inside = top >= 0 && left >= 0 && top + REACH <= s.h && left + REACH <= s.w;
    for (int64_t c = 0; c < padded(s.c); c += LANES) {
        vec columns[REACH][REACH];
        for (int64_t x = 0; x < REACH; x++) {
            vec d[REACH];
            for (int64_t y = 0; y < REACH; y++) {
                const int64_t row = top + y, column = left + x;
                const bool there = inside || (row >= 0 && row < s.h && column >= 0 && column < s.w);
                d[y] = there ? load(image + (row * s.w + column) * s.in_stride + c) : vec{};
            }
            Winograd<TILE>::into(d);
            for (int64_t y = 0; y < REACH; y++) columns[y][x] = d[y];
        }
        for (int64_t y = 0; y < REACH; y++) {
            Winograd<TILE>::into(columns[y]);
            for (int64_t x = 0; x < REACH; x++) store(to + (y * REACH + x) * matrix + c, columns[y][x]);
        }
    }
}

template <int TILE>
INLINE void transform_back(const Step& s, const Place& at, const float* from, int64_t matrix, int64_t image, int64_t top, int64_t left,
                           int64_t channel) {
    constexpr int REACH = TILE + 2;
    vec rows[TILE][REACH];
    for (int64_t x = 0; x < REACH; x++) {
        vec m[REACH], o[TILE];
        for (int64_t y = 0; y < REACH; y++) m[y] = load(from + (y * REACH + x) * matrix);
        Winograd<TILE>::back(m, o);
        for (int64_t y = 0; y < TILE; y++) rows[y][x] = o[y];
    }
    const vec bias = s.bias ? load(s.bias + channel) : vec{};
    for (int64_t y = 0; y < std::min<int64_t>(TILE, s.oh - top); y++) {
        vec o[TILE];
        Winograd<TILE>::back(rows[y], o);
        for (int64_t x = 0; x < std::min<int64_t>(TILE, s.ow - left); x++) {
            const int64_t pixel = (image * s.oh + top + y) * s.ow + left + x;
            vec sum = o[x] + bias;
            if (s.other >= 0) sum += load(at.arena + s.other + pixel * s.other_stride + channel);
            store(at.arena + s.out + pixel * s.out_stride + channel, activated(sum, s.activation));
        }
    }
}

// Bring into the cache what a tile's results will be written to, and added to.
template <int TILE>
INLINE void fetch(const Step& s, const Place& at, int64_t image, int64_t top, int64_t left, int64_t channel, int64_t wide) {
    for (int64_t y = 0; y < std::min<int64_t>(TILE, s.oh - top); y++)
        for (int64_t x = 0; x < std::min<int64_t>(TILE, s.ow - left); x++)
            for (int64_t c = channel; c < channel + wide; c += CHANNELS) {
                const int64_t pixel = (image * s.oh + top + y) * s.ow + left + x;
                __builtin_prefetch(at.arena + s.out + pixel * s.out_stride + c, 1, 3);
                if (s.other >= 0) __builtin_prefetch(at.arena + s.other + pixel * s.other_stride + c, 0, 3);
            }
}

template <int TILE>
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
        int64_t image, top, left;
        for (int64_t t = 0; t < here; t++) {
            place(from + t, image, top, left);
            transform_tile<TILE>(s, at.arena + s.in + image * s.h * s.w * s.in_stride, top - s.ph, left - s.pw, transformed + t * channels, matrix);
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
                    pixels(b, here, lanes == PANEL);
                }
            for (int64_t t = 0; t < here; t++) {
                if (t + 2 < here) {                         // where those after the next go
                    place(from + t + 2, image, top, left);
                    fetch<TILE>(s, at, image, top, left, panel * PANEL, wide);
                }
                place(from + t, image, top, left);
                for (int64_t c = 0; c < wide; c += LANES)
                    transform_back<TILE>(s, at, products + t * s.gather * PANEL + c, product, image, top, left, panel * PANEL + c);
            }
        }
    }
}
