/* What is in a picture, by a folder that `convatlas deploy RUN --out FOLDER --backend native` wrote, without Python:
 *
 *     cc answer.c -I DIR -o answer LIBRARY -Wl,-rpath,DIR_OF_LIBRARY       (convatlas doctor names both)
 *     ./answer FOLDER picture.ppm
 *
 * The picture is a binary PPM (or PGM, for networks on grey) of the size that the network takes: ffmpeg, ImageMagick and
 * others write one. */
#include <convatlas.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static int fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    return 1;
}

/* The pixels of a PPM or PGM file of exactly this size; NULL for others. */
static uint8_t *picture(const char *path, int channels, int height, int width) {
    int wide = 0, high = 0, most = 0;
    char kind = 0;
    size_t size = (size_t)channels * height * width;
    uint8_t *pixels = malloc(size);
    FILE *file = fopen(path, "rb");
    int good = file && pixels && fscanf(file, "P%c %d %d %d", &kind, &wide, &high, &most) == 4 && fgetc(file) != EOF;
    good = good && kind == (channels == 3 ? '6' : '5') && wide == width && high == height && most == 255;
    good = good && fread(pixels, 1, size, file) == size;
    if (file) fclose(file);
    if (good) return pixels;
    free(pixels);
    return NULL;
}

int main(int count, char **words) {
    if (count != 3) return fail("usage: answer FOLDER picture.ppm");
    convatlas_network *network = convatlas_open(words[1], 0);
    if (!network) return fail(convatlas_error());
    int channels = convatlas_channels(network), height = convatlas_height(network), width = convatlas_width(network);
    int classes = convatlas_classes(network);
    if (convatlas_results(network) != classes) return fail("it scores pixels, and this program says what is in a picture");
    uint8_t *pixels = picture(words[2], channels, height, width);
    if (!pixels) {
        fprintf(stderr, "%s is no binary PPM of %d x %d pixels and %d channels\n", words[2], width, height, channels);
        return 1;
    }
    float *image = malloc(sizeof(float) * channels * height * width), *scores = malloc(sizeof(float) * classes);
    if (!image || !scores) return fail("there is not enough memory");
    if (convatlas_prepare(network, pixels, image) || convatlas_scores(network, image, 1, scores)) return fail(convatlas_error());
    int best = 0;
    double sum = 0;
    for (int i = 1; i < classes; i++)
        if (scores[i] > scores[best]) best = i;
    for (int i = 0; i < classes; i++) sum += exp(scores[i] - scores[best]);
    const char *name = convatlas_class_name(network, best);
    printf("%d %s %.6f %s\n", best, name ? name : "-", 1 / sum, convatlas_instructions());
    free(pixels), free(image), free(scores);
    convatlas_close(network);
    return 0;
}
