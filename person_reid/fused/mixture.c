/* A mixture of T maps x_t:  y = sum over t of weights_t x_t,  with a weight for each image and channel.

   Maps are float32 in channels_last order, (images, pixels, channels), with channels in multiples of LANES. */

#include "vectors.h"

struct mixture {
    long threads, images, pixels, channels, streams;
    const float **x, *weights; /* weights, sums and sums_gradient: (streams, images, channels) */
    float *y, *sums;
    const float *y_gradient, *sums_gradient;
    float **x_gradient;
};

/* Sum each x_t over the pixels of an image; with y_gradient, x_t times it, which is the gradient of the weights. */
void mixture_sums(const struct mixture *m) {
    long N = m->images, P = m->pixels, C = m->channels;
#pragma omp parallel for collapse(2) schedule(static) num_threads(m->threads)
    for (long n = 0; n < N; n++)
        for (long t = 0; t < m->streams; t++)
            for (long c = 0; c < C; c += LANES) {
                Vector sum = {0};
                for (long at = n * P * C + c; at < (n + 1) * P * C; at += C) {
                    Vector value = AT(m->x[t] + at);
                    if (m->y_gradient) value *= AT(m->y_gradient + at);
                    sum += value;
                }
                AT(m->sums + (t * N + n) * C + c) = sum;
            }
}

void mixture_forward(const struct mixture *m) {
    long N = m->images, P = m->pixels, C = m->channels;
#pragma omp parallel for schedule(static) num_threads(m->threads)
    for (long n = 0; n < N; n++)
        for (long at = n * P * C; at < (n + 1) * P * C; at += C)
            for (long c = 0; c < C; c += LANES) {
                Vector sum = {0};
                for (long t = 0; t < m->streams; t++)
                    sum += AT(m->x[t] + at + c) * AT(m->weights + (t * N + n) * C + c);
                AT(m->y + at + c) = sum;
            }
}

/* The gradients of the x_t, which reach y directly and through their sums. */
void mixture_backward(const struct mixture *m) {
    long N = m->images, P = m->pixels, C = m->channels;
#pragma omp parallel for schedule(static) num_threads(m->threads)
    for (long n = 0; n < N; n++)
        for (long at = n * P * C; at < (n + 1) * P * C; at += C)
            for (long c = 0; c < C; c += LANES) {
                Vector g = AT(m->y_gradient + at + c);
                for (long t = 0; t < m->streams; t++) {
                    long own = (t * N + n) * C + c;
                    AT(m->x_gradient[t] + at + c) = g * AT(m->weights + own) + AT(m->sums_gradient + own);
                }
            }
}
