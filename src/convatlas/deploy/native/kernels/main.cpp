// The steps of a network, one after the other, for some images, by the build of the kernels that fits this processor.
#include <chrono>
#include <cstring>
#include <ctime>
#include <initializer_list>
#if __has_include(<sys/mman.h>) && !defined(__wasm__)
#include <sys/mman.h>
#endif

#include <vector>

#include "bands.h"
#include "library.h"
#include "threads.h"

#ifdef X86_BUILDS                               // several: the best that processor and system support
#include <cpuid.h>

#include <cstdlib>

extern "C" const Kernels convatlas_x86_64_v4_vnni, convatlas_x86_64_v4, convatlas_x86_64_v3;

struct Processor {
    uint32_t one = 0, seven = 0, more = 0, far = 0, saved = 0;      // features, and the registers that the system keeps for each thread
    Processor() {
        uint32_t a, b, c, d;
        if (__get_cpuid(1, &a, &b, &c, &d)) one = c;
        if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) seven = b, more = c;
        if (__get_cpuid(0x80000001, &a, &b, &c, &d)) far = c;
        if (one >> 27 & 1) asm volatile("xgetbv" : "=a"(saved), "=d"(d) : "c"(0));
    }
    bool v3() const {                           // FMA, MOVBE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT
        return has(one, {12, 22, 28, 29}) && has(seven, {3, 5, 8}) && has(far, {5}) && has(saved, {1, 2});
    }
    bool v4() const { return v3() && has(seven, {16, 17, 28, 30, 31}) && has(saved, {5, 6, 7}); }       // AVX-512 F, DQ, CD, BW, VL
    bool vnni() const { return v4() && has(more, {1, 11}); }        // AVX-512 VBMI, VNNI

  private:
    static bool has(uint32_t word, std::initializer_list<int> bits) {
        for (int bit : bits)
            if (!(word >> bit & 1)) return false;
        return true;
    }
};

static const Kernels* best() {
    const Processor here;
    const char* named = std::getenv("CONVATLAS_INSTRUCTIONS");         // by a user, who wants another than the best
    const struct { const Kernels* build; bool fits; } builds[] = {{&convatlas_x86_64_v4_vnni, here.vnni()}, {&convatlas_x86_64_v4, here.v4()},
                                                                     {&convatlas_x86_64_v3, here.v3()}};
    for (const auto& each : builds)
        if (each.fits && (!named || !*named || !std::strcmp(named, each.build->name))) return each.build;
    return nullptr;
}
#else
extern "C" const Kernels convatlas_native;

static const Kernels* best() { return &convatlas_native; }
#endif

static const Kernels* const kernels = best();           // null where none fits

#ifdef __wasm__                                 // no clock there: nobody asks
static double seconds_now() { return 0; }
#else
static double seconds_now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }
#endif

// Of this thread's work, where the system counts that: what else runs on the machine does not add to it.
static double seconds_of_thread() {
#if defined(CLOCK_THREAD_CPUTIME_ID) && !defined(__wasm__) && !defined(_WIN32)
    timespec now;
    if (!clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now)) return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
#endif
    return seconds_now();
}

int64_t convatlas_scratch(const Step* s) { return kernels->scratch(*s); }
int64_t convatlas_step_size() { return sizeof(Step); }
int64_t convatlas_lanes() { return kernels ? kernels->lanes : 0; }
const char* convatlas_instructions() { return kernels ? kernels->name : ""; }
int64_t convatlas_bf16() { return kernels && kernels->bf16 ? kernels->bf16() : 0; }

// Ask for large pages where the system has them: a network reads more memory than small ones can be remembered for.
void convatlas_large_pages(void* memory, int64_t bytes) {
#ifdef MADV_HUGEPAGE
    madvise(memory, bytes, MADV_HUGEPAGE);
#else
    (void)memory, (void)bytes;
#endif
}

// `parts` times the images that the steps are for. With fewer parts than threads all share each step's work and wait for one another
// after it, in arenas[0]; else each thread answers parts of its own, in its own arena. `results` gets what the OUTPUT steps give, part by
// part. `seconds`, where it is given: each step's time (of a chain's the first has all), by the first thread's own clock where that works alone.
void convatlas_run(const Step* steps, int64_t count, const float* images, float* results, int64_t parts, int64_t threads,
                   float* const* arenas, float* const* scratch, double* seconds) {
    const int64_t size = steps[0].n * steps[0].c * steps[0].h * steps[0].w;
    int64_t given = 0;                      // numbers that a part has for results
    for (int64_t i = 0; i < count; i++)
        if (steps[i].kind == OUTPUT) given += steps[i].n * steps[i].c * steps[i].h * steps[i].w;
    std::vector<int64_t> heads;             // steps, or the first of those that go band by band
    for (int64_t i = 0; i < count; i += std::max<int64_t>(1, steps[i].chain)) heads.push_back(i);
    auto run = [&](const Step& s, const Place& at) { s.chain ? in_bands(&s, *kernels, at) : kernels->step(s, at); };
    if (seconds) std::fill(seconds, seconds + count, 0.0);
    const bool alone = parts >= threads;    // each thread works for itself
    auto now = [&] { return alone ? seconds_of_thread() : seconds_now(); };
    double began = seconds ? now() : 0;
    auto clock = [&](int64_t i) {
        const double ended = now();
        seconds[i] = ended - began;
        began = ended;
    };
    if (alone) {
        auto answer = [&](int64_t thread, int64_t, int64_t part) {
            const Place at = {images + part * size, arenas[thread], scratch[thread], {0, 1}, results + part * given};
            if (seconds && !thread) began = now();
            for (int64_t i : heads) {
                run(steps[i], at);
                if (seconds && !thread) clock(i);
            }
        };
        together(threads, 1, parts, answer, [](int64_t) {});
    } else {
        const int64_t stages = int64_t(heads.size());
        auto share = [&](int64_t thread, int64_t stage, int64_t chunk) {
            const int64_t part = stage / stages;
            run(steps[heads[stage % stages]], {images + part * size, arenas[0], scratch[thread], {chunk, threads}, results + part * given});
        };
        together(threads, parts * stages, threads, share, [&](int64_t stage) {
            if (seconds) clock(heads[stage % stages]);
        });
    }
}

#ifndef __wasm__
int64_t convatlas_depthwise_size() { return sizeof(Depthwise); }
int64_t convatlas_depthwise_room(const Depthwise* d) { return kernels->room(*d); }

// Every unit is computed by one thread from its first number to its last, so that results do not depend on how many there are.
void convatlas_depthwise(const Depthwise* d, int64_t threads, float* memory) {
    const bool sums = d->what == WEIGHT_GRADIENT;
    const int64_t blocks = over(d->c, kernels->lanes), units = blocks * (sums ? d->groups : d->n), room = kernels->room(*d);
    const int64_t chunks = std::min<int64_t>(units, 256);               // what is counted for each costs something
    auto work = [&](int64_t thread, int64_t stage, int64_t chunk) {
        const Share share = {chunk, chunks};
        for (int64_t unit = share.first(units); unit < share.last(units); unit++) kernels->depthwise(*d, stage, unit, memory + thread * room);
    };
    if (units) together(threads, sums && d->groups > 1 ? 2 : 1, chunks, work, [](int64_t) {});
}
#endif
