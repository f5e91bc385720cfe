// What moves values: borders, crops, up-sampling, pooling to a given size, results as the caller has them; and two layers of the
// first networks, offsets of each unit and distances.
#pragma once
#include "vector.h"

INLINE void copy_pixel(const Step& s, const float* from, float* to) {
    for (int64_t c = 0; c < padded(s.c); c += LANES) store(to + c, load(from + c));
}

// Pixel (y, x) of an image, which may be the network's, to a map.
INLINE void take_pixel(const Step& s, const Place& at, int64_t image, int64_t y, int64_t x, float* to) {
    if (!s.planar) return copy_pixel(s, at.arena + s.in + ((image * s.h + y) * s.w + x) * s.in_stride, to);
    for (int64_t c = 0; c < padded(s.c); c++) to[c] = c < s.c ? at.image[((image * s.c + c) * s.h + y) * s.w + x] : 0;
}

// The map with `ph` rows above and `pw` columns to the left, fewer than none where these are cut off. What is around the map is `epsilon`,
// or the nearest pixel.
template <bool NEAREST_PIXEL>
inline void pad(const Step& s, const Place& at) {
    for (int64_t unit = at.share.first(s.n * s.oh); unit < at.share.last(s.n * s.oh); unit++) {
        const int64_t image = unit / s.oh, y = unit % s.oh - s.ph;
        float* out = at.arena + s.out + unit * s.ow * s.out_stride;
        for (int64_t ox = 0; ox < s.ow; ox++, out += s.out_stride) {
            const int64_t x = ox - s.pw;
            if (NEAREST_PIXEL)
                take_pixel(s, at, image, std::max<int64_t>(0, std::min(y, s.h - 1)), std::max<int64_t>(0, std::min(x, s.w - 1)), out);
            else if (y >= 0 && y < s.h && x >= 0 && x < s.w)
                take_pixel(s, at, image, y, x, out);
            else
                for (int64_t c = 0; c < padded(s.c); c += LANES) store(out + c, all(float(s.epsilon)));
        }
    }
}

// A map enlarged by whole numbers, every pixel repeated.
inline void nearest(const Step& s, const Place& at) {
    for (int64_t unit = at.share.first(s.n * s.oh); unit < at.share.last(s.n * s.oh); unit++) {
        const float* in = at.arena + s.in + (unit / s.oh * s.h + unit % s.oh * s.h / s.oh) * s.w * s.in_stride;
        float* out = at.arena + s.out + unit * s.ow * s.out_stride;
        for (int64_t x = 0; x < s.ow; x++) copy_pixel(s, in + x * s.w / s.ow * s.in_stride, out + x * s.out_stride);
    }
}

// Where a result lies between two pixels of the input, whose edges coincide with the result's.
struct Between {
    int64_t first, second;
    float share;                                        // of the second
    Between(int64_t o, int64_t results, int64_t size) {
        const float place = std::max(0.0f, (float(o) + 0.5f) * (float(size) / float(results)) - 0.5f);
        first = std::min(int64_t(place), size - 1), second = std::min(first + 1, size - 1), share = place - float(first);
    }
};

inline void bilinear(const Step& s, const Place& at) {
    for (int64_t unit = at.share.first(s.n * s.oh); unit < at.share.last(s.n * s.oh); unit++) {
        const Between high(unit % s.oh, s.oh, s.h);
        const float* in = at.arena + s.in + unit / s.oh * s.h * s.w * s.in_stride;
        const float *above = in + high.first * s.w * s.in_stride, *below = in + high.second * s.w * s.in_stride;
        float* out = at.arena + s.out + unit * s.ow * s.out_stride;
        for (int64_t x = 0; x < s.ow; x++, out += s.out_stride) {
            const Between wide(x, s.ow, s.w);
            const int64_t left = wide.first * s.in_stride, right = wide.second * s.in_stride;
            for (int64_t c = 0; c < padded(s.c); c += LANES) {
                const vec upper = load(above + left + c) * (1 - wide.share) + load(above + right + c) * wide.share;
                const vec lower = load(below + left + c) * (1 - wide.share) + load(below + right + c) * wide.share;
                store(out + c, activated(upper * (1 - high.share) + lower * high.share, s.activation));
            }
        }
    }
}

// Means of windows that are as equal as the sizes allow, and may overlap.
inline void adaptive(const Step& s, const Place& at) {
    for (int64_t unit = at.share.first(s.n * s.oh); unit < at.share.last(s.n * s.oh); unit++) {
        const int64_t oy = unit % s.oh, top = oy * s.h / s.oh, bottom = over((oy + 1) * s.h, s.oh);
        const float* in = at.arena + s.in + unit / s.oh * s.h * s.w * s.in_stride;
        for (int64_t ox = 0; ox < s.ow; ox++) {
            const int64_t left = ox * s.w / s.ow, right = over((ox + 1) * s.w, s.ow);
            for (int64_t c = 0; c < padded(s.c); c += LANES) {
                vec sum = {};
                for (int64_t y = top; y < bottom; y++)
                    for (int64_t x = left; x < right; x++) sum += load(in + (y * s.w + x) * s.in_stride + c);
                const vec mean = sum / float((bottom - top) * (right - left));
                store(at.arena + s.out + (unit * s.ow + ox) * s.out_stride + c, activated(mean, s.activation));
            }
        }
    }
}

// A number of its own is added to each channel of each pixel.
inline void offsets(const Step& s, const Place& at) {
    const int64_t each = s.h * s.w, channels = padded(s.c);
    for (int64_t pixel = at.share.first(s.n * each); pixel < at.share.last(s.n * each); pixel++)
        for (int64_t c = 0; c < channels; c += LANES)
            store(at.arena + s.out + pixel * s.out_stride + c,
                  activated(load(at.arena + s.in + pixel * s.in_stride + c) + load(s.weight + pixel % each * channels + c), s.activation));
}

// Minus the squared distance of each pixel's channels from centres (c, padded k).
inline void rbf(const Step& s, const Place& at) {
    const int64_t blocks = padded(s.k) / LANES, pixels = s.n * s.h * s.w;
    for (int64_t unit = at.share.first(pixels * blocks); unit < at.share.last(pixels * blocks); unit++) {
        const int64_t pixel = unit / blocks, k = unit % blocks * LANES;
        const float* in = at.arena + s.in + pixel * s.in_stride;
        vec sum = {};
        for (int64_t c = 0; c < s.c; c++) {
            const vec d = in[c] - load(s.weight + c * padded(s.k) + k);
            sum -= d * d;
        }
        store(at.arena + s.out + pixel * s.out_stride + k, activated(sum, s.activation));
    }
}

// A map as the caller gets it, (c, h, w) for each image.
inline void output(const Step& s, const Place& at) {
    const int64_t pixels = s.h * s.w;
    for (int64_t unit = at.share.first(s.n * s.h); unit < at.share.last(s.n * s.h); unit++) {
        const float* in = at.arena + s.in + unit * s.w * s.in_stride;
        float* out = at.results + s.out + unit / s.h * s.c * pixels + unit % s.h * s.w;
        for (int64_t x = 0; x < s.w; x++, in += s.in_stride)
            for (int64_t c = 0; c < s.c; c++) out[c * pixels + x] = in[c];
    }
}
