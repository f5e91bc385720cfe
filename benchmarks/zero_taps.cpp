// Depthwise convolutions one channel at a time, vectors over columns, by a list of the taps that are not zero, against the native
// kernels, which compute all of them: run by zero_taps.py.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif
#include "step.h"
namespace {
#include "trained.h"

struct Tap {
    int64_t y, x;
    float weight;
};
typedef std::vector<std::vector<Tap>> Lists;            // of each channel's taps, row by row

// R rows of V vectors of results.
template <int R, int V>
void block(const float* in, int64_t stride, const Tap* tap, const Tap* end, float* out) {
    vec sum[R][V] = {};
    for (; tap < end; tap++) {
        const vec w = all(tap->weight);
        const float* at = in + tap->y * stride + tap->x;
        forget(at);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 4
            for (int v = 0; v < V; v++) sum[r][v] += load(at + r * stride + v * LANES) * w;
    }
    for (int r = 0; r < R; r++)
        for (int v = 0; v < V; v++) store(out + (r * V + v) * LANES, sum[r][v]);
}

// A map (channels, size, size); V vectors hold a row.
template <int V>
void by_lists(const float* x, const Lists& lists, float* y, int64_t size, int64_t kh, int64_t kw) {
    constexpr int R = V > 2 ? 7 : 14;
    const int64_t stride = size + kw - 1 + 4 * LANES;
    std::vector<float> padded_map(stride * (size + kh - 1 + R) + 4 * LANES), out((size + R) * V * LANES);
    for (const auto& list : lists) {
        for (int64_t i = 0; i < size; i++, x += size)
            std::memcpy(&padded_map[(i + kh / 2) * stride + kw / 2], x, size * sizeof(float));
        for (int64_t i = 0; i < size; i += R) {
            auto first = [&](int64_t row) {     // of the taps in rows that see something of the map
                return list.data() + (std::lower_bound(list.begin(), list.end(), row, [](const Tap& t, int64_t v) { return t.y < v; }) - list.begin());
            };
            block<R, V>(&padded_map[i * stride], stride, first(kh / 2 - i - R + 1), first(std::min(kh, size + kh / 2 - i)), &out[i * V * LANES]);
        }
        for (int64_t i = 0; i < size; i++, y += size) std::memcpy(y, &out[i * V * LANES], size * sizeof(float));
    }
}

double now() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

void compare(int64_t channels, int64_t size, int64_t kh, int64_t kw, int zeros) {
    const int64_t all_of = channels * size * size;
    std::vector<float> first(all_of), last(all_of), weight(channels * kh * kw), all_taps(all_of), few(all_of);
    Lists lists(channels);
    for (int64_t c = 0; c < channels; c++) {
        for (int64_t p = 0; p < size * size; p++) last[p * channels + c] = first[c * size * size + p] = float(drand48() - 0.5);
        for (int64_t t = 0; t < kh * kw; t++)
            if (drand48() * 100 >= zeros) {
                weight[c * kh * kw + t] = float(drand48() - 0.5);
                lists[c].push_back({t / kw, t % kw, weight[c * kh * kw + t]});
            }
    }
    const int64_t steps[] = {all_of, 1, size * channels, channels};
    Depthwise d = {FORWARD, 1, channels, size, size, size, size, kh, kw, 1, kh / 2, kw / 2, 1, {}, {}, last.data(), all_taps.data(), weight.data(), nullptr, nullptr};
    std::copy(steps, steps + 4, d.map_steps);
    std::copy(steps, steps + 4, d.result_steps);
    std::vector<float> memory(room_of(d) + LANES);
    float* aligned = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
    double taken[2] = {1e9, 1e9}, apart = 0;
    for (int turn = 0; turn < 5; turn++) {
        const double began = now();
        for (int64_t unit = 0; unit < over(channels, LANES); unit++) depthwise_unit(d, 0, unit, aligned);
        const double between = now();
        (size > 2 * LANES ? by_lists<4> : size > LANES ? by_lists<2> : by_lists<1>)(first.data(), lists, few.data(), size, kh, kw);
        taken[0] = std::min(taken[0], between - began);
        taken[1] = std::min(taken[1], now() - between);
    }
    for (int64_t c = 0; c < channels; c++)
        for (int64_t p = 0; p < size * size; p++) apart = std::max(apart, double(std::fabs(all_taps[p * channels + c] - few[c * size * size + p])));
    std::printf("{\"rows\": %d, \"cols\": %d, \"map\": %d, \"channels\": %d, \"zeros\": %d, \"all\": %.4f, \"few\": %.4f, \"apart\": %.2g}\n",
                int(kh), int(kw), int(size), int(channels), zeros, 1e3 * taken[0], 1e3 * taken[1], apart);
}
}  // namespace

int main() {
    for (int zeros : {0, 40, 80}) {
        compare(124, 56, 51, 5, zeros), compare(124, 56, 5, 51, zeros);             // slak_tiny's stages
        compare(249, 28, 49, 5, zeros), compare(249, 28, 5, 49, zeros);
        compare(499, 14, 47, 5, zeros), compare(499, 14, 5, 47, zeros);
        compare(998, 7, 13, 5, zeros), compare(998, 7, 5, 13, zeros);
    }
}
