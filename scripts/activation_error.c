/* Compare one activation with double libm over a range of float bit patterns.
 *
 * activation_error FUNCTION FIRST COUNT
 *
 * Prints on one line: the largest absolute error and its bit pattern, the largest error in units in
 * the last place of the nearest float and its bit pattern, the smallest and largest result, and how
 * many inputs give NaN or infinity where libm does not, or the reverse.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "edgernn_activations.h"

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double softplus(double x)
{
    return (x > 0.0 ? x : 0.0) + log1p(exp(-fabs(x)));
}

static const struct {
    const char *name;
    float (*ours)(float);
    double (*exact)(double);
} functions[] = {
    {"tanh", edgernn_tanh, tanh},       {"sigmoid", edgernn_sigmoid, sigmoid},
    {"exp", edgernn_exp, exp},          {"log", edgernn_log, log},
    {"sqrt", edgernn_sqrt, sqrt},       {"erf", edgernn_erf, erf},
    {"softplus", edgernn_softplus, softplus},
};

/* Distance of two floats around y. */
static double last_place(double y)
{
    int exponent;
    frexp(y, &exponent);
    return ldexp(1.0, (exponent < -125 ? -125 : exponent) - 24);
}

int main(int argc, char **argv)
{
    uint64_t first, count, bits;
    double worst = 0.0, worst_units = 0.0;
    float low = INFINITY, high = -INFINITY;
    uint64_t worst_at = 0, worst_units_at = 0, differs = 0;
    size_t f, found = sizeof functions / sizeof *functions;
    if (argc != 4)
        return 2;
    for (f = 0; f < sizeof functions / sizeof *functions; f++)
        if (strcmp(functions[f].name, argv[1]) == 0)
            found = f;
    if (found == sizeof functions / sizeof *functions)
        return 2;
    first = strtoull(argv[2], NULL, 0);
    count = strtoull(argv[3], NULL, 0);
    for (bits = first; bits < first + count; bits++) {
        float x = edgernn_from_bits((uint32_t)bits);
        float y = functions[found].ours(x);
        double exact = functions[found].exact((double)x);
        double nearest = (double)(float)exact;
        double error;
        if (isnan(exact) || isnan(y) || isinf(nearest) || isinf(y)) {
            differs += !(isnan(exact) && isnan(y)) && nearest != (double)y;
            continue;
        }
        low = y < low ? y : low;
        high = y > high ? y : high;
        error = fabs((double)y - exact);
        if (error > worst) {
            worst = error;
            worst_at = bits;
        }
        if (error > worst_units * 1e-46) { /* skips exact results */
            double units = error / last_place(exact);
            if (units > worst_units) {
                worst_units = units;
                worst_units_at = bits;
            }
        }
    }
    printf("%.9g %" PRIu64 " %.9g %" PRIu64 " %.9g %.9g %" PRIu64 "\n", worst, worst_at,
        worst_units, worst_units_at, (double)low, (double)high, differs);
    return 0;
}
