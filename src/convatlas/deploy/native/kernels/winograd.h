// 3×3 convolutions of stride 1 by Winograd's F(4×4, 3×3): 36 products for each 16 results, where the definition takes 144
// (Lavin and Gray, 2015, arXiv:1509.09308). Tiles of the input are transformed, multiplied as 36 matrices, and transformed back.
#pragma once
#include "conv.h"

constexpr int TILE = 4, REACH = 6, POINTS = REACH * REACH;

// The polynomials are evaluated at 0, ±1/√2, ±√2 and infinity: a third of the rounding error that the paper's 0, ±1, ±2 make.
constexpr float NEAR = 0.70710678f, FAR = 1.41421356f;

// Bᵀ times six values.
INLINE void into(vec& d0, vec& d1, vec& d2, vec& d3, vec& d4, vec& d5) {
    const vec a = d4 - 2.0f * d2, b = NEAR * (d3 - 2.0f * d1), c = d4 - 0.5f * d2, e = FAR * (d3 - 0.5f * d1);
    const vec first = d0 + (d4 - 2.5f * d2), last = d1 + (d5 - 2.5f * d3);
    d0 = first, d1 = a + b, d2 = a - b, d3 = c + e, d4 = c - e, d5 = last;
}

// Aᵀ times six values.
INLINE void out_of(vec m0, vec m1, vec m2, vec m3, vec m4, vec m5, vec& o0, vec& o1, vec& o2, vec& o3) {
    const vec p = m1 + m2, q = m1 - m2, r = m3 + m4, s = m3 - m4;
    o0 = m0 + p + r, o1 = NEAR * q + FAR * s, o2 = 0.5f * p + 2.0f * r, o3 = (0.5f * NEAR) * q + (2.0f * FAR) * s + m5;
}

struct Tiles {
    int64_t high, wide, each;
    explicit Tiles(const Step& s) : high(over(s.oh, TILE)), wide(over(s.ow, TILE)), each(high * wide) {}
};

// The matrices of one point lie `apart`: a multiple of a page plus a line, lest they fall on the same lines of the cache.
INLINE int64_t apart(int64_t tile, int64_t channels) { return tile * channels + CHANNELS; }

INLINE int64_t winograd_scratch(const Step& s) {
    const int64_t tile = std::min(s.tile, s.n * Tiles(s).each);
    return POINTS * (apart(tile, padded(s.c)) + apart(tile, s.gather * PANEL));
}

INLINE void transform_tile(const Step& s, const float* image, int64_t top, int64_t left, float* to, int64_t matrix) {
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
            into(d[0], d[1], d[2], d[3], d[4], d[5]);
            for (int64_t y = 0; y < REACH; y++) columns[y][x] = d[y];
        }
        for (int64_t y = 0; y < REACH; y++) {
            vec* d = columns[y];
            into(d[0], d[1], d[2], d[3], d[4], d[5]);
            for (int64_t x = 0; x < REACH; x++) store(to + (y * REACH + x) * matrix + c, d[x]);
        }
    }
}

INLINE void transform_back(const Step& s, const Place& at, const float* from, int64_t matrix, int64_t image, int64_t top, int64_t left,
                           int64_t channel) {
    vec rows[TILE][REACH];
    for (int64_t x = 0; x < REACH; x++) {
        const float* m = from + x * matrix;
        const int64_t row = REACH * matrix;
        out_of(load(m), load(m + row), load(m + 2 * row), load(m + 3 * row), load(m + 4 * row), load(m + 5 * row), rows[0][x], rows[1][x],
               rows[2][x], rows[3][x]);
    }
    const vec bias = s.bias ? load(s.bias + channel) : vec{};
    for (int64_t y = 0; y < std::min<int64_t>(TILE, s.oh - top); y++) {
        vec o[TILE];
        const vec* m = rows[y];
        out_of(m[0], m[1], m[2], m[3], m[4], m[5], o[0], o[1], o[2], o[3]);
        for (int64_t x = 0; x < std::min<int64_t>(TILE, s.ow - left); x++) {
            const int64_t pixel = (image * s.oh + top + y) * s.ow + left + x;
            vec sum = o[x] + bias;
            if (s.other >= 0) sum += load(at.arena + s.other + pixel * s.other_stride + channel);
            store(at.arena + s.out + pixel * s.out_stride + channel, activated(sum, s.activation));
        }
    }
}

inline void winograd(const Step& s, const Place& at) {
    const Tiles tiles(s);
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
            transform_tile(s, at.arena + s.in + image * s.h * s.w * s.in_stride, top - s.ph, left - s.pw, transformed + t * channels, matrix);
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
                    b.out = products + point * product + p * PANEL, b.out_stride = s.gather * PANEL;
                    pixels(b, here, lanes == PANEL);
                }
            for (int64_t t = 0; t < here; t++) {
                place(from + t, image, top, left);
                for (int64_t c = 0; c < wide; c += LANES)
                    transform_back(s, at, products + t * s.gather * PANEL + c, product, image, top, left, panel * PANEL + c);
            }
        }
    }
}
