/* Convolutions of a map in channels_last order, (height, width, channels), with channels in multiples of LANES. */

#include "vectors.h"

enum { ROWS = 6 }; /* two vectors of sums per row leave four of AVX2's sixteen registers for the factors */

/* c (rows, vectors * LANES) = a (rows, depth) b (depth, vectors * LANES), plus c if `add`. */
INLINE void tile(int rows, int vectors, long depth, const float *a, long a_row, long a_column, const float *b,
                 long b_row, float *c, long c_row, int add) {
    Vector sums[ROWS][2];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++) sums[r][v] = add ? AT(c + r * c_row + v * LANES) : (Vector){0};
    for (long k = 0; k < depth; k++, a += a_column, b += b_row)
        UNROLL for (int r = 0; r < rows; r++)
            UNROLL for (int v = 0; v < vectors; v++) sums[r][v] += a[r * a_row] * AT(b + v * LANES);
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int v = 0; v < vectors; v++) AT(c + r * c_row + v * LANES) = sums[r][v];
}

INLINE void strip(int rows, long columns, long depth, const float *a, long a_row, long a_column, const float *b,
                  long b_row, float *c, long c_row, int add) {
    long k = 0;
    for (; k + 2 * LANES <= columns; k += 2 * LANES)
        tile(rows, 2, depth, a, a_row, a_column, b + k, b_row, c + k, c_row, add);
    if (k < columns) tile(rows, 1, depth, a, a_row, a_column, b + k, b_row, c + k, c_row, add);
}

/* The same for any number of rows, and columns in multiples of LANES. */
static void multiply(long rows, long columns, long depth, const float *a, long a_row, long a_column, const float *b,
                     long b_row, float *c, long c_row, int add) {
    for (; rows >= ROWS; rows -= ROWS, a += ROWS * a_row, c += ROWS * c_row)
        strip(ROWS, columns, depth, a, a_row, a_column, b, b_row, c, c_row, add);
    switch (rows) { /* the compiler unrolls what is constant */
        case 5: strip(5, columns, depth, a, a_row, a_column, b, b_row, c, c_row, add); break;
        case 4: strip(4, columns, depth, a, a_row, a_column, b, b_row, c, c_row, add); break;
        case 3: strip(3, columns, depth, a, a_row, a_column, b, b_row, c, c_row, add); break;
        case 2: strip(2, columns, depth, a, a_row, a_column, b, b_row, c, c_row, add); break;
        case 1: strip(1, columns, depth, a, a_row, a_column, b, b_row, c, c_row, add); break;
    }
}

static void transpose(long rows, long columns, const float *from, float *to) {
    for (long r = 0; r < rows; r++)
        for (long c = 0; c < columns; c++) to[c * rows + r] = from[r * columns + c];
}

/* A row of a 3x3 depthwise convolution: three rows (width + 2, channels), weights (9, channels) -> (width, channels).
   Each column is read once and added to the three results that it has a part in. */
static void depthwise(long width, long channels, const float *rows, const float *weights, float *result) {
    long next_row = (width + 2) * channels;
    for (long c = 0; c < channels; c += LANES) {
        Vector w[9], last = {0}, middle = {0};
        UNROLL for (int k = 0; k < 9; k++) w[k] = AT(weights + k * channels + c);
        const float *from = rows + c;
        float *to = result + c - 2 * channels;
        for (long column = 0; column < width + 2; column++, from += channels, to += channels) {
            Vector top = AT(from), centre = AT(from + next_row), bottom = AT(from + 2 * next_row);
            if (column > 1) AT(to) = last + top * w[2] + centre * w[5] + bottom * w[8];
            last = middle + top * w[1] + centre * w[4] + bottom * w[7];
            middle = top * w[0] + centre * w[3] + bottom * w[6];
        }
    }
}

/* Add a row's part to the gradient of those weights, (9, channels). gradient: the result's, (width, channels). */
static void depthwise_weights(long width, long channels, const float *rows, const float *gradient, float *weights) {
    long next_row = (width + 2) * channels;
    for (long c = 0; c < channels; c += LANES) {
        Vector w[9], last = {0}, before = {0};
        UNROLL for (int k = 0; k < 9; k++) w[k] = AT(weights + k * channels + c);
        const float *from = rows + c, *of = gradient + c;
        for (long column = 0; column < width + 2; column++, from += channels, of += channels) {
            Vector g = column < width ? AT(of) : (Vector){0};
            UNROLL for (int i = 0; i < 3; i++) {
                Vector value = AT(from + i * next_row);
                w[3 * i] += value * g;
                w[3 * i + 1] += value * last;
                w[3 * i + 2] += value * before;
            }
            before = last;
            last = g;
        }
        UNROLL for (int k = 0; k < 9; k++) AT(weights + k * channels + c) = w[k];
    }
}
