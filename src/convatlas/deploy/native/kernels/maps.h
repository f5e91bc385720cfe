// What is done to maps between convolutions: pooling, means, sums and products, BatchNorm that could not be folded, LayerNorm, copies.
#pragma once
#include <cmath>

#include "halves.h"

// Pixels of the input that a window sees, cut off at the border.
struct Window {
    int64_t first, last, whole;     // `whole`: with the padding, as far as that reaches
    Window(int64_t o, int64_t stride, int64_t pad, int64_t kernel, int64_t size)
        : first(std::max<int64_t>(0, o * stride - pad)), last(std::min(size, o * stride - pad + kernel)),
          whole(std::min(size + pad, o * stride - pad + kernel) - (o * stride - pad)) {}
};

// `of(out, in, high, wide)` for each pixel of a pool's results, `in` being the first pixel of the window that is inside the map.
template <class T, class F>
INLINE void windows(const Step& s, const Place& at, const T* maps, int64_t stride, T* results, int64_t out_stride, F of) {
    const int64_t units = s.n * s.oh;
    for (int64_t unit = at.share.first(units); unit < at.share.last(units); unit++) {
        const Window high(unit % s.oh, s.sh, s.ph, s.kh, s.h);
        for (int64_t ox = 0; ox < s.ow; ox++) {
            const Window wide(ox, s.sw, s.pw, s.kw, s.w);
            of(results + (unit * s.ow + ox) * out_stride, maps + ((unit / s.oh * s.h + high.first) * s.w + wide.first) * stride, high, wide);
        }
    }
}

template <bool MAX, bool HALVES = false>
inline void pool(const Step& s, const Place& at) {
    windows(s, at, static_cast<const float*>(at.arena + s.in), s.in_stride, at.arena + s.out, s.out_stride,
            [&](float* out, const float* in, const Window& high, const Window& wide) {
        const int64_t seen = s.counts_padding ? high.whole * wide.whole : (high.last - high.first) * (wide.last - wide.first);
        for (int64_t c = 0; c < padded(s.c); c += LANES) {
            vec sum = MAX ? all(-INFINITY) : vec{};
            for (int64_t y = 0; y < high.last - high.first; y++)
                for (int64_t x = 0; x < wide.last - wide.first; x++) {
                    const vec v = load_at(HALVES, in + (y * s.w + x) * s.in_stride, c);
                    sum = MAX ? largest(sum, v) : sum + v;
                }
            store_at(HALVES, out, c, activated(MAX ? sum : sum / float(seen), s.activation));
        }
    });
}

// Over the whole map.
inline void mean(const Step& s, const Place& at) {
    const int64_t blocks = padded(s.c) / CHANNELS, units = s.n * blocks, pixels = s.h * s.w;
    for (int64_t unit = at.share.first(units); unit < at.share.last(units); unit++)
        for (int64_t lane = 0; lane < CHANNELS; lane += LANES) {
            const int64_t image = unit / blocks, channel = unit % blocks * CHANNELS + lane;
            const float* in = at.arena + s.in + image * pixels * s.in_stride + channel;
            vec sums[4] = {};
            for (int64_t p = 0; p < pixels; p++, in += s.in_stride) sums[p % 4] += load(in);
            const vec sum = ((sums[0] + sums[1]) + (sums[2] + sums[3])) / float(pixels);
            store(at.arena + s.out + image * s.out_stride + channel, activated(sum, s.activation));
        }
}

// A map and a second one of the same shape (ADD), or of one pixel for each image (MULTIPLY); or factors and offsets (AFFINE).
template <int KIND>
inline void pointwise(const Step& s, const Place& at) {
    const int64_t pixels = s.n * s.h * s.w, channels = padded(s.c);
    for (int64_t pixel = at.share.first(pixels); pixel < at.share.last(pixels); pixel++) {
        const float* in = at.arena + s.in + pixel * s.in_stride;
        const float* other = KIND == AFFINE ? s.before : at.arena + s.other + (KIND == ADD ? pixel : pixel / (s.h * s.w)) * s.other_stride;
        float* out = at.arena + s.out + pixel * s.out_stride;
        for (int64_t c = 0; c < channels; c += LANES) {
            const vec x = load(in + c), y = load(other + c);
            store(out + c, activated(KIND == ADD ? x + y : KIND == MULTIPLY ? x * y : x * y + load(other + channels + c), s.activation));
        }
    }
}

INLINE int64_t response_scratch(const Step& s) { return padded(s.c) + s.kh + 2 * CHANNELS; }

// Over the channels of each pixel.
inline void layernorm(const Step& s, const Place& at) {
    const int64_t pixels = s.n * s.h * s.w, whole = s.c / LANES * LANES;
    for (int64_t pixel = at.share.first(pixels); pixel < at.share.last(pixels); pixel++) {
        const float* in = at.arena + s.in + pixel * s.in_stride;
        float *out = at.arena + s.out + pixel * s.out_stride, sum = 0, square = 0;
        vec sums = {}, squares = {};
        for (int64_t c = 0; c < whole; c += LANES) sums += load(in + c);
        for (int i = 0; i < LANES; i++) sum += sums[i];
        for (int64_t c = whole; c < s.c; c++) sum += in[c];
        const float middle = sum / float(s.c);
        for (int64_t c = 0; c < whole; c += LANES) {
            const vec d = load(in + c) - middle;
            squares += d * d;
        }
        for (int i = 0; i < LANES; i++) square += squares[i];
        for (int64_t c = whole; c < s.c; c++) square += (in[c] - middle) * (in[c] - middle);
        const float scale = 1.0f / std::sqrt(square / float(s.c) + float(s.epsilon));
        for (int64_t c = 0; c < padded(s.c); c += LANES) {
            const vec x = (load(in + c) - middle) * scale;
            store(out + c, s.weight ? x * load(s.weight + c) + load(s.bias + c) : x);
        }
    }
}

// Each value divided by (k + α Σ x²)^¾ over `kh` neighbouring channels of its group; `before` has k and α.
inline void response(const Step& s, const Place& at) {
    const int64_t pixels = s.n * s.h * s.w, each = s.c / s.groups, around = s.kh / 2;
    float* squares = at.scratch;                                    // zeros, the squares of a group, zeros
    std::memset(squares, 0, response_scratch(s) * sizeof(float));
    for (int64_t pixel = at.share.first(pixels); pixel < at.share.last(pixels); pixel++)
        for (int64_t group = 0; group < s.groups; group++) {
            const float* in = at.arena + s.in + pixel * s.in_stride + group * each;
            float* out = at.arena + s.out + pixel * s.out_stride + group * each;
            for (int64_t c = 0; c < each; c += LANES) {
                const vec x = load(in + c);
                store(squares + around + c, x * x);
            }
            std::memset(squares + around + each, 0, CHANNELS * sizeof(float));
            for (int64_t c = 0; c < each; c += LANES) {
                vec sum = {};
                for (int64_t i = 0; i < s.kh; i++) sum += load(squares + c + i);
                const vec root = square_root(s.before[0] + s.before[1] * sum);
                store(out + c, activated(load(in + c) / (root * square_root(root)), s.activation));
            }
        }
}

// Channels to another place; not one more than there are.
inline void copy(const Step& s, const Place& at) {
    const int64_t pixels = s.n * s.h * s.w;
    for (int64_t pixel = at.share.first(pixels); pixel < at.share.last(pixels); pixel++)
        std::memcpy(at.arena + s.out + pixel * s.out_stride, at.arena + s.in + pixel * s.in_stride, s.c * sizeof(float));
}
