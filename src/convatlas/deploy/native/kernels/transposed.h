// Transposed convolutions. The results whose place leaves one remainder by the stride, a phase in either direction, are a convolution
// of the input with every stride-th tap of the kernel: each phase of a row is one run of blocks, which writes every stride-th pixel.
#pragma once
#include "conv.h"

// One direction. A result at place·stride + phase − pad sees the inputs place − j for tap phase + stride·j.
struct Phases {
    int64_t kernel, stride, pad, results, first, last, taps;    // `first`, `last`: places; `taps`: the most that a phase has
    Phases(int64_t kernel, int64_t stride, int64_t pad, int64_t results)
        : kernel(kernel), stride(stride), pad(pad), results(results), first(pad / stride), last((results - 1 + pad) / stride),
          taps(over(kernel, stride)) {}
    int64_t places() const { return last - first + 1; }
    int64_t width() const { return places() + taps - 1; }       // of the input that is seen
    int64_t taps_of(int64_t phase) const { return phase < kernel ? over(kernel - phase, stride) : 0; }
    int64_t taps_before(int64_t phase) const {
        int64_t sum = 0;
        for (int64_t i = 0; i < phase; i++) sum += taps_of(i);
        return sum;
    }
    int64_t first_of(int64_t phase) const { return phase >= pad ? 0 : over(pad - phase, stride); }
    int64_t last_of(int64_t phase) const { return results - 1 + pad < phase ? -1 : (results - 1 + pad - phase) / stride; }
};

INLINE Phases rows_of(const Step& s) { return Phases(s.kh, s.sh, s.ph, s.oh); }
INLINE Phases columns_of(const Step& s) { return Phases(s.kw, s.sw, s.pw, s.ow); }
INLINE int64_t transposed_rows(const Step& s) {
    return std::max<int64_t>(1, std::min(rows_of(s).places(), s.tile / columns_of(s).places()));
}
INLINE int64_t transposed_scratch(const Step& s) {
    return (transposed_rows(s) + rows_of(s).taps - 1) * columns_of(s).width() * s.c + CHANNELS;
}

inline void transposed(const Step& s, const Place& at) {
    const Phases high = rows_of(s), wide = columns_of(s);
    const int64_t rows = transposed_rows(s), strips = over(high.places(), rows), width = wide.width(), c = s.c;
    const int64_t channels = padded(s.k), panels = over(channels, PANEL), all_panels = panels * s.sh * s.sw;
    const Share whole = {0, 1}, &by_panel = s.by_channels ? at.share : whole, &by_tile = s.by_channels ? whole : at.share;
    for (int64_t unit = by_tile.first(s.n * strips); unit < by_tile.last(s.n * strips); unit++) {
        const int64_t image = unit / strips, top = high.first + unit % strips * rows;
        const int64_t bottom = std::min(top + rows - 1, high.last), above = top - (high.taps - 1), before = wide.first - (wide.taps - 1);
        const float* in = at.arena + s.in + image * s.h * s.w * s.in_stride;
        for (int64_t y = above; y <= bottom; y++) {             // channels without gaps, zeros around the map
            float* strip = at.scratch + (y - above) * width * c;
            const int64_t left = std::min(width, std::max<int64_t>(0, -before)), right = std::max(left, std::min(width, s.w - before));
            const bool there = y >= 0 && y < s.h;
            std::memset(strip, 0, (there ? left : width) * c * sizeof(float));
            if (!there) continue;
            for (int64_t x = left; x < right; x++) {
                const float* from = in + (y * s.w + before + x) * s.in_stride;
                for (int64_t i = 0; i < c; i += LANES) store(strip + x * c + i, load(from + i));
            }
            std::memset(strip + right * c, 0, (width - right) * c * sizeof(float));
        }
        for (int64_t each = by_panel.first(all_panels); each < by_panel.last(all_panels); each++) {
            const int64_t phase = each / panels, down = phase / s.sw, across = phase % s.sw, channel = each % panels * PANEL;
            const int64_t first = wide.first_of(across), count = wide.last_of(across) - first + 1;
            if (count <= 0) continue;
            Block b = {};
            b.rows = high.taps_of(down), b.taps = 1, b.depth = wide.taps_of(across) * c, b.stride = c, b.row_stride = width * c;
            b.weight = s.weight + (high.taps_before(down) * s.kw + b.rows * wide.taps_before(across)) * c * channels + b.rows * b.depth * channel;
            b.bias = s.bias ? s.bias + channel : nullptr;
            b.ahead = b.weight + b.rows * b.depth * std::min<int64_t>(PANEL, channels - channel);
            b.activation = s.activation, b.out_stride = s.sw * s.out_stride;
            for (int64_t y = std::max(top, high.first_of(down)); y <= std::min(bottom, high.last_of(down)); y++) {
                const int64_t row = y * s.sh + down - s.ph, column = first * s.sw + across - s.pw;
                b.in = at.scratch + ((y - (b.rows - 1) - above) * width + first - (wide.taps_of(across) - 1) - before) * c;
                b.out = at.arena + s.out + ((image * s.oh + row) * s.ow + column) * s.out_stride + channel;
                pixels(b, count, channels - channel >= PANEL);
            }
        }
    }
}
