// Grouped 3×3 convolutions with 4 or 8 channels a group (ResNeXt): several groups share a vector, and each result takes its own group's
// channels only. A channel of every group at once is spread over the lanes of its group's results; it serves all taps that see its pixel.
#pragma once
#include <utility>

#include "vector.h"

#if defined(__AVX512F__)
constexpr int SIDE = 7;                 // results that are summed at once
#else
constexpr int SIDE = 4;
#endif

INLINE bool small_groups(const Step& s) { return s.groups > 1 && s.k / s.groups < CHANNELS; }

// Lane l has channel `I` of the group of EACH lanes in which l is.
template <int EACH, int I, size_t... L>
INLINE vec spread(vec v, std::index_sequence<L...>) {
#ifdef __clang__
    return __builtin_shufflevector(v, v, int(L / EACH * EACH + I)...);
#else
    return __builtin_shuffle(v, ivec{int32_t(L / EACH * EACH + I)...});
#endif
}

template <class Call, size_t... I>
INLINE void each_of(const Call& call, std::index_sequence<I...>) {
    (call(std::integral_constant<int, int(I)>()), ...);
}

// R results side by side with stride S, of one vector's channels from `c` on. `rows` of the input, null where there are only zeros; `left`:
// the first column.
template <int EACH, int S, int R>
void grouped_of(const Step& s, const float* const* rows, int64_t left, int64_t c, const float* other, float* out) {
    constexpr int WIDE = (R - 1) * S + 3;
    const bool inside = left >= 0 && left + WIDE <= s.w;
    vec sum[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) sum[r] = s.bias ? load(s.bias + c) : vec{};
    for (int64_t y = 0; y < 3; y++) {
        if (!rows[y]) continue;
        const float* in = rows[y] + left * s.in_stride + (EACH < LANES ? c : c / EACH * EACH);
        const float* weight = s.weight + (c / LANES * 9 + y * 3) * EACH * LANES;
#pragma GCC unroll 24
        for (int x = 0; x < WIDE; x++) {
            if (!inside && (left + x < 0 || left + x >= s.w)) continue;
            const float* pixel = in + x * s.in_stride;
            each_of([&](auto i) __attribute__((always_inline)) {
                constexpr int I = decltype(i)::value;
                vec v;
                if constexpr (EACH < LANES)
                    v = spread<EACH, I>(load(pixel), std::make_index_sequence<LANES>());
                else
                    v = all(pixel[I]);
#pragma GCC unroll 8
                for (int r = 0; r < R; r++)
                    if (x - r * S >= 0 && x - r * S < 3) sum[r] += v * load(weight + ((x - r * S) * EACH + I) * LANES);
            }, std::make_index_sequence<EACH>());
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
        if (other) sum[r] += load(other + r * s.other_stride + c);
        store(out + r * s.out_stride + c, s.activation == RELU ? larger(sum[r], vec{}) : sum[r]);
    }
    if (s.activation > RELU) activate(out + c, s.out_stride, R, LANES, s.activation);
}

typedef void (*GroupedOf)(const Step&, const float* const*, int64_t, int64_t, const float*, float*);
template <int EACH, int S>
struct Grouped {
    static constexpr GroupedOf of[] = {nullptr, grouped_of<EACH, S, 1>, grouped_of<EACH, S, 2>, grouped_of<EACH, S, 3>, grouped_of<EACH, S, 4>,
#if defined(__AVX512F__)
                                       grouped_of<EACH, S, 5>, grouped_of<EACH, S, 6>, grouped_of<EACH, S, 7>,
#endif
    };
};

// Threads share the rows of the result.
inline void grouped(const Step& s, const Place& at) {
    const GroupedOf* of = s.c / s.groups == 4 ? (s.sw == 1 ? Grouped<4, 1>::of : Grouped<4, 2>::of) : (s.sw == 1 ? Grouped<8, 1>::of : Grouped<8, 2>::of);
    const int64_t units = s.n * s.oh, runs = over(s.ow, SIDE);
    for (int64_t unit = at.share.first(units); unit < at.share.last(units); unit++) {
        const float *in = at.arena + s.in + unit / s.oh * s.h * s.w * s.in_stride, *rows[3];
        for (int64_t y = 0; y < 3; y++) {
            const int64_t row = unit % s.oh * s.sh - s.ph + y;
            rows[y] = row < 0 || row >= s.h ? nullptr : in + row * s.w * s.in_stride;
        }
        for (int64_t c = 0; c < s.c; c += LANES)        // whose weights stay near for a row
            for (int64_t r = 0, from = 0; r < runs; r++) {
                const int64_t to = s.ow * (r + 1) / runs, pixel = unit * s.ow + from;
                of[to - from](s, rows, from * s.sw - s.pw, c, s.other < 0 ? nullptr : at.arena + s.other + pixel * s.other_stride,
                              at.arena + s.out + pixel * s.out_stride);
                from = to;
            }
    }
}
