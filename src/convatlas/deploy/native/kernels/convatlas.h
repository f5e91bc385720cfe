/* The answers of a network that `convatlas deploy RUN --out FOLDER --backend native` wrote, without Python.
 *
 * Link with libconvatlas, which convatlas' wheels bring compiled (`convatlas doctor` says where), or compile the .cpp files beside
 * this header. Functions that fail return NULL or -1, and convatlas_error() says why. */
#ifndef CONVATLAS_H
#define CONVATLAS_H
#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
#define CONVATLAS_API __declspec(dllexport)
#else
#define CONVATLAS_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct convatlas_network convatlas_network;

/* Open a folder. `threads` 0: as many as the environment variable OMP_NUM_THREADS says, or as the network was tuned for. */
CONVATLAS_API convatlas_network *convatlas_open(const char *folder, int threads);

/* Open a network in memory, for one thread: native.json and native.safetensors as bytes, which may be given back afterwards. Weights may
 * be of half precision. With `keeps_maps` every step's map stays, for convatlas_map; else later ones lie where earlier ones were. */
CONVATLAS_API convatlas_network *convatlas_open_bytes(const char *plan, size_t plan_bytes, const void *weights, size_t bytes, int keeps_maps);

/* Give everything back. */
CONVATLAS_API void convatlas_close(convatlas_network *network);

/* The reason why the last function that was called in this thread failed: one sentence. */
CONVATLAS_API const char *convatlas_error(void);

/* The size of its images, and how many scores each gets. */
CONVATLAS_API int convatlas_channels(const convatlas_network *network);
CONVATLAS_API int convatlas_height(const convatlas_network *network);
CONVATLAS_API int convatlas_width(const convatlas_network *network);
CONVATLAS_API int convatlas_classes(const convatlas_network *network);

/* The numbers that an image gets: its scores, or of a network that scores pixels classes × height × width of what it gives. */
CONVATLAS_API int convatlas_results(const convatlas_network *network);

/* The name of a class in UTF-8, as long as the network is open; NULL where it has none. */
CONVATLAS_API const char *convatlas_class_name(const convatlas_network *network, int i);

/* A picture of the network's size, (height, width, channels) bytes, normalised to an image (channels, height, width). */
CONVATLAS_API int convatlas_prepare(const convatlas_network *network, const uint8_t *pixels, float *image);

/* The scores of images (n, channels, height, width), before any softmax: n × convatlas_results numbers, (n, classes), or (n, classes,
 * height, width) of a network that scores pixels. Calls in several threads wait for one another;
 * threads that shall not wait open the folder once more. */
CONVATLAS_API int convatlas_scores(convatlas_network *network, const float *images, int64_t n, float *scores);

/* What a step of native.json made of the last image, (channels, height, width), bytes as they are; returns how many
 * numbers that are. */
CONVATLAS_API int convatlas_map(const convatlas_network *network, int step, float *to);

/* The instructions for which the kernels that are used here were compiled, such as x86-64-v4; "" where none fits. */
CONVATLAS_API const char *convatlas_instructions(void);

#ifdef __cplusplus
}
#endif
#endif
