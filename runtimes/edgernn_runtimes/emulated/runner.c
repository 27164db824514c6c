/* Serve one generated model to edgernn over stdin and stdout.
 *
 * A request is a frame {magic, sequence, command, steps, flags, bytes} of six little-endian
 * 32-bit words, then `bytes` of payload; a reply is {magic, sequence, status, code, value, bytes}
 * and its payload. RUN and STEP take the saved state and the inputs, and give the next state and
 * the outputs, so nothing is remembered between two requests. runner_config.h is generated.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "runner_config.h"

enum { MAGIC = 0x4e4e5245 };                                /* "ERNN" */
enum { FIRST, RESET, RUN, STEP, NOTHING };                  /* commands */
enum { DONE, REFUSED, CRASHED, STACK_OVERFLOW };            /* status of a reply */
enum { FLAG_PAINT = 1 };                                    /* measure the stack */
enum { UNTOUCHED = 0x5a };

struct frame {
    uint32_t magic, sequence, kind, argument, value, bytes;
};

typedef char runner_state_is_big_enough[sizeof(RUNNER_STATE) >= RUNNER_STATE_BYTES ? 1 : -1];

static RUNNER_STATE runner_state;
static union {
    uint64_t alignment;
    unsigned char bytes[RUNNER_BUFFER_BYTES];
} runner_buffer;
static void *inputs[RUNNER_INPUTS];
static void *outputs[RUNNER_OUTPUTS];
static int from_host, to_host;

static int receive(void *to, size_t bytes) {
    unsigned char *at = to;
    while (bytes > 0) {
        ssize_t count = read(from_host, at, bytes);
        if (count <= 0) return -1;
        at += count;
        bytes -= (size_t)count;
    }
    return 0;
}

static int transmit(const void *from, size_t bytes) {
    const unsigned char *at = from;
    while (bytes > 0) {
        ssize_t count = write(to_host, at, bytes);
        if (count <= 0) return -1;
        at += count;
        bytes -= (size_t)count;
    }
    return 0;
}

static int reply(uint32_t sequence, uint32_t status, uint32_t code, uint32_t value, size_t bytes) {
    struct frame frame = {MAGIC, sequence, status, code, value, (uint32_t)bytes};
    return transmit(&frame, sizeof frame);
}

#ifdef __linux__

static unsigned char *stack_limit(unsigned char *top) { return top - (512 * 1024); }
static int stack_is_whole(void) { return 1; }
static void prepare(void) {}

#else

/* The stack lies at the bottom of the RAM: one that runs over faults or breaks this mark. */
extern unsigned char edgernn_stack_bottom[], __stack[];
static const uint32_t guard = 0x6e726e65;

static unsigned char *stack_limit(unsigned char *top) {
    (void)top;
    return edgernn_stack_bottom + sizeof guard;
}

static int stack_is_whole(void) {
    uint32_t found;
    memcpy(&found, edgernn_stack_bottom, sizeof found);
    return found == guard;
}

/* Called by the trap vectors, on a fresh stack; `stack` is where the old one ended. */
void edgernn_fault(uint32_t cause, uint32_t address, const unsigned char *stack);
void edgernn_fault(uint32_t cause, uint32_t address, const unsigned char *stack) {
    (void)reply(0, stack < edgernn_stack_bottom ? STACK_OVERFLOW : CRASHED, cause, address, 0);
    _exit(1);
}

#ifdef __arm__

/* The processor has pushed r0-r3, r12, lr, pc and xpsr. Cause: Configurable Fault Status. */
void edgernn_hardfault(const unsigned char *pushed);
void edgernn_hardfault(const unsigned char *pushed) {
    uint32_t address = 0;
    if (pushed >= edgernn_stack_bottom && pushed + 32 <= __stack)
        memcpy(&address, pushed + 24, sizeof address);
    edgernn_fault(*(volatile const uint32_t *)0xe000ed28u, address, pushed);
}

__attribute__((naked)) void arm_hardfault_isr(void);
__attribute__((naked)) void arm_hardfault_isr(void) {
    __asm__ volatile(
        /* FPCCR.LSPACT: forget float registers that are yet to be pushed, where no stack may be. */
        "ldr r1, =0xe000ef34\n ldr r2, [r1]\n bic r2, #1\n str r2, [r1]\n"
        "mov r0, sp\n ldr r1, =__stack\n mov sp, r1\n b edgernn_hardfault\n");
}

#ifdef __ARM_ARCH_7EM__

/* Allow no access to the 8 MiB below the stack, where these boards ignore what is written. */
static void protect(void) {
    volatile uint32_t *const mpu = (volatile uint32_t *)0xe000ed94u; /* CTRL, RNR, RBAR, RASR */
    const uint32_t bytes_log2 = 23;
    mpu[1] = 0;
    mpu[2] = (uint32_t)(uintptr_t)edgernn_stack_bottom - (1u << bytes_log2);
    mpu[3] = (1u << 28) | ((bytes_log2 - 1) << 1) | 1u; /* no execution, no access, on */
    mpu[0] = 5; /* on, and all else as without */
    __asm__ volatile("dsb\n isb" : : : "memory");
}

#else

static void protect(void) { __asm__ volatile("msr msplim, %0" : : "r"(edgernn_stack_bottom)); }

#endif

static void prepare(void) {
    memcpy(edgernn_stack_bottom, &guard, sizeof guard);
    protect();
}

#else

__attribute__((naked, aligned(4))) void edgernn_trap(void);
__attribute__((naked, aligned(4))) void edgernn_trap(void) {
    __asm__ volatile(
        ".option push\n .option arch, +zicsr\n mv a2, sp\n la sp, __stack\n"
        "csrr a0, mcause\n csrr a1, mepc\n .option pop\n j edgernn_fault\n");
}

static void prepare(void) {
    memcpy(edgernn_stack_bottom, &guard, sizeof guard);
    __asm__ volatile(
        ".option push\n .option arch, +zicsr\n csrw mtvec, %0\n .option pop" : : "r"(edgernn_trap));
}

#endif
#endif

/* The counting plugin takes the instructions between these two. */
__attribute__((noinline)) void edgernn_roi_begin(void);
__attribute__((noinline)) void edgernn_roi_end(void);
void edgernn_roi_begin(void) { __asm__ volatile("" : : : "memory"); }
void edgernn_roi_end(void) { __asm__ volatile("" : : : "memory"); }

/* What the call itself costs: a function with the model's parameters that does nothing. */
__attribute__((noinline)) int edgernn_nothing(RUNNER_PARAMETERS);
int edgernn_nothing(RUNNER_PARAMETERS) {
    __asm__ volatile("" : : : "memory");
    return 0;
}

/* Call the model; the bytes of stack below this function's own go to *stack if flags ask. */
__attribute__((noinline)) static int call(uint32_t command, size_t steps, uint32_t flags,
                                          uint32_t *stack) {
    unsigned char *top;
    volatile unsigned char *at, *bottom;
    int code;
#ifdef __riscv
    __asm__ volatile("mv %0, sp" : "=r"(top));
#else
    __asm__ volatile("mov %0, sp" : "=r"(top));
#endif
    bottom = stack_limit(top);
    if (flags & FLAG_PAINT)
        for (at = bottom; at < top; at++) *at = UNTOUCHED;
    if (command == NOTHING) {
        edgernn_roi_begin();
        code = edgernn_nothing(RUNNER_ARGUMENTS(&runner_state, inputs, steps, outputs));
        edgernn_roi_end();
    } else if (command == STEP) {
        edgernn_roi_begin();
        code = RUNNER_STEP(&runner_state, inputs, steps, outputs);
        edgernn_roi_end();
    } else {
        edgernn_roi_begin();
        code = RUNNER_RUN(&runner_state, inputs, steps, outputs);
        edgernn_roi_end();
    }
    *stack = 0;
    if (flags & FLAG_PAINT) {
        for (at = bottom; at < top && *at == UNTOUCHED; at++) {}
        *stack = (uint32_t)(top - at);
    }
    return code;
}

static int serve_run(const struct frame *request) {
    const size_t steps = request->argument;
    uint32_t stack;
    size_t total = RUNNER_STATE_BYTES;
    int code;
    if (steps < 1 || steps > RUNNER_BLOCK) return reply(request->sequence, REFUSED, 0, 0, 0);
    if (receive(&runner_state, RUNNER_STATE_BYTES)) return -1;
    for (size_t i = 0; i < RUNNER_INPUTS; i++)
        if (receive(inputs[i], runner_input_bytes[i] * (runner_input_timed[i] ? steps : 1)))
            return -1;
    code = call(request->kind, steps, request->value, &stack);
    if (!stack_is_whole()) return reply(request->sequence, STACK_OVERFLOW, 0, 0, 0);
    if (code != 0) return reply(request->sequence, DONE, (uint32_t)code, stack, 0);
    for (size_t i = 0; i < RUNNER_OUTPUTS; i++)
        total += runner_output_bytes[i] * (runner_output_timed[i] ? steps : 1);
    if (reply(request->sequence, DONE, 0, stack, total)) return -1;
    if (transmit(&runner_state, RUNNER_STATE_BYTES)) return -1;
    for (size_t i = 0; i < RUNNER_OUTPUTS; i++)
        if (transmit(outputs[i], runner_output_bytes[i] * (runner_output_timed[i] ? steps : 1)))
            return -1;
    return 0;
}

static int serve_state(const struct frame *request) {
    if (request->kind == FIRST) {
        memset(&runner_state, UNTOUCHED, sizeof runner_state);
        RUNNER_INIT(&runner_state);
    } else {
        if (receive(&runner_state, RUNNER_STATE_BYTES)) return -1;
        RUNNER_RESET(&runner_state);
    }
    if (reply(request->sequence, DONE, 0, 0, RUNNER_STATE_BYTES)) return -1;
    return transmit(&runner_state, RUNNER_STATE_BYTES);
}

int main(void) {
    struct frame request;
    from_host = open("/dev/fd/0", O_RDONLY);
    to_host = open("/dev/fd/1", O_WRONLY);
    if (from_host < 0 || to_host < 0) return 1;
    prepare();
    for (size_t i = 0; i < RUNNER_INPUTS; i++)
        inputs[i] = runner_buffer.bytes + runner_input_offset[i];
    for (size_t i = 0; i < RUNNER_OUTPUTS; i++)
        outputs[i] = runner_buffer.bytes + runner_output_offset[i];
    if (reply(0, DONE, 0, 0, 0)) return 1;
    while (receive(&request, sizeof request) == 0 && request.magic == MAGIC) {
        int failed;
        switch (request.kind) {
        case FIRST:
        case RESET: failed = serve_state(&request); break;
        case RUN:
        case STEP:
        case NOTHING: failed = serve_run(&request); break;
        default: failed = reply(request.sequence, REFUSED, 0, 0, 0); break;
        }
        if (failed) return 1;
    }
    return 0; /* the host has gone */
}
