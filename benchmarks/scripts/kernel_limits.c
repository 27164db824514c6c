/* Time the kernels of the generated C beside what the machine can do at most.
 *
 * kernel_limits ROUNDS MINIMUM_NS
 *
 * Prints one line per case and round: CELL INPUT HIDDEN JOB NS, the mean time of one call in a turn
 * of at least MINIMUM_NS. The jobs of a case take turns.
 */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "edgernn_cells.h"
#include "edgernn_linear_f32.h"
#include "edgernn_linear_i8.h"

#if defined(EDGERNN_AVX2) || defined(EDGERNN_NEON)
#include "edgernn_vector.h"
#else
#define EDGERNN_LANES 4
typedef uint32_t edgernn_int_vector __attribute__((vector_size(16)));
typedef float edgernn_vector __attribute__((vector_size(16)));
#endif

#define STEPS 100 /* rows of a product with reuse of weights */
#if EDGERNN_LANES == 8
#define CHAINS 12
#else
#define CHAINS 24
#endif

typedef struct {
    size_t n, input, hidden; /* n = gates * hidden */
    float *w, *r, *x, *h, *c, *y, *bias, *scale;
    int8_t *wq, *rq, *buffer;
    edgernn_q8 *xq, *hq;
    int32_t *sums;
} layer;

static void *block(size_t bytes)
{
    void *p = NULL;
    if (posix_memalign(&p, 64, bytes + 4096) != 0)
        exit(1);
    memset(p, 0, bytes + 4096);
    return p;
}

/* Read `bytes` with full vectors and add them up. */
static void read_all(const layer *l, size_t bytes)
{
    edgernn_int_vector sum[8] = {{0}};
    size_t at, i;
    for (at = 0; at < bytes; at += sizeof sum)
        for (i = 0; i < 8; i++) {
            edgernn_int_vector v;
            memcpy(&v, l->buffer + at + i * sizeof v, sizeof v);
            sum[i] = sum[i] + v;
        }
    for (i = 1; i < 8; i++)
        sum[0] = sum[0] + sum[i];
    memcpy(l->y, sum, sizeof sum[0]);
}

static void read_f32(const layer *l)
{
    read_all(l, l->n * (l->input + l->hidden) * sizeof(float));
}

static void read_i8(const layer *l)
{
    read_all(l, l->n * (l->input + l->hidden));
}

/* Both products of one step of one stream. */
static void products_f32(const layer *l)
{
    edgernn_linear_f32(l->y, l->n, l->bias, 0, l->x, l->input, l->w, 1, l->n, l->input);
    edgernn_linear_f32(l->y, l->n, l->y, l->n, l->h, l->hidden, l->r, 1, l->n, l->hidden);
}

static void products_i8(const layer *l)
{
    float one = 1.0f;
    edgernn_linear_i8(l->y, l->n, l->bias, 0, l->xq, l->input, &one, l->wq, l->sums, l->scale, 1,
        l->n, l->input);
    edgernn_linear_i8(l->y, l->n, l->y, l->n, l->hq, l->hidden, NULL, l->rq, l->sums, l->scale, 1,
        l->n, l->hidden);
}

static void gates(const layer *l)
{
    if (l->n == 4 * l->hidden)
        edgernn_lstm_gates(l->h, l->c, l->y, l->hidden);
    else
        edgernn_gru_gates(l->h, l->y, l->y + 2 * l->hidden, l->bias, l->hidden);
}

static void step_f32(const layer *l)
{
    products_f32(l);
    gates(l);
}

static void step_i8(const layer *l)
{
    float scale = edgernn_quantize_row(l->xq, l->x, l->input);
    edgernn_linear_i8(l->y, l->n, l->bias, 0, l->xq, l->input, &scale, l->wq, l->sums, l->scale, 1,
        l->n, l->input);
    edgernn_quantize_unit(l->hq, l->h, l->hidden);
    edgernn_linear_i8(l->y, l->n, l->y, l->n, l->hq, l->hidden, NULL, l->rq, l->sums, l->scale, 1,
        l->n, l->hidden);
    gates(l);
}

/* The input product of many steps at once. */
static void many_f32(const layer *l)
{
    edgernn_linear_f32(l->y, l->n, l->bias, 0, l->x, l->input, l->w, STEPS, l->n, l->input);
}

static void many_i8(const layer *l)
{
    edgernn_linear_i8(l->y, l->n, l->bias, 0, l->xq, l->input, NULL, l->wq, l->sums, l->scale,
        STEPS, l->n, l->input);
}

/* As many multiplications as many_f32, in registers only. */
static void peak_f32(const layer *l)
{
    const edgernn_vector a = {1.0f}, b = {1e-3f};
    edgernn_vector sum[CHAINS];
    size_t turns = STEPS * l->n * l->input / (CHAINS * EDGERNN_LANES), t, i;
    EDGERNN_UNROLL
    for (i = 0; i < CHAINS; i++)
        sum[i] = a * (edgernn_vector){(float)i};
    for (t = 0; t < turns; t++) {
        EDGERNN_UNROLL
        for (i = 0; i < CHAINS; i++)
#if defined(EDGERNN_AVX2) || defined(EDGERNN_NEON)
            sum[i] = edgernn_fused(a, b, sum[i]);
#else
            sum[i] = a * b + sum[i];
#endif
    }
    EDGERNN_UNROLL
    for (i = 1; i < CHAINS; i++)
        sum[0] = sum[0] + sum[i];
    memcpy(l->y, sum, sizeof sum[0]);
}

static const struct {
    const char *name;
    void (*run)(const layer *);
} jobs[] = {
    {"read_f32", read_f32},       {"products_f32", products_f32}, {"read_i8", read_i8},
    {"products_i8", products_i8}, {"step_f32", step_f32},         {"step_i8", step_i8},
    {"gates", gates},             {"many_f32", many_f32},         {"many_i8", many_i8},
    {"peak_f32", peak_f32},
};

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double time_ns(void (*run)(const layer *), const layer *l, size_t calls)
{
    double start;
    size_t i;
    run(l); /* brings back the caches that the other jobs used */
    start = now_ns();
    for (i = 0; i < calls; i++) {
        run(l);
        __asm__ volatile("" ::"r"(l) : "memory");
    }
    return (now_ns() - start) / (double)calls;
}

static void measure(const char *cell, size_t input, size_t hidden, int rounds, double minimum)
{
    const size_t count = sizeof jobs / sizeof *jobs, n = (cell[0] == 'l' ? 4 : 3) * hidden;
    size_t calls[sizeof jobs / sizeof *jobs], j, i;
    int round;
    layer l = {0};
    l.n = n;
    l.input = input;
    l.hidden = hidden;
    l.w = block(n * input * sizeof(float));
    l.r = block(n * hidden * sizeof(float));
    l.x = block(STEPS * input * sizeof(float));
    l.h = block(hidden * sizeof(float));
    l.c = block(hidden * sizeof(float));
    l.y = block(STEPS * n * sizeof(float));
    l.bias = block(n * sizeof(float));
    l.scale = block(n * sizeof(float));
    l.wq = block(n * input);
    l.rq = block(n * hidden);
    l.buffer = block(n * (input + hidden) * sizeof(float));
    l.xq = block(STEPS * input * sizeof(edgernn_q8));
    l.hq = block(hidden * sizeof(edgernn_q8));
    l.sums = block(n * sizeof(int32_t));
    for (i = 0; i < STEPS * input; i++)
        l.x[i] = (float)(i % 19) * 0.1f - 0.9f;
    for (i = 0; i < n; i++)
        l.scale[i] = 1e-3f;
    for (j = 0; j < count; j++)
        calls[j] = 1 + (size_t)(minimum / time_ns(jobs[j].run, &l, 3));
    for (round = 0; round < rounds; round++)
        for (j = 0; j < count; j++)
            printf("%s %zu %zu %s %.2f\n", cell, input, hidden, jobs[j].name,
                time_ns(jobs[j].run, &l, calls[j]));
    fflush(stdout); /* the process ends soon: nothing is freed */
}

int main(int argc, char **argv)
{
    static const size_t shapes[][2] = {{40, 64}, {64, 128}, {128, 128}, {128, 256}, {256, 256}};
    size_t s;
    if (argc != 3)
        return 2;
    for (s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        measure("lstm", shapes[s][0], shapes[s][1], atoi(argv[1]), atof(argv[2]));
        measure("gru", shapes[s][0], shapes[s][1], atoi(argv[1]), atof(argv[2]));
    }
    return 0;
}
