// What main.cpp gives to folder.cpp and to Python.
#pragma once
#include "step.h"

#ifdef _WIN32
#define EXPORTED extern "C" __declspec(dllexport)
#else
#define EXPORTED extern "C" __attribute__((visibility("default")))
#endif

EXPORTED int64_t convatlas_scratch(const Step* s);      // numbers of each thread's own that a step needs
EXPORTED int64_t convatlas_step_size();
EXPORTED int64_t convatlas_lanes();                     // 0: no build fits this processor
EXPORTED const char* convatlas_instructions();
EXPORTED int64_t convatlas_bf16();                      // how bf16 can be multiplied besides as floats, a bit each: 1 by pairs, 2 by tiles
EXPORTED void convatlas_large_pages(void* memory, int64_t bytes);
EXPORTED void convatlas_run(const Step* steps, int64_t count, const float* images, float* scores, int64_t parts, int64_t threads,
                            float* const* arenas, float* const* scratch, double* seconds);
EXPORTED int64_t convatlas_depthwise_size();
EXPORTED int64_t convatlas_depthwise_room(const Depthwise* d);          // numbers of each thread's own that the convolution needs
EXPORTED void convatlas_depthwise(const Depthwise* d, int64_t threads, float* memory);
