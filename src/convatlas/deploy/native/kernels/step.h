// One step of a network, as native/engine.py lays it down, which reads the order of the names here; every field is eight bytes.
#pragma once
#include <cstdint>

#include "depthwise_call.h"

#define INLINE inline __attribute__((always_inline))    // also lest one build's copy of a function be linked into another's

constexpr int CHANNELS = 16;            // a map's channels are padded with zeros to a multiple of this
constexpr int64_t LONGEST = 8;          // steps of a chain

enum Kind { CONV, WINOGRAD4, WINOGRAD2, DEPTHWISE, MAXPOOL, AVGPOOL, MEAN, ADD, MULTIPLY, AFFINE, LAYERNORM, RESPONSE, COPY,
            PAD, REPLICATE, NEAREST, BILINEAR, ADAPTIVE, TRANSPOSED, OFFSETS, RBF, OUTPUT, QUANTIZE, DEQUANTIZE, QCONV, QDEPTHWISE, QMAXPOOL, QAVGPOOL, QMEAN, QADD, QMULTIPLY,
            QAFFINE, QCOPY,       // the last eleven: maps of bytes, bytes.h
            BCONV, TCONV };       // bf16, bfloat16.h
enum Activation { NONE, RELU, RELU6, SILU, HARDSWISH, SIGMOID, HARDSIGMOID, GELU, TANH, SCALEDTANH, LEAKYRELU, ELU, MISH };

struct Step {
    int64_t kind, activation;
    int64_t n, h, w, c;                     // images, and what is read of each; c counts real channels
    int64_t oh, ow, k;                      // what is written
    int64_t kh, kw, sh, sw, ph, pw;         // kernel, stride, padding at the top and the left; what is beyond the map elsewhere is zero too
    int64_t dh, dw;                         // how far apart the taps of a kernel are
    int64_t groups;
    int64_t in, in_stride;                  // where the input begins in the arena, and how far it is to the next pixel; in floats, whatever a map's numbers are
    int64_t out, out_stride;
    int64_t other, other_stride;            // a second input of the output's shape, or -1; DEPTHWISE: where the means of its rows go
    int64_t planar;                         // whether the input is the network's image, (c, h, w)
    int64_t counts_padding;                 // AVGPOOL
    int64_t tile, gather, by_channels;      // how much is worked on at once, and whether threads share channels or positions
    int64_t chain, band;                    // how many steps from this one on go band by band, rows of the last one's results; 0: none
    int64_t in_zero, out_zero, other_zero;  // of maps of bytes: the byte that stands for 0
    int64_t low, high;                      // bounds of a result of bytes; QCONV: `high` 0, and it is floats
    int64_t halves;                         // which maps are of bf16: 1 the input, 2 the result, 4 the other
    const float *weight, *bias, *before, *scale, *table;    // `before`: factors, then offsets of an affine map with ReLU that the input goes through
    double epsilon;                         // LAYERNORM; PAD: what is around the map; steps on bytes: a factor, as each says
};

// The share of one of `parts` threads.
struct Share {
    int64_t part, parts;
    INLINE int64_t first(int64_t count) const { return count * part / parts; }
    INLINE int64_t last(int64_t count) const { return count * (part + 1) / parts; }
};

// Where a step finds its maps.
struct Place {
    const float* image;
    float *arena, *scratch;
    Share share;
    float* results;
};

INLINE int64_t over(int64_t a, int64_t b) { return (a + b - 1) / b; }
INLINE int64_t padded(int64_t channels) { return over(channels, CHANNELS) * CHANNELS; }

// The kernels of one build: for one instruction set, all compiled with its flags.
struct Kernels {
    const char* name;
    int64_t lanes;                                      // numbers in a vector
    void (*step)(const Step&, const Place&);
    int64_t (*scratch)(const Step&);                    // numbers of each thread's own that a step needs
    void (*depthwise)(const Depthwise&, int64_t stage, int64_t unit, float* memory);       // of training; null where nothing is trained
    int64_t (*room)(const Depthwise&);
    int64_t (*bf16)();                                  // how bf16 can be multiplied besides as floats (bfloat16.h), a bit each
};
