// The steps of a network, one after the other, for some images.
#include <omp.h>
#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#endif

#include "depthwise.h"
#include "maps.h"
#include "places.h"
#include "transposed.h"
#include "winograd.h"

static void run_step(const Step& s, const Place& at) {
    switch (s.kind) {
        case CONV: return conv(s, at);
        case WINOGRAD4: return winograd<4>(s, at);
        case WINOGRAD2: return winograd<2>(s, at);
        case DEPTHWISE: return depthwise(s, at);
        case MAXPOOL: return pool<true>(s, at);
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
    }
}

#pragma GCC visibility push(default)
extern "C" {

// Numbers of each thread's own that a step needs.
int64_t convatlas_scratch(const Step* s) {
    switch (s->kind) {
        case CONV: return conv_scratch(*s);
        case WINOGRAD4: return winograd_scratch<4>(*s);
        case WINOGRAD2: return winograd_scratch<2>(*s);
        case DEPTHWISE: return depthwise_scratch(*s);
        case RESPONSE: return response_scratch(*s);
        case TRANSPOSED: return transposed_scratch(*s);
        default: return 0;
    }
}

// Ask for large pages where the system has them: a network reads more memory than small ones can be remembered for.
void convatlas_large_pages(void* memory, int64_t bytes) {
#ifdef MADV_HUGEPAGE
    madvise(memory, bytes, MADV_HUGEPAGE);
#else
    (void)memory, (void)bytes;
#endif
}

int64_t convatlas_step_size() { return sizeof(Step); }
int64_t convatlas_lanes() { return LANES; }

// `parts` times the images that the steps are for. With fewer parts than threads all share each step's work and wait for one another
// after it, in arenas[0]; else each thread answers parts of its own, in its own arena. `results` gets what the OUTPUT steps give, part by
// part. `seconds`, where it is given: each step's time.
void convatlas_run(const Step* steps, int64_t count, const float* images, float* results, int64_t parts, int64_t threads,
                   float* const* arenas, float* const* scratch, double* seconds) {
    const int64_t size = steps[0].n * steps[0].c * steps[0].h * steps[0].w;
    int64_t all_results = 0;                // of a part
    for (int64_t i = 0; i < count; i++)
        if (steps[i].kind == OUTPUT) all_results += steps[i].n * steps[i].c * steps[i].h * steps[i].w;
    const bool apart = parts >= threads;
#pragma omp parallel num_threads(threads)
    {
        const int64_t thread = omp_get_thread_num(), all = omp_get_num_threads();
        const bool clock = seconds && thread == 0;
        float* arena = arenas[apart ? thread : 0];
        const Share share = apart ? Share{0, 1} : Share{thread, all};
        double began = clock ? omp_get_wtime() : 0;
        auto answer = [&](int64_t part) {
            for (int64_t i = 0; i < count; i++) {
                run_step(steps[i], {images + part * size, arena, scratch[thread], share, results + part * all_results});
                if (!apart) {
#pragma omp barrier
                }
                if (clock) {
                    const double now = omp_get_wtime();
                    seconds[i] = now - began;
                    began = now;
                }
            }
        };
        if (apart) {
#pragma omp for schedule(dynamic, 1)
            for (int64_t part = 0; part < parts; part++) answer(part);
        } else {
            for (int64_t part = 0; part < parts; part++) {
                answer(part);
#pragma omp barrier
            }
        }
    }
}
}
#pragma GCC visibility pop
