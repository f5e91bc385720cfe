// Steps one after the other for a few rows of the last one's results at a time: what is between them stays in the cache, and is never
// written whole. Rows that a kernel sees from two bands are kept; those at the border between two threads' shares are computed by both.
// Every number is computed as it is without bands.
#pragma once
#include <algorithm>
#include <cstring>

#include "step.h"

struct Rows {
    int64_t first = 0, last = 0;
};

// Whether a row of results needs others than that row of the input. Such steps find the map's border by `ph` and `h`, the rest are given a
// map of the band's height.
INLINE bool sees_around(const Step& s) {
    return s.kind == DEPTHWISE || s.kind == MAXPOOL ||
           ((s.kind == CONV || s.kind == BCONV || s.kind == TCONV) &&
            (s.kh > 1 || s.kw > 1 || s.sh > 1 || s.sw > 1 || s.ph || s.pw || s.planar || s.before));
}

// The rows of its input that a step needs for so many of its results, and for these.
INLINE int64_t height_before(const Step& s, int64_t rows) { return sees_around(s) ? (rows - 1) * s.sh + (s.kh - 1) * s.dh + 1 : rows; }
INLINE Rows rows_before(const Step& s, Rows rows) {
    if (!sees_around(s)) return rows;
    const int64_t top = rows.first * s.sh - s.ph, first = std::min(s.h, std::max<int64_t>(0, top));
    return {first, std::max(first, std::min(s.h, top + height_before(s, rows.last - rows.first)))};
}

inline void in_bands(const Step* steps, const Kernels& kernels, const Place& at) {
    const int64_t count = steps->chain, end = count - 1, bands = over(steps[end].oh, steps->band), units = steps->n * bands;
    int64_t base[LONGEST];              // of the rows between two steps, of which each share has its own
    for (int64_t j = end - 1, rows = steps->band; j >= 0; j--) {
        rows = height_before(steps[j + 1], rows);
        base[j] = steps[j].out + at.share.part * rows * steps[j].ow * steps[j].out_stride;
    }
    Rows kept[LONGEST];
    for (int64_t unit = at.share.first(units); unit < at.share.last(units); unit++) {
        const int64_t image = unit / bands, top = unit % bands * steps->band;
        if (!top) std::fill(kept, kept + count, Rows());
        Rows wanted[LONGEST];
        wanted[end] = {top, std::min(steps[end].oh, top + steps->band)};
        for (int64_t j = end; j; j--) wanted[j - 1] = rows_before(steps[j], wanted[j]);
        for (int64_t j = 0; j < count; j++) {
            Step s = steps[j];
            const int64_t row = s.ow * s.out_stride, row_before = s.w * s.in_stride;
            int64_t from = wanted[j].first;
            int64_t in = j ? base[j - 1] - wanted[j - 1].first * row_before : s.in + image * s.h * row_before;
            if (j < end) {
                const int64_t left = kept[j].last - from;
                if (from >= kept[j].first && left > 0) {
                    std::memmove(at.arena + base[j], at.arena + base[j] + (from - kept[j].first) * row, left * row * sizeof(float));
                    from = kept[j].last;
                }
                kept[j] = wanted[j];
                s.out = base[j] + (from - wanted[j].first) * row;
            } else {
                s.out += (image * s.oh + from) * row;
            }
            if (from == wanted[j].last) continue;
            if (s.other >= 0) s.other += (s.kind == MULTIPLY ? image : (image * s.oh + from) * (s.kind == DEPTHWISE ? 1 : s.ow)) * s.other_stride;
            s.n = 1, s.oh = wanted[j].last - from;
            if (sees_around(s))
                s.in = in, s.ph -= from * s.sh;
            else
                s.in = in + from * row_before, s.h = s.oh;
            kernels.step(s, {at.image + (s.planar ? image * s.c * s.h * s.w : 0), at.arena, at.scratch, {0, 1}, at.results});
        }
    }
}
