// A depthwise convolution of a training step, as native/training.py lays it down; every field is eight bytes.
#pragma once
#include <cstdint>

enum What { FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT };

struct Depthwise {
    int64_t what;
    int64_t n, c, h, w, oh, ow;                         // images, channels, and the sizes of map and results
    int64_t kh, kw, stride, ph, pw;                     // the padding at the top and the left; beyond the map all is zero
    int64_t groups;                                     // WEIGHT_GRADIENT: of images, whose sums are added up in the end
    int64_t map_steps[4], result_steps[4];              // from one image, channel, row or column to the next
    float *map, *results, *weight, *bias, *partial;     // weight (c, kh, kw); `bias` may be null; `partial`: (groups, c, kh, kw)
};
