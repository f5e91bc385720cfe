/* The largest difference between what folders' networks answer here and what they answered where expected.bin was written,
 * relative to the largest score: replay N FOLDER …, N images each. Fails above 1e-5. With PLANTED in the environment it hands over
 * memory that is too short, and lets two threads write to the same, for sanitizers to find. */
#include <convatlas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static float *numbers(const char *folder, const char *name, size_t count) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    float *found = malloc(count * sizeof(float));
    FILE *file = fopen(path, "rb");
    if (!file || fread(found, sizeof(float), count, file) != count) exit(fprintf(stderr, "%s cannot be read\n", path) > 0);
    fclose(file);
    return found;
}

#if defined(__SANITIZE_THREAD__)
#include <pthread.h>

static int shared;

static void *racing(void *unused) { return shared++, unused; }

static void race(void) {
    pthread_t other;
    pthread_create(&other, NULL, racing, NULL);
    shared++;
    pthread_join(other, NULL);
}
#else
static void race(void) {}
#endif

int main(int count, char **words) {
    int n = atoi(words[1]), bad = 0, planted = getenv("PLANTED") != NULL;
    if (planted) race();
    for (int i = 2; i < count; i++) {
        convatlas_network *net = convatlas_open(words[i], 2);
        if (!net) return fprintf(stderr, "%s\n", convatlas_error()), 1;
        size_t size = (size_t)convatlas_channels(net) * convatlas_height(net) * convatlas_width(net), classes = convatlas_classes(net);
        float *images = numbers(words[i], "input.bin", n * size), *expected = numbers(words[i], "expected.bin", n * classes);
        float *scores = malloc(n * classes * sizeof(float));
        if (planted) images = realloc(images, (n * size - 1) * sizeof(float));
        if (convatlas_scores(net, images, n, scores)) return fprintf(stderr, "%s\n", convatlas_error()), 1;
        double off = 0, most = 0;
        for (size_t j = 0; j < n * classes; j++) off = fmax(off, fabs(scores[j] - expected[j])), most = fmax(most, fabs(expected[j]));
        bad |= !(off <= 1e-5 * most);
        printf("%s %.1e %s\n", convatlas_instructions(), off / most, words[i]);
        free(images), free(expected), free(scores);
        convatlas_close(net);
    }
    return bad;
}
