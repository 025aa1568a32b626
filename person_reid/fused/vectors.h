/* Vectors of float32, as GCC and Clang know them: arithmetic on them becomes that of AVX2, AVX-512 or NEON. */

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 8 };

typedef float Vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int Mask __attribute__((vector_size(4 * LANES)));

#define AT(address) (*(Vector *)(address))
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 9")

/* Return the vector where it is positive or not a number, else 0. */
INLINE Vector positive(Vector value, Vector where) {
    return (Vector)((Mask)value & ~(where <= 0));
}
