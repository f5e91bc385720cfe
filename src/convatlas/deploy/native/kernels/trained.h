// Depthwise convolutions as training has them: the results, the gradient of the input and that of the weights. All three are one sum,
//     out[i][j] = Σ in[i + a - top][j + b - left] · taps[a][b],
// of the map with the kernel, of the results' gradient with the kernel turned around, and of the map with the results' gradient. A stride
// divides map and kernel into as many parts as its square, of which each pair has stride 1.
//
// A vector holds one pixel of LANES channels, and a unit of work is LANES channels of one image: its map is laid out as [y][x][LANES],
// in the cache, from whatever order it has. What is beyond the border is never read: where a tap sees it, the sum is left as it is.
#pragma once
#include "depthwise_call.h"
#include "vector.h"

constexpr int SUMS = LANES == 16 || LANES == 4 ? 14 : 6;        // columns summed at once, in one row or in two

// Where numbers lie: from one channel, row or column to the next.
struct View {
    float* at;
    int64_t c, y, x;
    View(float* first, const int64_t* steps) : at(first), c(steps[1]), y(steps[2]), x(steps[3]) {}
    View(float* first, int64_t channel, int64_t row, int64_t column) : at(first), c(channel), y(row), x(column) {}
    View part(int64_t row, int64_t column, int64_t stride) const { return {at + row * y + column * x, c, y * stride, x * stride}; }
    bool vectors(int64_t channels) const { return c == 1 && channels == LANES; }
};

struct Plane {                              // [rows][cols][LANES]
    float* at;
    int64_t rows, cols;
};

INLINE vec low_halves(vec a, vec b) {       // a0 b0 a1 b1 …
#if defined(__clang__)
#if defined(__AVX512F__)
    return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif defined(__aarch64__)
    return __builtin_shufflevector(a, b, 0, 4, 1, 5);
#else
    return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#endif
#else
    ivec places;
    for (int i = 0; i < LANES; i++) places[i] = i / 2 + i % 2 * LANES;
    return __builtin_shuffle(a, b, places);
#endif
}

INLINE vec high_halves(vec a, vec b) {
#if defined(__clang__)
#if defined(__AVX512F__)
    return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif defined(__aarch64__)
    return __builtin_shufflevector(a, b, 2, 6, 3, 7);
#else
    return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#endif
#else
    ivec places;
    for (int i = 0; i < LANES; i++) places[i] = LANES / 2 + i / 2 + i % 2 * LANES;
    return __builtin_shuffle(a, b, places);
#endif
}

INLINE void transpose(vec* rows) {
#pragma GCC unroll 4
    for (int stage = 1; stage < LANES; stage *= 2) {
        vec next[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES / 2; i++) {
            next[2 * i] = low_halves(rows[i], rows[i + LANES / 2]);
            next[2 * i + 1] = high_halves(rows[i], rows[i + LANES / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) rows[i] = next[i];
    }
}

// So many channels of a view into a plane, zeros for the rest.
inline void gather(const View& from, int64_t channels, const Plane& to) {
    const bool line = from.y == to.cols * from.x;               // one row after the other
    const int64_t rows = line ? 1 : to.rows, cols = line ? to.rows * to.cols : to.cols;
    float* out = to.at;
    for (int64_t y = 0; y < rows; y++, out += cols * LANES) {
        const float* in = from.at + y * from.y;
        if (from.vectors(channels)) {
            for (int64_t x = 0; x < cols; x++) store(out + x * LANES, load(in + x * from.x));
        } else if (from.x == 1 && cols >= LANES) {
            for (int64_t next = 0; next < cols; next += LANES) {
                const int64_t x = std::min(next, cols - LANES);
                vec rows_of[LANES];
#pragma GCC unroll 16
                for (int64_t c = 0; c < LANES; c++) rows_of[c] = c < channels ? load(in + c * from.c + x) : vec{};
                transpose(rows_of);
#pragma GCC unroll 16
                for (int64_t i = 0; i < LANES; i++) store(out + (x + i) * LANES, rows_of[i]);
            }
        } else {
            for (int64_t x = 0; x < cols; x++)
                for (int64_t c = 0; c < LANES; c++) out[x * LANES + c] = c < channels ? in[c * from.c + x * from.x] : 0;
        }
    }
}

inline void scatter(const Plane& from, int64_t channels, const View& to) {
    const bool line = to.y == from.cols * to.x;
    const int64_t rows = line ? 1 : from.rows, cols = line ? from.rows * from.cols : from.cols;
    const float* in = from.at;
    for (int64_t y = 0; y < rows; y++, in += cols * LANES) {
        float* out = to.at + y * to.y;
        if (to.vectors(channels)) {
            for (int64_t x = 0; x < cols; x++) store(out + x * to.x, load(in + x * LANES));
        } else if (to.x == 1 && cols >= LANES) {
            for (int64_t next = 0; next < cols; next += LANES) {
                const int64_t x = std::min(next, cols - LANES);
                vec rows_of[LANES];
#pragma GCC unroll 16
                for (int64_t i = 0; i < LANES; i++) rows_of[i] = load(in + (x + i) * LANES);
                transpose(rows_of);
#pragma GCC unroll 16
                for (int64_t c = 0; c < LANES; c++)
                    if (c < channels) store(out + c * to.c + x, rows_of[c]);
            }
        } else {
            for (int64_t x = 0; x < cols; x++)
                for (int64_t c = 0; c < channels; c++) out[c * to.c + x * to.x] = in[x * LANES + c];
        }
    }
}

inline void turn_around(const Plane& taps) {
    for (int64_t a = 0, b = taps.rows * taps.cols - 1; a < b; a++, b--) {
        const vec one = load(taps.at + a * LANES);
        store(taps.at + a * LANES, load(taps.at + b * LANES));
        store(taps.at + b * LANES, one);
    }
}

// Lest a compiler carry what it has loaded from one tap to the next, for which there are no registers.
INLINE void forget(const float*& at) { asm volatile("" : "+r"(at)); }

struct Sum {
    Plane in, taps;
    int64_t top, left;
    float* out;
    int64_t rows, cols, y, x;               // results, and how far it is from one row or column of theirs to the next
    bool add;                               // to what is there, else to `start`
    vec start;
    const float* zeros;                     // a row of them
};

// The taps before all R results see the map (K of them then do not) and those after.
template <int K, int Y, int R>
INLINE void rising(vec (&sum)[Y][R], const float* const (&in)[Y], const float* weight, int64_t count) {
    if constexpr (K > 0) {
        if (count >= K) {
            const vec w = load(weight - K * LANES);
#pragma GCC unroll 2
            for (int y = 0; y < Y; y++) {
                const float* at = in[y];
                forget(at);
#pragma GCC unroll 16
                for (int r = K; r < R; r++) sum[y][r] += load(at + (r - K) * LANES) * w;
            }
        }
        rising<K - 1, Y, R>(sum, in, weight, count);
    }
}

template <int K, int Y, int R>
INLINE void falling(vec (&sum)[Y][R], const float* const (&in)[Y], const float* weight, int64_t count) {
    if constexpr (K < R) {
        if (count < K) return;
        const vec w = load(weight + (K - 1) * LANES);
#pragma GCC unroll 2
        for (int y = 0; y < Y; y++) {
            const float* at = in[y];
            forget(at);
#pragma GCC unroll 16
            for (int r = 0; r < R - K; r++) sum[y][r] += load(at + (r + K) * LANES) * w;
        }
        falling<K + 1, Y, R>(sum, in, weight, count);
    }
}

// Y rows of R results from (i, j) on, all of which see something of the map, of which no row is shorter than R.
template <int Y, int R>
void some_of(const Sum& s, int64_t i, int64_t j) {
    float* out = s.out + i * s.y + j * s.x;
    vec sum[Y][R];
#pragma GCC unroll 2
    for (int y = 0; y < Y; y++)
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) sum[y][r] = s.add ? load(out + y * s.y + r * s.x) : s.start;
    const int64_t wide = s.in.cols, width = s.taps.cols;
    const int64_t first = std::max<int64_t>(0, s.left - j), last = std::min(width, wide - R - j + s.left + 1);       // taps that all results see
    const int64_t before = std::min<int64_t>(first, R - 1), after = std::min<int64_t>(width - last, R - 1);
    const int64_t end = std::min(s.taps.rows, s.in.rows + s.top - i);
    for (int64_t a = std::max<int64_t>(0, s.top - i - (Y - 1)); a < end; a++) {
        const float *in[Y], *weight = s.taps.at + a * width * LANES, *at[Y];
#pragma GCC unroll 2
        for (int y = 0; y < Y; y++) {
            const int64_t row = i + y + a - s.top;
            in[y] = row < 0 || row >= s.in.rows ? s.zeros : s.in.at + row * wide * LANES;
        }
        if (before) rising<R - 1, Y, R>(sum, in, weight + first * LANES, before);
#pragma GCC unroll 2
        for (int y = 0; y < Y; y++) at[y] = in[y] + (j + first - s.left) * LANES;
        for (int64_t b = first; b < last; b++) {
            const vec w = load(weight + b * LANES);
#pragma GCC unroll 2
            for (int y = 0; y < Y; y++) {
#pragma GCC unroll 16
                for (int r = 0; r < R; r++) sum[y][r] += load(at[y] + r * LANES) * w;
                at[y] += LANES;
                forget(at[y]);
            }
        }
        if (after) {
#pragma GCC unroll 2
            for (int y = 0; y < Y; y++) at[y] = in[y] + (wide - R) * LANES;
            falling<1, Y, R>(sum, at, weight + last * LANES, after);
        }
    }
#pragma GCC unroll 2
    for (int y = 0; y < Y; y++)
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) store(out + y * s.y + r * s.x, sum[y][r]);
}

typedef void (*SomeOf)(const Sum&, int64_t, int64_t);
template <int Y>
struct Some {
    static constexpr SomeOf of[] = {nullptr, some_of<Y, 1>, some_of<Y, 2>, some_of<Y, 3>, some_of<Y, 4>, some_of<Y, 5>, some_of<Y, 6>,
#if defined(__AVX512F__) || defined(__aarch64__)
                                    some_of<Y, 7>, some_of<Y, 8>, some_of<Y, 9>, some_of<Y, 10>, some_of<Y, 11>, some_of<Y, 12>,
                                    some_of<Y, 13>, some_of<Y, 14>,
#endif
    };
};

// Those of `count` results that see something of a map through so many taps.
struct Seen {
    int64_t first, last;
    Seen(int64_t count, int64_t before, int64_t taps, int64_t size)
        : first(std::min(count, std::max<int64_t>(0, before - taps + 1))),
          last(taps && size ? std::max(first, std::min(count, size + before)) : first) {}
};

inline void correlate(const Sum& s) {
    const Seen high(s.rows, s.top, s.taps.rows, s.in.rows), wide(s.cols, s.left, s.taps.cols, s.in.cols);
    if (!s.add)
        for (int64_t i = 0; i < s.rows; i++)
            for (int64_t j = 0; j < s.cols; j++)
                if (i < high.first || i >= high.last || j < wide.first || j >= wide.last) store(s.out + i * s.y + j * s.x, s.start);
    const int64_t span = wide.last - wide.first, runs = span ? over(span, std::min<int64_t>(SUMS, s.in.cols)) : 0;
    for (int64_t i = high.first; i < high.last; i += 2)
        for (int64_t r = 0; r < runs; r++) {
            const int64_t from = span * r / runs, columns = span * (r + 1) / runs - from;
            (i + 1 < high.last ? Some<2>::of : Some<1>::of)[columns](s, i, wide.first + from);
        }
}

// One of the parts into which a stride divides a size and a kernel.
struct Phase {
    int64_t first, size, tap, taps, before;     // its first pixel and their number, its first tap and their number, padding
    Phase(int64_t number, int64_t stride, int64_t pixels, int64_t kernel, int64_t padding)
        : first(number), size(over(std::max<int64_t>(0, pixels - number), stride)), tap((number + padding) % stride),
          taps(over(std::max<int64_t>(0, kernel - tap), stride)), before((number + padding - tap) / stride) {}
};

struct Room {                                   // a thread's own memory
    float *map, *results, *taps, *sums, *zeros;
    Room(const Depthwise& d, float* at) {
        map = at, results = map + d.h * d.w * LANES, taps = results + d.oh * d.ow * LANES, sums = taps + d.kh * d.kw * LANES;
        zeros = sums + std::max({d.h * d.w, d.oh * d.ow, d.kh * d.kw}) * LANES;
        std::memset(zeros, 0, std::max(d.w, d.ow) * LANES * sizeof(float));
    }
};

inline int64_t room_of(const Depthwise& d) {
    return (d.h * d.w + d.oh * d.ow + d.kh * d.kw + std::max({d.h * d.w, d.oh * d.ow, d.kh * d.kw}) + std::max(d.w, d.ow)) * LANES;
}

template <class Work>
INLINE void each_phase(const Depthwise& d, const Work& work) {
    for (int64_t y = 0; y < d.stride; y++)
        for (int64_t x = 0; x < d.stride; x++) work(Phase(y, d.stride, d.h, d.kh, d.ph), Phase(x, d.stride, d.w, d.kw, d.pw));
}

// The results of so many channels of an image.
inline void forward(const Depthwise& d, const View& map, const View& results, const View& weight, const float* bias, int64_t channels,
                    const Room& room) {
    vec start = {};
    if (bias) std::memcpy(&start, bias, channels * sizeof(float));
    const bool straight = results.vectors(channels);
    bool add = false;
    each_phase(d, [&](const Phase& y, const Phase& x) {
        const Plane in = {room.map, y.size, x.size}, taps = {room.taps, y.taps, x.taps};
        gather(map.part(y.first, x.first, d.stride), channels, in);
        gather(weight.part(y.tap, x.tap, d.stride), channels, taps);
        correlate({in, taps, y.before, x.before, straight ? results.at : room.sums, d.oh, d.ow, straight ? results.y : d.ow * LANES,
                   straight ? results.x : LANES, add, start, room.zeros});
        add = true;
    });
    if (!straight) scatter({room.sums, d.oh, d.ow}, channels, results);
}

inline void input_gradient(const Depthwise& d, const View& map, const View& results, const View& weight, int64_t channels, const Room& room) {
    const Plane in = {room.results, d.oh, d.ow};
    gather(results, channels, in);
    each_phase(d, [&](const Phase& y, const Phase& x) {
        const Plane taps = {room.taps, y.taps, x.taps};
        gather(weight.part(y.tap, x.tap, d.stride), channels, taps);
        turn_around(taps);
        const View part = map.part(y.first, x.first, d.stride);
        const bool straight = part.vectors(channels);
        correlate({in, taps, y.taps - 1 - y.before, x.taps - 1 - x.before, straight ? part.at : room.sums, y.size, x.size,
                   straight ? part.y : x.size * LANES, straight ? part.x : LANES, false, vec{}, room.zeros});
        if (!straight) scatter({room.sums, y.size, x.size}, channels, part);
    });
}

// Of images `first` to `last`, in their order.
inline void weight_gradient(const Depthwise& d, const View& map, const View& results, const View& weight, int64_t channels, int64_t first,
                            int64_t last, const Room& room) {
    const Plane taps = {room.results, d.oh, d.ow};
    for (int64_t image = first; image < last; image++) {
        gather({results.at + image * d.result_steps[0], results.c, results.y, results.x}, channels, taps);
        float* sums = room.sums;
        each_phase(d, [&](const Phase& y, const Phase& x) {
            const Plane in = {room.map, y.size, x.size};
            gather(View(map.at + image * d.map_steps[0], map.c, map.y, map.x).part(y.first, x.first, d.stride), channels, in);
            correlate({in, taps, y.before, x.before, sums, y.taps, x.taps, x.taps * LANES, LANES, image > first, vec{}, room.zeros});
            if (image == last - 1) scatter({sums, y.taps, x.taps}, channels, weight.part(y.tap, x.tap, d.stride));
            sums += y.taps * x.taps * LANES;
        });
    }
}

// Unit `unit` of a call's stage; their number is `depthwise_units`.
inline void depthwise_unit(const Depthwise& d, int64_t stage, int64_t unit, float* memory) {
    const int64_t blocks = over(d.c, LANES), image = unit / blocks, channel = unit % blocks * LANES;
    const int64_t channels = std::min<int64_t>(LANES, d.c - channel), taps = d.kh * d.kw;
    if (stage) {                                // the groups' sums, in their order
        if (image) return;
        for (int64_t i = channel * taps; i < (channel + channels) * taps; i++) {
            float sum = 0;
            for (int64_t group = 0; group < d.groups; group++) sum += d.partial[group * d.c * taps + i];
            d.weight[i] = sum;
        }
        return;
    }
    const Room room(d, memory);
    const int64_t of_image = d.what == WEIGHT_GRADIENT ? 0 : image;
    const View map(d.map + of_image * d.map_steps[0] + channel * d.map_steps[1], d.map_steps);
    const View results(d.results + of_image * d.result_steps[0] + channel * d.result_steps[1], d.result_steps);
    float* weights = d.what == WEIGHT_GRADIENT && d.groups > 1 ? d.partial + image * d.c * taps : d.weight;
    const View weight(weights + channel * taps, taps, d.kw, 1);
    switch (d.what) {
        case FORWARD: return forward(d, map, results, weight, d.bias ? d.bias + channel : nullptr, channels, room);
        case INPUT_GRADIENT: return input_gradient(d, map, results, weight, channels, room);
        case WEIGHT_GRADIENT:
            return weight_gradient(d, map, results, weight, channels, d.n * image / d.groups, d.n * (image + 1) / d.groups, room);
    }
}
