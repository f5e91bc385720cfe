// Depthwise convolutions: small kernels where the map lies, pixel by pixel with all its channels; larger ones sixteen channels at a
// time, whose rows lie in a ring in the cache with zeros on both sides.
#pragma once
#include "vector.h"

constexpr int RUN = LANES == 16 ? 14 : 6;       // results that are summed at once

constexpr int FEW = 7;                          // results of a small kernel that are summed at once

// R results side by side of a K×K kernel with stride S. `rows` of the input, null where there are only zeros; `left`: the first column.
template <int K, int S, int R>
void few_of(const Step& s, const float* const* rows, int64_t left, float* out) {
    constexpr int WIDE = (R - 1) * S + K;
    const bool inside = left >= 0 && left + WIDE <= s.w;
    for (int64_t c = 0; c < padded(s.c); c += LANES) {
        const float* weight = s.weight + c / CHANNELS * CHANNELS * K * K + c % CHANNELS;
        vec sum[R];
#pragma GCC unroll 8
        for (int i = 0; i < R; i++) sum[i] = s.bias ? load(s.bias + c) : vec{};
#pragma GCC unroll 8
        for (int y = 0; y < K; y++) {
            if (!rows[y]) continue;
            const float* in = rows[y] + left * s.in_stride + c;
            vec w[K];
#pragma GCC unroll 8
            for (int x = 0; x < K; x++) w[x] = load(weight + (y * K + x) * CHANNELS);
#pragma GCC unroll 24
            for (int x = 0; x < WIDE; x++) {
                const vec v = inside || (left + x >= 0 && left + x < s.w) ? load(in + x * s.in_stride) : vec{};
#pragma GCC unroll 8
                for (int i = 0; i < R; i++)
                    if (x - i * S >= 0 && x - i * S < K) sum[i] += v * w[x - i * S];
            }
        }
        if (s.activation == RELU || s.activation == RELU6)
#pragma GCC unroll 8
            for (int i = 0; i < R; i++) sum[i] = larger(sum[i], vec{});
        if (s.activation == RELU6)
#pragma GCC unroll 8
            for (int i = 0; i < R; i++) sum[i] = smaller(sum[i], all(6.0f));
#pragma GCC unroll 8
        for (int i = 0; i < R; i++) store(out + i * s.out_stride + c, sum[i]);
    }
}

typedef void (*FewOf)(const Step&, const float* const*, int64_t, float*);
template <int K, int S>
struct Few {
    static constexpr FewOf of[] = {nullptr, few_of<K, S, 1>, few_of<K, S, 2>, few_of<K, S, 3>, few_of<K, S, 4>, few_of<K, S, 5>,
                                   few_of<K, S, 6>, few_of<K, S, 7>};
};

INLINE const FewOf* few(const Step& s) {
    if (s.kh != s.kw || s.sh != s.sw || s.dh != 1 || s.dw != 1) return nullptr;
    switch (s.kw * 10 + s.sw) {
        case 31: return Few<3, 1>::of;
        case 32: return Few<3, 2>::of;
        case 51: return Few<5, 1>::of;
        case 52: return Few<5, 2>::of;
        case 71: return Few<7, 1>::of;
        default: return nullptr;
    }
}

inline void small_depthwise(const Step& s, const Place& at, const FewOf* of) {
    const int64_t units = s.n * s.oh, runs = over(s.ow, FEW), channels = padded(s.c);
    for (int64_t unit = at.share.first(units); unit < at.share.last(units); unit++) {
        const float *in = at.arena + s.in + unit / s.oh * s.h * s.w * s.in_stride, *rows[8];
        for (int64_t y = 0; y < s.kh; y++) {
            const int64_t row = unit % s.oh * s.sh - s.ph + y;
            rows[y] = row < 0 || row >= s.h ? nullptr : in + row * s.w * s.in_stride;
        }
        float *out = at.arena + s.out + unit * s.ow * s.out_stride, *means = s.other < 0 ? nullptr : at.arena + s.other + unit * s.other_stride;
        for (int64_t r = 0, from = 0; r < runs; r++) {
            const int64_t to = s.ow * (r + 1) / runs;
            of[to - from](s, rows, from * s.sw - s.pw, out + from * s.out_stride);
            if (s.activation > RELU6) activate(out + from * s.out_stride, s.out_stride, to - from, channels, s.activation);
            for (int64_t c = 0; means && c < channels; c += LANES) {        // of the row, while it is near
                vec sum = from ? load(means + c) : vec{};
                for (int64_t pixel = from; pixel < to; pixel++) sum += load(out + pixel * s.out_stride + c);
                store(means + c, to < s.ow ? sum : sum * (1.0f / float(s.ow)));
            }
            from = to;
        }
    }
}

struct Ring {
    int64_t width, rows;
    explicit Ring(const Step& s) : width((s.ow - 1) * s.sw + (s.kw - 1) * s.dw + 1), rows((s.kh - 1) * s.dh + 1) {}
    int64_t size() const { return width * rows * CHANNELS; }
};

INLINE int64_t depthwise_scratch(const Step& s) { return few(s) ? 0 : Ring(s).size(); }

// The columns of a kernel that see something of the map, for results from `from` to `to`: of 47 on a map of 14 they are 27.
struct Taps {
    int64_t first, last;
    Taps(const Step& s, int64_t from, int64_t to)
        : first(std::min(s.kw, std::max<int64_t>(0, over(s.pw - (to - 1) * s.sw, s.dw)))),
          last(std::max(first, std::min(s.kw, (s.w - 1 + s.pw - from * s.sw) / s.dw + 1))) {}
};

// Runs of results of a row. More than there must be, where each then needs fewer taps: fewer sums at once do not fill the processor.
INLINE int64_t runs_of(const Step& s) {
    int64_t best = 0, least = 0;
    for (int64_t runs = over(s.ow, RUN); runs <= 2 * over(s.ow, RUN) && runs <= s.ow; runs++) {
        int64_t cost = 0;
        for (int64_t r = 0; r < runs; r++) {
            const int64_t from = s.ow * r / runs, to = s.ow * (r + 1) / runs;
            const Taps taps(s, from, to);
            cost += (taps.last - taps.first) * std::max<int64_t>(to - from, 8);
        }
        if (!best || cost < least) best = runs, least = cost;
    }
    return best;
}

template <int R>
void run_of(const Step& s, const float* const* rows, int64_t left, Taps taps, const float* weight, vec bias, float* out) {
    vec sum[R];
#pragma GCC unroll 16
    for (int i = 0; i < R; i++) sum[i] = bias;
    const int64_t step = s.sw * CHANNELS;
    for (int64_t y = 0; y < s.kh; y++, weight += s.kw * CHANNELS) {
        if (!rows[y]) continue;                 // a row of zeros
        const float* in = rows[y] + left * step + taps.first * s.dw * CHANNELS;
        for (int64_t x = taps.first; x < taps.last; x++, in += s.dw * CHANNELS) {
            const vec w = load(weight + x * CHANNELS);
#pragma GCC unroll 16
            for (int i = 0; i < R; i++) sum[i] += load(in + i * step) * w;
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < R; i++) store(out + i * s.out_stride, sum[i]);
    if (s.activation)
#pragma GCC unroll 1
        for (int i = 0; i < R; i++) store(out + i * s.out_stride, activated(load(out + i * s.out_stride), s.activation));
}

typedef void (*RunOf)(const Step&, const float* const*, int64_t, Taps, const float*, vec, float*);
constexpr RunOf RUNS[] = {nullptr, run_of<1>, run_of<2>, run_of<3>, run_of<4>, run_of<5>, run_of<6>,
#if defined(__AVX512F__)
                          run_of<7>, run_of<8>, run_of<9>, run_of<10>, run_of<11>, run_of<12>, run_of<13>, run_of<14>,
#endif
};
constexpr int64_t TALLEST = 64;                 // rows of a kernel

inline void depthwise(const Step& s, const Place& at) {
    if (const FewOf* of = few(s)) return small_depthwise(s, at, of);
    const Ring ring(s);
    const int64_t blocks = padded(s.c) / CHANNELS, units = s.n * blocks, runs = runs_of(s), row_size = ring.width * CHANNELS;
    const int64_t right = std::min(ring.width, s.w + s.pw);
    std::memset(at.scratch, 0, ring.size() * sizeof(float));
    for (int64_t unit = at.share.first(units); unit < at.share.last(units); unit++) {
        const int64_t image = unit / blocks, channel = unit % blocks * CHANNELS;
        const float* in = at.arena + s.in + image * s.h * s.w * s.in_stride + channel;
        float* out = at.arena + s.out + image * s.oh * s.ow * s.out_stride + channel;
        const float* weight = s.weight + channel * s.kh * s.kw;
        int64_t copied = 0;                     // rows of the image that have been in the ring
        for (int64_t oy = 0; oy < s.oh; oy++, out += s.ow * s.out_stride) {
            const float* rows[TALLEST];
            const int64_t top = oy * s.sh - s.ph;
            for (int64_t y = std::max(top, copied); y < std::min(s.h, top + ring.rows); y++, copied = y) {
                float* to = at.scratch + y % ring.rows * row_size + s.pw * CHANNELS;
                const float* from = in + y * s.w * s.in_stride;
                for (int64_t x = s.pw; x < right; x++, from += s.in_stride, to += CHANNELS)
                    for (int64_t i = 0; i < CHANNELS; i += LANES) store(to + i, load(from + i));
            }
            for (int64_t y = 0; y < s.kh; y++)
                rows[y] = top + y * s.dh < 0 || top + y * s.dh >= s.h ? nullptr : at.scratch + (top + y * s.dh) % ring.rows * row_size;
            for (int64_t lane = 0; lane < CHANNELS; lane += LANES) {
                const vec bias = s.bias ? load(s.bias + channel + lane) : vec{};
                for (int64_t r = 0, from = 0; r < runs; r++) {
                    const int64_t to = s.ow * (r + 1) / runs;
                    RUNS[to - from](s, rows, from, Taps(s, from, to), weight + lane, bias, out + from * s.out_stride + lane);
                    from = to;
                }
                if (lane + LANES < CHANNELS)
                    for (int64_t y = 0; y < s.kh; y++) rows[y] = rows[y] ? rows[y] + LANES : nullptr;
            }
        }
    }
}
