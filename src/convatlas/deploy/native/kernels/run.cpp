// One build of the kernels: compiled once for each instruction set, whose name BUILD is.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif
#if defined(__x86_64__) && defined(__AVX512VNNI__) && (defined(__clang__) || __GNUC__ >= 11)      // whose assemblers know them
#define BF16_INSTRUCTIONS 1
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

#include "step.h"

#ifndef BUILD
#define BUILD native
#define BUILD_NAME "native"
#endif
#define JOINED(a, b) a##b
#define NAMED(a, b) JOINED(a, b)

// Lest the linker take one build's functions for those of another, which have the same names.
namespace {
#include "conv.h"
#include "depthwise.h"
#include "grouped.h"
#include "maps.h"
#include "bytes.h"
#include "places.h"
#ifndef __wasm__
#include "bfloat16.h"
#include "trained.h"
#endif
#include "transposed.h"
#include "winograd.h"

void run_step(const Step& s, const Place& at) {
    switch (s.kind) {
        case CONV: return small_groups(s) ? grouped(s, at) : conv(s, at);
#ifndef __wasm__
        case WINOGRAD4: return s.halves ? winograd<4, true>(s, at) : winograd<4>(s, at);
        case WINOGRAD2: return s.halves ? winograd<2, true>(s, at) : winograd<2>(s, at);
        case MAXPOOL: return s.halves ? pool<true, true>(s, at) : pool<true>(s, at);
#else
        case WINOGRAD4: return winograd<4>(s, at);
        case WINOGRAD2: return winograd<2>(s, at);
        case MAXPOOL: return pool<true>(s, at);
#endif
        case DEPTHWISE: return depthwise(s, at);
        case AVGPOOL: return pool<false>(s, at);
        case MEAN: return mean(s, at);
        case ADD: return pointwise<ADD>(s, at);
        case MULTIPLY: return pointwise<MULTIPLY>(s, at);
        case AFFINE: return pointwise<AFFINE>(s, at);
        case LAYERNORM: return layernorm(s, at);
        case RESPONSE: return response(s, at);
        case COPY: return copy(s, at);
        case PAD: return pad<false>(s, at);
        case REPLICATE: return pad<true>(s, at);
        case NEAREST: return nearest(s, at);
        case BILINEAR: return bilinear(s, at);
        case ADAPTIVE: return adaptive(s, at);
        case TRANSPOSED: return transposed(s, at);
        case OFFSETS: return offsets(s, at);
        case RBF: return rbf(s, at);
        case OUTPUT: return output(s, at);
        case QUANTIZE: return quantize(s, at);
        case DEQUANTIZE: return dequantize(s, at);
        case QCONV: return byte_conv(s, at);
        case QDEPTHWISE: return byte_depthwise(s, at);
        case QMAXPOOL: return byte_max_pool(s, at);
        case QAVGPOOL: return byte_average_pool(s, at);
        case QMEAN: return byte_mean(s, at);
        case QADD: return byte_add(s, at);
        case QMULTIPLY: return byte_multiply(s, at);
        case QAFFINE: return byte_affine(s, at);
        case QCOPY: return byte_copy(s, at);
#ifndef __wasm__
        case BCONV:
#ifdef PAIRS
            if (s.gather) return rounded_conv<BY_PAIRS>(s, at);
#endif
            return rounded_conv<BY_FLOATS>(s, at);
#ifdef TILES
        case TCONV: return rounded_conv<BY_TILES>(s, at);
#endif
#endif
    }
}

int64_t scratch_of(const Step& s) {
    switch (s.kind) {
        case CONV: return small_groups(s) ? 0 : conv_scratch(s);
        case WINOGRAD4: return winograd_scratch<4>(s);
        case WINOGRAD2: return winograd_scratch<2>(s);
        case DEPTHWISE: return depthwise_scratch(s);
        case RESPONSE: return response_scratch(s);
        case TRANSPOSED: return transposed_scratch(s);
        case QCONV: return byte_conv_scratch(s);
        case QDEPTHWISE: return byte_depthwise_scratch(s);
#ifndef __wasm__
        case BCONV: case TCONV: return rounded_scratch(s);
#endif
        default: return 0;
    }
}
}  // namespace

extern "C" const Kernels NAMED(convatlas_, BUILD);
extern "C" const Kernels NAMED(convatlas_, BUILD) = {BUILD_NAME, LANES, run_step, scratch_of,
#ifdef __wasm__
                                                         nullptr, nullptr, nullptr
#else
                                                         depthwise_unit, room_of, other_ways
#endif
};
