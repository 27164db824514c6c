/* Runs kernels on what comes in on stdin, so that one test can drive any build, emulated ones too.
 *
 * A request is 8 uint32 (operation, then what it needs), then arrays, each a uint32 number of bytes
 * and the bytes; NONE in place of the number is a null pointer, SAME the array that is written. Each
 * array gets a block of its own size. The answer is the array that was written, then a float.
 */
#include <stdio.h>
#include <stdlib.h>

#include "edgernn_cells.h"
#include "edgernn_cells_i16.h"
#include "edgernn_linear_f32.h"
#include "edgernn_linear_i4.h"
#include "edgernn_linear_i8.h"
#include "edgernn_linear_w8a16.h"
#include "edgernn_quantize_static.h"

#define NONE 0xffffffffu
#define SAME 0xfffffffeu

typedef struct {
    void *data;
    uint32_t bytes;
    int owned;
} array;

static void get(void *to, size_t bytes)
{
    if (bytes > 0 && fread(to, 1, bytes, stdin) != bytes)
        exit(0);
}

static array get_array(void *same)
{
    array a = {NULL, 0, 0};
    uint32_t bytes;
    get(&bytes, sizeof bytes);
    if (bytes == SAME) {
        a.data = same;
    } else if (bytes != NONE) {
        a.data = malloc(bytes);
        a.bytes = bytes;
        a.owned = 1;
        get(a.data, bytes);
    }
    return a;
}

static void activation(float *y, const float *x, size_t n, uint32_t which)
{
    size_t j;
    switch (which) {
    case 0:
        edgernn_tanh_n(y, x, n);
        break;
    case 1:
        edgernn_sigmoid_n(y, x, n);
        break;
    case 2:
        for (j = 0; j < n; j++)
            y[j] = edgernn_tanh(x[j]);
        break;
    case 3:
        for (j = 0; j < n; j++)
            y[j] = edgernn_sigmoid(x[j]);
        break;
    case 4:
        for (j = 0; j < n; j++)
            y[j] = edgernn_exp(x[j]);
        break;
    case 5:
        for (j = 0; j < n; j++)
            y[j] = edgernn_log(x[j]);
        break;
    case 6:
        for (j = 0; j < n; j++)
            y[j] = edgernn_sqrt(x[j]);
        break;
    case 7:
        for (j = 0; j < n; j++)
            y[j] = edgernn_erf(x[j]);
        break;
    case 8:
        for (j = 0; j < n; j++)
            y[j] = edgernn_softplus(x[j]);
        break;
    case 9:
        for (j = 0; j < n; j++)
            y[j] = edgernn_softsign(x[j]);
        break;
    default:
        for (j = 0; j < n; j++)
            y[j] = edgernn_round(x[j]);
    }
}

static void cell(float *h, float *c, const float *a, const float *p, const float *s, size_t hidden,
    uint32_t which)
{
    switch (which) {
    case 0:
        edgernn_lstm_gates(h, c, a, hidden);
        break;
    case 1:
        edgernn_gru_gates(h, a, p, s, hidden);
        break;
    case 2:
        edgernn_gru_reset(h, a, p, hidden);
        break;
    case 3:
        edgernn_gru_update(h, a, p, hidden);
        break;
    default:
        edgernn_rnn_tanh(h, a, hidden);
    }
}

/* h and c lie behind each other; v: hidden, which, shift of the cell state. */
static void integer_cell(int16_t *h, const float *a, const float *p, const float *s,
    const int16_t *kept, const uint32_t *v)
{
    const size_t hidden = v[0];
    switch (v[1]) {
    case 0:
        edgernn_lstm_gates_i16(h, h + hidden, a, (int)v[2], hidden);
        break;
    case 1:
        edgernn_gru_gates_i16(h, a, p, s, hidden);
        break;
    case 2:
        edgernn_gru_reset_i16(h, a, kept, hidden);
        break;
    case 3:
        edgernn_gru_update_i16(h, a, p, hidden);
        break;
    case 4:
        edgernn_rnn_tanh_i16(h, a, hidden);
        break;
    default:
        edgernn_rnn_relu_i16(h, a, hidden);
    }
}

/* Operations of the integer precisions on a[0]; v: what the test sends. */
static void integer(const array *a, const uint32_t *v)
{
    const float *x = a[1].data;
    switch (v[0]) {
    case 6: /* y, start, q, w, w_scale; m n k, strides of y, start, q */
        edgernn_linear_i4(a[0].data, v[4], x, v[5], a[2].data, v[6], a[3].data, a[4].data, v[1],
            v[2], v[3]);
        break;
    case 7:
        edgernn_linear_w8a16(a[0].data, v[4], x, v[5], a[2].data, v[6], a[3].data, a[4].data, v[1],
            v[2], v[3]);
        break;
    case 8: /* q, x, center, inverse; step k size */
        edgernn_quantize_static(a[0].data, x, a[2].data, a[3].data, v[1], v[2], v[3]);
        break;
    case 9:
        edgernn_quantize_static_i16(a[0].data, x, a[2].data, a[3].data, v[1], v[2], v[3]);
        break;
    case 10: /* q, h; k size */
        edgernn_narrow_state(a[0].data, a[1].data, v[1], v[2]);
        break;
    case 11:
        edgernn_copy_state(a[0].data, a[1].data, v[1], v[2]);
        break;
    case 12: /* y, h, unit; n */
        edgernn_widen_state(a[0].data, a[1].data, *(float *)a[2].data, v[1]);
        break;
    default: /* h and c, a, p, s, kept */
        integer_cell(a[0].data, x, a[2].data, a[3].data, a[4].data, v + 1);
    }
}

int main(void)
{
    static const int counts[] = {4, 6, 2, 2, 4, 2, 5, 5, 4, 4, 2, 2, 3, 5}; /* arrays */
    for (;;) {
        uint32_t v[8], bytes;
        float answer = 0.0f;
        array a[6];
        int count, i;
        get(v, sizeof v);
        a[0] = get_array(NULL);
        count = counts[v[0]];
        for (i = 1; i < count; i++)
            a[i] = get_array(a[0].data);
        if (v[0] == 0) { /* y, start, x, w; m n k, strides of y, start, x */
            edgernn_linear_f32(a[0].data, v[4], a[1].data, v[5], a[2].data, v[6], a[3].data, v[1],
                v[2], v[3]);
        } else if (v[0] == 1) { /* y, start, q, x_scale, w, w_sums and w_scale */
            array w_scale = get_array(NULL);
            edgernn_linear_i8(a[0].data, v[4], a[1].data, v[5], a[2].data, v[6], a[3].data,
                a[4].data, a[5].data, w_scale.data, v[1], v[2], v[3]);
            free(w_scale.data);
        } else if (v[0] == 2) { /* q, x; k */
            answer = edgernn_quantize_row(a[0].data, a[1].data, v[1]);
        } else if (v[0] == 3) {
            edgernn_quantize_unit(a[0].data, a[1].data, v[1]);
        } else if (v[0] == 4) { /* h and c, a, p, s; hidden, which */
            float *h = a[0].data;
            cell(h, h + v[1], a[1].data, a[2].data, a[3].data, v[1], v[2]);
        } else if (v[0] >= 6) {
            integer(a, v);
        } else { /* y, x; n, which */
            activation(a[0].data, a[1].data, v[1], v[2]);
        }
        bytes = a[0].bytes;
        fwrite(a[0].data, 1, bytes, stdout);
        fwrite(&answer, sizeof answer, 1, stdout);
        fflush(stdout);
        for (i = 0; i < count; i++)
            if (a[i].owned)
                free(a[i].data);
    }
}
