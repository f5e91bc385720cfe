// Convolutions and linear layers as they are defined: a block of pixels times a panel of output channels, all sums in registers.
#pragma once
#include "vector.h"

// R pixels, `stride` apart, by V vectors of output channels. A pixel's sum runs over `rows` rows of `taps` taps of `depth` numbers. Where
// two rows of the map are done at once, the second lies `gap` further.
struct Block {
    const float* in;
    int64_t stride, gap, rows, row_stride, taps, tap_stride, depth;
    const float *weight, *bias, *other;
    int64_t other_stride, activation;
    float* out;
    int64_t out_stride;
    // Weights that are needed next, and how far to go through them for each number of depth: they come from memory while this is computed.
    const float* ahead;
    int64_t ahead_step;
    int64_t halves;                         // bfloat16.h: which are of bf16, 2 `out` and 4 `other`
};

// What comes before the sums.
template <int R, int V>
INLINE void begin(const Block& b, vec (&sum)[R][V]) {
    // Where the results go comes into the cache while they are summed up: nobody knows yet that it will be written.
#pragma GCC unroll 16
    for (int i = 0; i < R; i++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) {
            __builtin_prefetch(b.out + i * b.out_stride + v * LANES, 1, 3);
            if (b.other) __builtin_prefetch(b.other + i * b.other_stride + v * LANES, 0, 3);
        }
#pragma GCC unroll 16
    for (int i = 0; i < R; i++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) sum[i][v] = b.bias ? load(b.bias + v * LANES) : vec{};
}

// What comes after the sums: a second map, the activation, the results to their place.
template <int R, int V>
INLINE void finish(const Block& b, vec (&sum)[R][V]) {
    if (b.other)
#pragma GCC unroll 16
        for (int i = 0; i < R; i++)
#pragma GCC unroll 2
            for (int v = 0; v < V; v++) sum[i][v] += load(b.other + i * b.other_stride + v * LANES);
    if (b.activation == RELU || b.activation == RELU6)
#pragma GCC unroll 16
        for (int i = 0; i < R; i++)
#pragma GCC unroll 2
            for (int v = 0; v < V; v++) sum[i][v] = larger(sum[i][v], vec{});
    if (b.activation == RELU6)
#pragma GCC unroll 16
        for (int i = 0; i < R; i++)
#pragma GCC unroll 2
            for (int v = 0; v < V; v++) sum[i][v] = smaller(sum[i][v], all(6.0f));
#pragma GCC unroll 16
    for (int i = 0; i < R; i++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) store(b.out + i * b.out_stride + v * LANES, sum[i][v]);
    if (b.activation > RELU6) activate(b.out, b.out_stride, R, V * LANES, b.activation);
}

template <int R, int V, int FIRST = R>
void block(const Block& b) {
    vec sum[R][V];
    begin(b, sum);
    const float *weight = b.weight, *ahead = b.ahead;
    const int64_t stride = b.stride, depth = b.depth, ahead_step = b.ahead_step;
    for (int64_t row = 0; row < b.rows; row++)
        for (int64_t tap = 0; tap < b.taps; tap++) {
            const float *in = b.in + row * b.row_stride + tap * b.tap_stride, *second = in + (FIRST < R ? b.gap : 0);
            for (int64_t d = 0; d < depth; d++, weight += V * LANES, ahead += ahead_step) {
                __builtin_prefetch(ahead, 0, 2);
                vec w[V];
#pragma GCC unroll 2
                for (int v = 0; v < V; v++) w[v] = load(weight + v * LANES);
#pragma GCC unroll 16
                for (int i = 0; i < R; i++) {
                    const vec x = all((i < FIRST ? in : second)[i * stride + d]);
#pragma GCC unroll 2
                    for (int v = 0; v < V; v++) sum[i][v] += x * w[v];
                }
            }
        }
    finish(b, sum);
}

typedef void (*BlockOf)(const Block&);
template <int V>
struct Blocks {
    static constexpr BlockOf of[] = {nullptr, block<1, V>, block<2, V>, block<3, V>, block<4, V>, block<5, V>, block<6, V>,
#if defined(__AVX512F__) || defined(__aarch64__)
                                     block<7, V>, block<8, V>,
#endif
#if defined(__AVX512F__)
                                     block<9, V>, block<10, V>, block<11, V>, block<12, V>, block<13, V>, block<14, V>,
#endif
    };
};

// Which of so many calls with the same weights this is: each fetches its share of the next ones.
struct Turn {
    int64_t call, calls;
};

// So many pixels in blocks of nearly one size: the first has floor(count / blocks), and i of them together floor(i · count / blocks).
struct Cut {
    int64_t blocks, each, more;
    Cut(int64_t count) : blocks(over(count, ROWS)), each(blocks ? count / blocks : 0), more(count - each * blocks) {}
};

// The pixels in such blocks, those of `Of`, for V vectors of output channels.
template <template <int> class Of, int V, class B>
INLINE void pixels(B b, const Cut& cut, Turn turn) {
    const int64_t blocks = cut.blocks, all = b.rows * b.taps * b.depth, fetched = blocks * turn.calls;
    b.ahead_step = fetched == 1 ? V * LANES : fetched == 2 ? V * LANES / 2 : over(V * LANES, fetched);
    b.ahead += all * b.ahead_step * blocks * turn.call;
    for (int64_t i = 0, left = 0; i < blocks; i++) {
        left += cut.more;
        const bool longer = left >= blocks;
        const int64_t size = cut.each + longer;
        if (longer) left -= blocks;
        Of<V>::of[size](b);
        b.in += size * b.stride;
        b.out += size * b.out_stride;
        b.ahead += all * b.ahead_step;
        if (b.other) b.other += size * b.other_stride;
    }
}

INLINE void pixels(const Block& b, const Cut& cut, bool whole_panel, Turn turn = {0, 1}) {
    whole_panel ? pixels<Blocks, 2>(b, cut, turn) : pixels<Blocks, 1>(b, cut, turn);
}

// Two rows of so few pixels that they are one block.
INLINE void two_rows(Block b, bool whole_panel, Turn turn) {
    b.ahead_step = over(whole_panel ? PANEL : LANES, turn.calls);
    b.ahead += b.rows * b.taps * b.depth * b.ahead_step * turn.call;
    whole_panel ? block<ROWS, 2, ROWS / 2>(b) : block<ROWS, 1, ROWS / 2>(b);
}

// Whether the maps can be read where they lie: nothing to pad, nothing to leave out, nothing to do before.
INLINE bool in_place(const Step& s) {
    return s.kh == 1 && s.kw == 1 && s.sh == 1 && s.sw == 1 && s.ph == 0 && s.pw == 0 && s.oh == s.h && s.ow == s.w && !s.planar && !s.before && s.groups == 1;
}

// The same with pixels left out.
INLINE bool spaced(const Step& s) {
    return s.kh == 1 && s.kw == 1 && s.ph <= 0 && s.pw == 0 && !s.planar && !s.before && s.groups == 1 && (s.oh - 1) * s.sh - s.ph < s.h &&
           (s.ow - 1) * s.sw < s.w;
}

constexpr int64_t DEEP = 1024;     // input channels that are summed up at once: their weights for a panel, and for the next one, stay near

INLINE int64_t conv_rows(const Step& s) { return std::max<int64_t>(1, std::min(s.oh, s.tile / s.ow)); }
INLINE int64_t strip_width(const Step& s) { return (s.ow - 1) * s.sw + (s.kw - 1) * s.dw + 1; }
INLINE int64_t strip_rows(const Step& s, int64_t rows) { return (rows - 1) * s.sh + (s.kh - 1) * s.dh + 1; }
INLINE int64_t conv_scratch(const Step& s) {
    return in_place(s) || spaced(s) ? 0 : strip_rows(s, conv_rows(s)) * strip_width(s) * s.c + CHANNELS;
}

// The input of `rows` output rows from `top` on, channels without gaps, zeros around the map; V numbers too many are written.
inline void copy_strip(const Step& s, const float* in, int64_t top, int64_t rows, float* strip) {
    const int64_t width = strip_width(s), c = s.c;
    for (int64_t r = 0; r < strip_rows(s, rows); r++, strip += width * c) {
        const int64_t y = top * s.sh - s.ph + r;
        if (y < 0 || y >= s.h) {
            std::memset(strip, 0, width * c * sizeof(float));
            continue;
        }
        const int64_t left = std::min(width, s.pw), right = std::min(width, s.w + left);
        std::memset(strip, 0, left * c * sizeof(float));
        if (s.planar) {
            for (int64_t plane = 0; plane < c; plane++) {
                const float* from = in + (plane * s.h + y) * s.w;
                for (int64_t x = left; x < right; x++) strip[x * c + plane] = from[x - left];
            }
        } else {
            const float* from = in + y * s.w * s.in_stride;
            for (int64_t x = left; x < right; x++, from += s.in_stride)
                for (int64_t i = 0; i < c; i += LANES) {
                    vec v = load(from + i);
                    if (s.before) v = larger(v * load(s.before + i) + load(s.before + padded(c) + i), vec{});
                    store(strip + x * c + i, v);
                }
        }
        if (right < width) std::memset(strip + right * c, 0, (width - right) * c * sizeof(float));
    }
}

inline void conv(const Step& s, const Place& at) {
    const int64_t per_group = s.k / s.groups, depth = s.c / s.groups;
    const int64_t channels = s.groups == 1 ? padded(s.k) : per_group, panels = over(channels, PANEL), all_panels = panels * s.groups;
    const Share whole = {0, 1}, &by_panel = s.by_channels ? at.share : whole, &by_tile = s.by_channels ? whole : at.share;
    const int64_t first_panel = by_panel.first(all_panels), last_panel = by_panel.last(all_panels);
    const float* in = s.planar ? at.image : at.arena + s.in;
    const bool direct = in_place(s);
    const int64_t taps = s.kh * s.kw * depth;
    auto panel_of = [&](int64_t panel, Block& b, int64_t& channel) {        // returns whether it is a whole one
        const int64_t group = panel / panels, start = panel % panels * PANEL;
        channel = group * per_group + start;
        b.weight = s.weight + (group * channels + start) * taps;
        b.ahead = b.weight + std::min<int64_t>(PANEL, channels - start) * taps;
        b.bias = s.bias ? s.bias + channel : nullptr;
        return channels - start >= PANEL;
    };
    Block b = {};
    b.activation = s.activation, b.out_stride = s.out_stride, b.other_stride = s.other_stride;
    const bool joined = s.groups == 1 && s.dw == 1;                         // a row of taps lies in one piece
    b.rows = s.kh, b.taps = joined ? 1 : s.kw, b.depth = joined ? s.kw * s.c : depth, b.tap_stride = s.dw * s.c;
    if (direct) {
        const int64_t count = s.n * s.h * s.w, blocks = over(count, ROWS), tile = std::max<int64_t>(1, s.tile / ROWS) * ROWS;
        const int64_t first = by_tile.first(blocks) * ROWS, last = std::min(count, by_tile.last(blocks) * ROWS);
        b.stride = s.in_stride, b.row_stride = 0;
        for (int64_t pixel = first; pixel < last; pixel += tile)
            for (int64_t panel = first_panel; panel < last_panel; panel++) {
                int64_t channel;
                const bool full = panel_of(panel, b, channel);
                b.in = in + pixel * s.in_stride;
                b.out = at.arena + s.out + pixel * s.out_stride + channel;
                b.other = s.other < 0 ? nullptr : at.arena + s.other + pixel * s.other_stride + channel;
                for (int64_t pieces = over(s.c, DEEP), i = 0, from = 0; i < pieces; i++) {
                    const int64_t to = s.c * (i + 1) / pieces;
                    Block piece = b;
                    piece.in += from, piece.weight += from * (full ? PANEL : LANES), piece.depth = to - from;
                    piece.ahead = piece.weight + piece.depth * (full ? PANEL : LANES);
                    if (i) piece.bias = nullptr, piece.other = b.out, piece.other_stride = b.out_stride;
                    if (to < s.c) piece.activation = NONE;
                    pixels(piece, std::min(tile, last - pixel), full);
                    from = to;
                }
            }
        return;
    }
    const int64_t rows = conv_rows(s), strips = over(s.oh, rows), width = strip_width(s);
    const bool lies = spaced(s), close = s.kh == 1 && s.kw == 1 && s.sh == 1 && s.sw == 1 && !lies;    // a strip's rows without a gap
    const bool twos = s.ow == ROWS / 2;
    const int64_t line = lies ? s.sh * s.w * s.in_stride : s.sh * width * s.c;
    b.stride = s.sw * (lies ? s.in_stride : s.c), b.row_stride = s.dh * width * s.c, b.gap = line - ROWS / 2 * b.stride;
    for (int64_t unit = by_tile.first(s.n * strips); unit < by_tile.last(s.n * strips); unit++) {
        const int64_t image = unit / strips, top = unit % strips * rows, count = std::min(rows, s.oh - top);
        const float* from = in + image * (s.planar ? s.c * s.h * s.w : s.h * s.w * s.in_stride);
        if (lies)
            from += (top * s.sh - s.ph) * s.w * s.in_stride;
        else
            copy_strip(s, from, top, count, at.scratch), from = at.scratch;
        for (int64_t panel = first_panel; panel < last_panel; panel++) {
            int64_t channel;
            const bool full = panel_of(panel, b, channel);
            for (int64_t row = 0; row < count; row++) {
                const int64_t pixel = (image * s.oh + top + row) * s.ow;
                b.in = from + row * line + panel / panels * depth;
                b.out = at.arena + s.out + pixel * s.out_stride + channel;
                b.other = s.other < 0 ? nullptr : at.arena + s.other + pixel * s.other_stride + channel;
                if (close) {
                    pixels(b, count * s.ow, full);
                    break;
                }
                const Turn turn = twos ? Turn{row / 2, over(count, 2)} : Turn{row, count};
                if (twos && row + 1 < count)
                    two_rows(b, full, turn), row++;
                else
                    pixels(b, s.ow, full, turn);
            }
        }
    }
}
