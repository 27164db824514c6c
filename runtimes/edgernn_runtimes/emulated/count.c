/* A QEMU plugin that counts the instructions executed between two functions.
 *
 * Arguments: begin=ADDRESS, end=ADDRESS (hexadecimal), out=FILE. Each time `end` is reached the
 * number of instructions since `begin` is appended to FILE as one decimal line; the first
 * instruction of `begin` is counted, that of `end` is not. Debian ships no header for plugins, so
 * the part of the interface that is used is declared here (qemu-plugin.h, API 1 and later).
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef EDGERNN_PLUGIN_API
#define EDGERNN_PLUGIN_API 1
#endif
#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct qemu_info_t qemu_info_t;
typedef void (*translated_t)(qemu_plugin_id_t id, struct qemu_plugin_tb *block);
typedef void (*executed_t)(unsigned int cpu, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, translated_t callback);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *instruction,
                                            executed_t callback, int registers, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);

EXPORTED int qemu_plugin_version = EDGERNN_PLUGIN_API;

static uint64_t begin_address, end_address, count, start;
static FILE *out;

static void on_instruction(unsigned int cpu, void *data) {
    (void)cpu, (void)data;
    count++;
}

static void on_begin(unsigned int cpu, void *data) {
    (void)cpu, (void)data;
    start = count;
}

static void on_end(unsigned int cpu, void *data) {
    (void)cpu, (void)data;
    fprintf(out, "%llu\n", (unsigned long long)(count - start));
    fflush(out);
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        uint64_t address = qemu_plugin_insn_vaddr(instruction);
        if (address == begin_address)
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_begin, 0, NULL);
        if (address == end_address)
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_end, 0, NULL);
        qemu_plugin_register_vcpu_insn_exec_cb(instruction, on_instruction, 0, NULL);
    }
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc,
                                 char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "begin=", 6) == 0) begin_address = strtoull(argv[i] + 6, NULL, 16);
        if (strncmp(argv[i], "end=", 4) == 0) end_address = strtoull(argv[i] + 4, NULL, 16);
        if (strncmp(argv[i], "out=", 4) == 0) out = fopen(argv[i] + 4, "a");
    }
    if (out == NULL || begin_address == 0 || end_address == 0) return 1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
