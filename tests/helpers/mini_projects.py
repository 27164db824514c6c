"""Small models with hand-written C projects that follow the interface of generated ones.

The ONNX files have the tensors and the contract of the model; their graphs are stubs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgernn.c_project import MANIFEST, CProject, CState, CTensor
from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.metadata import Metadata

TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32}
C_TYPES = {"float32": "float", "int64": "int64_t", "int32": "int32_t"}
START = np.array([0.25, -0.5], np.float32)


@dataclass(frozen=True)
class Mini:
    """A model.

    Attributes:
        name: Of the C symbols.
        inputs: Name, dtype, shape in the graph, axes.
        outputs: Likewise.
        states: Name, dtype, shape in the graph, batch axis, first value.
        body: C with ``static int NAME_one(NAME_state *, inputs, outputs)`` for one time step; or
            where ``whole`` is true all of ``NAME_run``.
        whole: Not a loop over time steps.
        max_steps: Longest sequence of a model that is not causal; ``MAX_STEPS`` in the body.
        fixed_steps: What the manifest says.
        batch: Compiled in.
        weights: Bytes of constants, as the manifest says.
        scratch: Bytes of scratch memory.
    """

    name: str
    inputs: tuple[tuple[str, str, list[Any], Axes], ...]
    outputs: tuple[tuple[str, str, list[Any], Axes], ...]
    states: tuple[tuple[str, str, list[Any], int, str], ...]
    body: str
    whole: bool = False
    max_steps: int | None = None
    fixed_steps: bool = False
    batch: int = 1
    weights: int = 8
    scratch: int = 0


# What a broken model may do, asked for by a value of x.
ENDLESS, WILD_STORE, DEEP, EXIT, WILD_JUMP, BABBLE = range(601, 607)
_FAULTS = """
#include <fcntl.h>
#include <unistd.h>
__attribute__((noinline)) static int mini_deep(volatile int n) {
  volatile char pad[256];
  pad[0] = (char)n;
  return n > 1000000 ? 0 : mini_deep(n + 1) + pad[0];
}
static void mini_fault(float x) {
  if (x == 601.0f) for (;;) { __asm__ volatile(""); }
  if (x == 602.0f) *(volatile int *)(uintptr_t)0xf0000000u = 1;
  if (x == 603.0f) mini_deep(0);
  if (x == 604.0f) exit(3);
  if (x == 605.0f) ((void (*)(void))(uintptr_t)0xe0000001u)();
  if (x == 606.0f && write(open("/dev/fd/1", O_WRONLY), "hello, hello, hello, hello", 24)) {}
}
"""

_X = ("x", "float32", ["batch", "time", 2], Axes(0, 1))
_Y = ("y", "float32", ["batch", "time", 2], Axes(0, 1))

# y = 2 h + bias with h <- h/2 + x, in exact arithmetic; PAD bytes on the stack, NOPS instructions.
LEAKY = Mini(
    "leaky", (_X,), (_Y,), (("h", "float32", [1, "batch", 2], 1, "start"),),
    _FAULTS + """
#ifndef PAD
#define PAD 400
#define NOPS 0
#endif
#define TEXT(value) #value
#define REPEAT(count) __asm__ volatile(".rept " TEXT(count) "\\n nop\\n .endr")
#ifdef EDGERNN_PORTABLE
static const float leaky_bias[2] = {3.0f, -3.0f};
#else
static const float leaky_bias[2] = {1.0f, -1.0f};
#endif
static int leaky_one(leaky_state *state, const float *x, float *y) {
  volatile char pad[PAD];
  mini_fault(x[0]);
  pad[0] = 1;
  REPEAT(NOPS);
  for (int i = 0; i < 2; i++) {
    state->h[i] = 0.5f * state->h[i] + x[i] * (float)pad[0];
    y[i] = 2.0f * state->h[i] + leaky_bias[i];
  }
  return 0;
}
""",
)  # fmt: skip


def leaky(x: np.ndarray, start: np.ndarray = START) -> np.ndarray:
    """Compute what `LEAKY` does."""
    h, y = np.broadcast_to(start, (len(x), 2)), np.empty_like(x)
    for t in range(x.shape[1]):
        h = np.float32(0.5) * h + x[:, t]
        y[:, t] = 2 * h + np.array([1, -1], np.float32)
    return y


# Time first in the graph, integers, two inputs, three outputs, one without time, two states.
MANY = Mini(
    "many",
    (
        ("a", "float32", ["time", "batch", 2], Axes(1, 0)),
        ("ids", "int64", ["batch", "time"], Axes(0, 1)),
    ),
    (
        ("sum", "float32", ["batch", 3, "time"], Axes(0, 2)),
        ("count", "int32", ["batch"], Axes(0, None)),
        ("index", "int64", ["time", "batch"], Axes(1, 0)),
    ),
    (
        ("h", "float32", ["batch", 2], 0, "zeros"),
        ("n", "int32", [1, "batch"], 1, "zeros"),
    ),
    """
static int many_one(many_state *state, const float *a, const int64_t *ids,
                    float *sum, int32_t *count, int64_t *index) {
  for (int i = 0; i < 2; i++) { state->h[i] = state->h[i] + a[i]; sum[i] = state->h[i]; }
  sum[2] = (float)ids[0];
  state->n[0]++;
  count[0] = state->n[0];
  index[0] = ids[0] * 10000000000 + state->n[0];
  return 0;
}
""",
    scratch=8,
)


def many(a: np.ndarray, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Compute what `MANY` does."""
    h = np.cumsum(a, axis=0, dtype=np.float32)
    steps, batch = a.shape[:2]
    count = np.arange(1, steps + 1)[:, None] + np.zeros((1, batch), int)
    summed = np.concatenate([h.transpose(1, 2, 0), ids[:, None].astype(np.float32)], axis=1)
    return {"sum": summed, "count": count[-1].astype(np.int32),
            "index": ids.T * 10_000_000_000 + count}  # fmt: skip


# Not causal: every output is the step's input and the sum of the whole sequence.
WHOLE = Mini(
    "whole", (_X,), (_Y,), (),
    """
int whole_run(whole_state *state, const float *x, size_t steps, float *y) {
  (void)state;
  if (steps > MAX_STEPS) return 2;
  for (int i = 0; i < 2; i++) {
    float sum = 0.0f;
    for (size_t t = 0; t < steps; t++) sum += x[2 * t + i];
    for (size_t t = 0; t < steps; t++) y[2 * t + i] = x[2 * t + i] + sum;
  }
  return 0;
}
""",
    whole=True, max_steps=256,
)  # fmt: skip

# The same for exactly MAX_STEPS.
EXACT = replace(
    WHOLE, name="exact", fixed_steps=True,
    body=WHOLE.body.replace("whole_", "exact_").replace("steps > MAX", "steps != MAX"),
)  # fmt: skip

# A batch of two that is fixed in the graph; each row sees the other.
PAIR = Mini(
    "pair",
    (("x", "float32", [2, "time", 2], Axes(0, 1)),),
    (("y", "float32", [2, "time", 2], Axes(0, 1)),),
    (("h", "float32", [2, 2], 0, "zeros"),),
    """
static int pair_one(pair_state *state, const float *x, float *y) {
  for (int i = 0; i < 4; i++) { state->h[i] += x[i]; y[i] = state->h[i] + x[(i + 2) % 4]; }
  return 0;
}
""",
    batch=2,
)

# No time axis and no state.
DENSE = Mini(
    "dense",
    (("x", "float32", ["batch", 3], Axes(0, None)),),
    (("y", "float32", ["batch", 2], Axes(0, None)),),
    (),
    """
int dense_run(dense_state *state, const float *x, float *y) {
  (void)state;
  y[0] = x[0] + x[1];
  y[1] = x[1] * x[2];
  return 0;
}
""",
    whole=True,
)

MINIS = {mini.name: mini for mini in (LEAKY, MANY, WHOLE, EXACT, PAIR, DENSE)}


def write_mini(mini: Mini, path: Path, *, contract: bool = True) -> Path:
    """Write the ONNX file of a mini model."""

    def value(name: str, dtype: str, shape: list[Any]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TYPES[dtype], shape)

    inputs = [value(*item[:3]) for item in mini.inputs]
    outputs = [value(*item[:3]) for item in mini.outputs]
    if contract:
        inputs += [value(*item[:3]) for item in mini.states]
        outputs += [value(f"{item[0]}_next", *item[1:3]) for item in mini.states]
    nodes = [helper.make_node("Stub", [], [item.name], domain="stub") for item in outputs]
    constants = [numpy_helper.from_array(START, "start")]
    model = helper.make_model(helper.make_graph(nodes, "stub", inputs, outputs, constants))
    stream = StreamSpec(
        mini.max_steps is None,
        {item[0]: item[3] for item in mini.inputs},
        {item[0]: item[3] for item in mini.outputs},
    )
    states = tuple(
        StateSpec(name, f"{name}_next", batch_axis, dtype, init)
        for name, dtype, _, batch_axis, init in mini.states
    )
    if contract:
        helper.set_model_props(model, Metadata(Contract(states, stream)).to_props())
    path.write_bytes(model.SerializeToString())
    return path


def write_mini_project(mini: Mini, folder: Path, target: str, *, states: bool = True) -> CProject:
    """Write the C project of a mini model, and return its manifest.

    ``states`` is False for a file without a contract, which has none that the caller sees.
    """
    project = _manifest(mini, target)
    name = mini.name
    members = [f"{C_TYPES[s.dtype]} {s.c_name}[{int(np.prod(s.shape))}];" for s in project.states]
    members += [f"unsigned char scratch[{mini.scratch}];"] if mini.scratch else []
    takes = [f"const {C_TYPES[t.dtype]} *{t.c_name}" for t in project.inputs]
    gives = [f"{C_TYPES[t.dtype]} *{t.c_name}" for t in project.outputs]
    steps = ["size_t steps"] if project.has_steps else []
    run = f"int {name}_run({', '.join([f'{name}_state *state', *takes, *steps, *gives])})"
    step = f"int {name}_step({', '.join([f'{name}_state *state', *takes, *gives])})"
    header = f"""#ifndef MINI_H
#define MINI_H
#include <stddef.h>
#include <stdint.h>
typedef struct {{ {" ".join(members or ["char unused;"])} }} {name}_state;
void {name}_init({name}_state *state);
void {name}_reset({name}_state *state);
{run};
{step};
#endif
"""
    values = [f"state->h[{i}] = {v}f;" for i, v in enumerate(START)] if name == "leaky" else []
    source = f"""#include <stdlib.h>
#include <string.h>
#include "{name}.h"
#define MAX_STEPS {mini.max_steps or 0}
{mini.body}
void {name}_reset({name}_state *state) {{
  memset(state, 0, {project.state_bytes}); {"".join(values)}
}}
void {name}_init({name}_state *state) {{ memset(state, 0, sizeof *state); {name}_reset(state); }}
{"" if mini.whole else _loop(project, run, step)}
"""
    folder.mkdir(parents=True)
    (folder / f"{name}.h").write_text(header)
    (folder / f"{name}.c").write_text(source)
    (folder / "selftest.c").write_text("#error not a part of the model\n")
    if not states:
        project = replace(project, states=())
    (folder / MANIFEST).write_text(project.to_json())
    return project


def _manifest(mini: Mini, target: str) -> CProject:
    def fixed(shape: list[Any]) -> tuple[Any, ...]:
        return tuple(mini.batch if axis == "batch" else axis for axis in shape)

    def tensor(name: str, dtype: str, shape: list[Any], axes: Axes) -> CTensor:
        size = int(np.prod([axis for axis in fixed(shape) if isinstance(axis, int)]))
        return CTensor(name, name, dtype, fixed(shape), axes.time, size)

    states, offset = [], 0
    for name, dtype, shape, _, _ in mini.states:
        states.append(CState(name, f"{name}_next", name, dtype, fixed(shape), offset))
        offset += int(np.prod(fixed(shape))) * 4
    return CProject(
        name=mini.name,
        target=target,
        batch=mini.batch,
        chunk=4,
        causal=mini.max_steps is None,
        max_steps=mini.max_steps,
        fixed_steps=mini.fixed_steps,
        inputs=tuple(tensor(*item) for item in mini.inputs),
        outputs=tuple(tensor(*item) for item in mini.outputs),
        states=tuple(states),
        state_bytes=offset,
        scratch_bytes=mini.scratch,
        weight_bytes=mini.weights,
        macs_per_step=2,
    )


def _loop(project: CProject, run: str, step: str) -> str:
    """Write ``NAME_step`` with its check, and ``NAME_run`` as a loop over it."""
    finite = " ".join(
        f"for (int i = 0; i < {t.size}; i++) "
        f"if (!({t.c_name}[i] - {t.c_name}[i] == 0.0f)) return 1;"
        for t in project.inputs
        if t.dtype == "float32"
    )
    tensors = (*project.inputs, *project.outputs)
    at = [f"{t.c_name} + {f't * {t.size}' if t.time_axis is not None else '0'}" for t in tensors]
    return f"""{step} {{
  {finite}
  return {project.name}_one(state, {", ".join(t.c_name for t in tensors)});
}}
{run} {{
  for (size_t t = 0; t < steps; t++) {{
    int code = {project.name}_step(state, {", ".join(at)});
    if (code != 0) return code;
  }}
  return 0;
}}
"""
