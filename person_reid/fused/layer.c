/* Layers of a network in training on a processor, each in as few passes over memory as batch normalisation allows.

   A layer is  y = ReLU(norm(depthwise(pointwise(x))) + residual),  of which everything but the norm may be missing.
   Maps are float32 in channels_last order, (images, height, width, channels), with channels in multiples of LANES.
   Batch normalisation (Ioffe, Szegedy: Batch Normalization, ICML 2015), over the M values u of a channel, is

       norm(u) = scale u + shift,   scale = gamma / sqrt(variance + epsilon),   shift = beta - scale mean;

   with g, the gradient of its result, the gradient of u is
       scale (g - sum(g) / M - (u - mean) / (variance + epsilon) sum(g (u - mean)) / M).

   The statistics need all images before the first y is known, so there are two passes, each parallel over images. What
   lies between x and u stays in a processor's own cache, and is computed again for the gradient rather than stored. */

#include "convolutions.h"

enum { CHUNK = 96 }; /* pixels of which input and gradient fit in the innermost cache */

struct layer {
    long threads, images, height, width, inputs, channels; /* x has `inputs` channels, u and y have `channels` */
    long activates;
    float epsilon, momentum;
    const float *x, *pointwise, *depthwise, *residual, *gamma, *beta; /* (channels, inputs), (channels, 9); or NULL */
    float *running_mean, *running_variance;
    float *u, *y, *statistics; /* statistics: mean, 1 / sqrt(variance + epsilon), scale, shift. A lone norm has u = x */
    const float *y_gradient;
    float *x_gradient, *pointwise_gradient, *depthwise_gradient, *residual_gradient, *gamma_gradient, *beta_gradient;
};

/* The pointwise convolution of an image, inside a border of zeros: (height + 2, width + 2, channels). */
static void pointwise_padded(const struct layer *l, long image, const float *weights, float *padded) {
    long W = l->width, K = l->inputs, C = l->channels;
    for (long h = 0; h < l->height; h++)
        multiply(W, C, K, l->x + (image * l->height + h) * W * K, K, 1, weights, C,
                 padded + ((h + 1) * (W + 2) + 1) * C, C, 0);
}

/* u of an image, and moments (3, channels): the mean of a row, the sum of the distances from it, and of their squares. */
static void convolve(const struct layer *l, long image, const float *weights, const float *nine, float *padded,
                     float *moments) {
    long H = l->height, W = l->width, K = l->inputs, C = l->channels;
    float *u = l->u + image * H * W * C, *sums = moments + C, *squares = sums + C;
    if (l->depthwise) pointwise_padded(l, image, weights, padded);
    else if (l->pointwise) multiply(H * W, C, K, l->x + image * H * W * K, K, 1, weights, C, u, C, 0);
    memset(sums, 0, 2 * C * sizeof(float));
    for (long h = 0; h < H; h++, u += W * C) {
        if (l->depthwise) depthwise(W, C, padded + h * (W + 2) * C, nine, u);
        for (long c = 0; h == 0 && c < C; c += LANES) {
            Vector sum = {0};
            for (long at = c; at < W * C; at += C) sum += AT(u + at);
            AT(moments + c) = sum / (float)W;
        }
        for (long c = 0; c < C; c += LANES) {
            Vector sum = AT(sums + c), square = AT(squares + c), origin = AT(moments + c);
            for (long at = c; at < W * C; at += C) {
                Vector distance = AT(u + at) - origin;
                sum += distance;
                square += distance * distance;
            }
            AT(sums + c) = sum;
            AT(squares + c) = square;
        }
    }
}

/* A channel's mean and variance, and all that follows from them. */
static void find_statistics(const struct layer *l, long c, const float *moments) {
    long N = l->images, P = l->height * l->width, C = l->channels;
    float *mean = l->statistics, *deviation = mean + C, *scale = deviation + C, *shift = scale + C;
    double total = 0, squares = 0, values = (double)N * P;
    for (const float *m = moments + c; m < moments + 3 * N * C; m += 3 * C) total += m[0] + m[C] / (double)P;
    double middle = total / N;
    for (const float *m = moments + c; m < moments + 3 * N * C; m += 3 * C) {
        double distance = m[0] - middle;
        squares += m[2 * C] + 2 * distance * m[C] + P * distance * distance;
    }
    mean[c] = middle;
    deviation[c] = 1 / sqrt(squares / values + l->epsilon);
    scale[c] = l->gamma[c] * deviation[c];
    shift[c] = l->beta[c] - middle * scale[c];
    l->running_mean[c] += l->momentum * (mean[c] - l->running_mean[c]);
    l->running_variance[c] += l->momentum * ((float)(squares / (values - 1)) - l->running_variance[c]);
}

static void normalise(const struct layer *l, long image) {
    long P = l->height * l->width, C = l->channels;
    const float *scale = l->statistics + 2 * C, *shift = scale + C;
    for (long at = image * P * C; at < (image + 1) * P * C; at += C)
        for (long c = 0; c < C; c += LANES) {
            Vector value = AT(l->u + at + c) * AT(scale + c) + AT(shift + c);
            if (l->residual) value += AT(l->residual + at + c);
            AT(l->y + at + c) = l->activates ? positive(value, value) : value;
        }
}

void layer_forward(const struct layer *l) {
    long N = l->images, C = l->channels, K = l->inputs, matrix = l->pointwise ? K * C : 0;
    float *weights = malloc((matrix + 9 * C + 3 * N * C) * sizeof(float));
    float *nine = weights + matrix, *moments = nine + 9 * C;
    if (l->pointwise) transpose(C, K, l->pointwise, weights);
    if (l->depthwise) transpose(C, 9, l->depthwise, nine);
#pragma omp parallel num_threads(l->threads)
    {
        float *padded = l->depthwise ? calloc((l->height + 2) * (l->width + 2) * C, sizeof(float)) : NULL;
#pragma omp for schedule(static)
        for (long n = 0; n < N; n++) convolve(l, n, weights, nine, padded, moments + 3 * n * C);
        free(padded);
#pragma omp for schedule(static)
        for (long c = 0; c < C; c++) find_statistics(l, c, moments);
#pragma omp for schedule(static)
        for (long n = 0; n < N; n++) normalise(l, N - 1 - n); /* the last images are still in the cache */
    }
    free(weights);
}

/* g, the gradient of the norm's result: y's gradient where the ReLU passes it on, else 0. */
INLINE Vector norm_gradient(const struct layer *l, long at, Vector u, Vector scale, Vector shift) {
    Vector g = AT(l->y_gradient + at);
    if (!l->activates) return g;
    Vector value = u * scale + shift;
    if (l->residual_gradient) value = AT(l->y + at);
    return positive(g, value);
}

/* sum(g) and sum(g (u - mean)) over an image, (2, channels), for the `vectors` vectors of channels from c on. */
INLINE void sum_channels(int vectors, const struct layer *l, long image, long c, float *sums) {
    long P = l->height * l->width, C = l->channels;
    const float *mean = l->statistics + c, *scale = mean + 2 * C, *shift = scale + C;
    Vector sum[4] = {{0}}, product[4] = {{0}};
    for (long at = image * P * C + c, end = at + P * C; at < end; at += C)
        UNROLL for (int v = 0; v < vectors; v++) {
            long i = v * LANES;
            Vector u = AT(l->u + at + i), g = norm_gradient(l, at + i, u, AT(scale + i), AT(shift + i));
            sum[v] += g;
            product[v] += g * (u - AT(mean + i));
        }
    UNROLL for (int v = 0; v < vectors; v++) {
        AT(sums + c + v * LANES) = sum[v];
        AT(sums + C + c + v * LANES) = product[v];
    }
}

static void sum_gradients(const struct layer *l, long image, float *sums) {
    long c = 0;
    for (; c + 4 * LANES <= l->channels; c += 4 * LANES) sum_channels(4, l, image, c, sums);
    for (; c + 2 * LANES <= l->channels; c += 2 * LANES) sum_channels(2, l, image, c, sums);
    if (c < l->channels) sum_channels(1, l, image, c, sums);
}

/* Gradients of gamma and beta; and slope and offset, (2, channels): the gradient of u is scale g + slope u + offset. */
static void find_factors(const struct layer *l, long c, const float *sums, float *factors) {
    long N = l->images, C = l->channels;
    float mean = l->statistics[c], deviation = l->statistics[C + c], scale = l->statistics[2 * C + c];
    double sum = 0, product = 0, values = (double)N * l->height * l->width;
    for (const float *s = sums + c; s < sums + 2 * N * C; s += 2 * C) sum += s[0], product += s[C];
    l->beta_gradient[c] = sum;
    l->gamma_gradient[c] = product * deviation;
    factors[c] = -scale * product * deviation * deviation / values;
    factors[C + c] = -scale * sum / values - mean * factors[c];
}

/* Write u's gradient in a row of an image to `to`, (width, channels), and the residual's gradient. */
static void u_gradient(const struct layer *l, long image, long h, const float *factors, float *to) {
    long W = l->width, C = l->channels;
    const float *scale = l->statistics + 2 * C, *shift = scale + C, *slope = factors, *offset = slope + C;
    for (long at = (image * l->height + h) * W * C, end = at + W * C; at < end; at += C, to += C)
        for (long c = 0; c < C; c += LANES) {
            Vector u = AT(l->u + at + c), a = AT(scale + c), g = norm_gradient(l, at + c, u, a, AT(shift + c));
            if (l->residual_gradient) AT(l->residual_gradient + at + c) = g;
            AT(to + c) = g * a + u * AT(slope + c) + AT(offset + c);
        }
}

/* Write the gradient of an image's x, and add its part to the weights' gradients, (channels, inputs) and (9, channels).
   buffer: a map of (height, width, channels), and two with a border of zeros. nine: turned by 180 degrees. */
static void image_gradient(const struct layer *l, long image, const float *weights, const float *nine,
                           const float *factors, float *buffer, float *pointwise_sums, float *depthwise_sums) {
    long H = l->height, W = l->width, K = l->inputs, C = l->channels, P = H * W, row = (W + 2) * C;
    const float *x = l->x + image * P * K;
    float *x_gradient = l->x_gradient + image * P * K, *gradient = l->pointwise ? buffer : x_gradient;
    float *padded = buffer + P * C, *inside = padded + (H + 2) * row;
    if (!l->depthwise)
        for (long h = 0; h < H; h++) u_gradient(l, image, h, factors, gradient + h * W * C);
    else {
        pointwise_padded(l, image, weights, padded);
        for (long h = 0; h <= H; h++) { /* a row needs the one below it */
            if (h < H) {
                u_gradient(l, image, h, factors, inside + (h + 1) * row + C);
                depthwise_weights(W, C, padded + h * row, inside + (h + 1) * row + C, depthwise_sums);
            }
            if (h > 0) depthwise(W, C, inside + (h - 1) * row, nine, gradient + (h - 1) * W * C);
        }
    }
    if (!l->pointwise) return;
    multiply(P, K, C, gradient, C, 1, l->pointwise, K, x_gradient, K, 0);
    for (long p = 0; p < P; p += CHUNK)
        multiply(C, K, P - p < CHUNK ? P - p : CHUNK, gradient + p * C, 1, C, x + p * K, K, pointwise_sums, K, 1);
}

void layer_backward(const struct layer *l) {
    long N = l->images, H = l->height, W = l->width, K = l->inputs, C = l->channels;
    long matrix = l->pointwise ? C * K : 0, size = matrix + 9 * C;
    long border = l->depthwise ? 2 * (H + 2) * (W + 2) * C : 0;
    float *weight_sums = calloc((l->threads + 1) * size + 2 * N * C + 2 * C, sizeof(float));
    float *sums = weight_sums + l->threads * size, *factors = sums + 2 * N * C, *weights = factors + 2 * C;
    float *nine = weights + matrix;
    if (l->depthwise) {
        transpose(C, K, l->pointwise, weights);
        for (long c = 0; c < C; c++)
            for (long k = 0; k < 9; k++) nine[(8 - k) * C + c] = l->depthwise[c * 9 + k];
    }
#pragma omp parallel num_threads(l->threads)
    {
        float *own = weight_sums + omp_get_thread_num() * size;
        float *buffer = l->pointwise ? calloc(H * W * C + border, sizeof(float)) : NULL;
#pragma omp for schedule(static)
        for (long n = 0; n < N; n++) sum_gradients(l, n, sums + 2 * n * C);
#pragma omp for schedule(static)
        for (long c = 0; c < C; c++) find_factors(l, c, sums, factors);
#pragma omp for schedule(static)
        for (long n = 0; n < N; n++) image_gradient(l, N - 1 - n, weights, nine, factors, buffer, own, own + matrix);
        free(buffer);
    }
    for (long i = size; i < l->threads * size; i++) weight_sums[i % size] += weight_sums[i];
    if (l->pointwise) memcpy(l->pointwise_gradient, weight_sums, matrix * sizeof(float));
    if (l->depthwise) transpose(9, C, weight_sums + matrix, l->depthwise_gradient);
    free(weight_sums);
}
