"""Write ``runner_config.h``: what ``runner.c`` must know about one generated project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgernn.c_project import CProject, CTensor
from edgernn.errors import ModelError

BUFFER_BYTES = 64 * 1024  # of inputs and outputs that one request carries, if there is room
_ALIGNMENT = 16


@dataclass(frozen=True)
class Plan:
    """Say how requests to the runner are cut.

    Attributes:
        block: Time steps of one request at most.
        input_bytes: Size of each input for one time step, or in all without a time axis.
        output_bytes: Likewise for each output.
        buffer_bytes: Memory for all of them.
    """

    block: int
    input_bytes: tuple[int, ...]
    output_bytes: tuple[int, ...]
    buffer_bytes: int


def make_plan(project: CProject, room_bytes: int | None) -> Plan:
    """Choose how many time steps go in one request.

    Args:
        project: The manifest.
        room_bytes: RAM that is left for the buffer; None if that is no limit.
    """
    if not project.has_steps:
        block = 1
    elif project.causal:
        room = BUFFER_BYTES if room_bytes is None else min(BUFFER_BYTES, room_bytes)
        per_step = sum(_bytes(t) for t in _tensors(project) if t.time_axis is not None)
        fixed = sum(_bytes(t) for t in _tensors(project) if t.time_axis is None)
        fixed += _ALIGNMENT * len(_tensors(project))
        block = max(1, (room - fixed) // max(1, per_step))
    else:
        block = project.max_steps or 1
    sizes = [_aligned(_bytes(t) * (block if t.time_axis is not None else 1))
             for t in _tensors(project)]  # fmt: skip
    return Plan(
        block,
        tuple(_bytes(t) for t in project.inputs),
        tuple(_bytes(t) for t in project.outputs),
        sum(sizes),
    )


def config_header(project: CProject, plan: Plan) -> str:
    """Return the text of ``runner_config.h``.

    Raises:
        ModelError: The manifest's name is not one for C.
    """
    name = project.name
    if not (name.isascii() and name.isidentifier()):
        raise ModelError(f"the C project's name {name!r} is not an identifier; compile it again")
    ins = [f"(in)[{i}]" for i in range(len(project.inputs))]
    outs = [f"(out)[{i}]" for i in range(len(project.outputs))]
    steps = ["steps"] if project.has_steps else []
    parameters = [f"{name}_state *s", *(f"const void *i{i}" for i in range(len(ins)))]
    parameters += ["size_t steps"] if steps else []
    parameters += [f"void *o{i}" for i in range(len(outs))]
    arguments = ", ".join(["state", *ins, *steps, *outs])
    without_steps = ", ".join(["state", *ins, *outs])
    step = f"{name}_step({without_steps})" if has_step(project) else f"{name}_run({arguments})"
    offsets = _offsets(project, plan)
    split = len(ins)
    lines = [
        f'#include "{name}.h"',
        f"#define RUNNER_STATE {name}_state",
        f"#define RUNNER_INIT {name}_init",
        f"#define RUNNER_RESET {name}_reset",
        f"#define RUNNER_PARAMETERS {', '.join(parameters)}",
        f"#define RUNNER_ARGUMENTS(state, in, steps, out) {arguments}",
        f"#define RUNNER_RUN(state, in, steps, out) {name}_run({arguments})",
        f"#define RUNNER_STEP(state, in, steps, out) {step}",
        f"#define RUNNER_STATE_BYTES {project.state_bytes}u",
        f"#define RUNNER_BUFFER_BYTES {max(plan.buffer_bytes, 1)}u",
        f"#define RUNNER_BLOCK {plan.block}u",
        f"#define RUNNER_INPUTS {len(ins)}u",
        f"#define RUNNER_OUTPUTS {len(outs)}u",
        _array("input_bytes", plan.input_bytes),
        _array("output_bytes", plan.output_bytes),
        _array("input_timed", [int(t.time_axis is not None) for t in project.inputs]),
        _array("output_timed", [int(t.time_axis is not None) for t in project.outputs]),
        _array("input_offset", offsets[:split]),
        _array("output_offset", offsets[split:]),
    ]
    return "\n".join(lines) + "\n"


def has_step(project: CProject) -> bool:
    """Say whether ``NAME_step`` exists."""
    return project.causal and project.has_steps


def _offsets(project: CProject, plan: Plan) -> list[int]:
    offsets, at = [], 0
    for tensor in _tensors(project):
        offsets.append(at)
        at += _aligned(_bytes(tensor) * (plan.block if tensor.time_axis is not None else 1))
    return offsets


def _tensors(project: CProject) -> tuple[CTensor, ...]:
    return (*project.inputs, *project.outputs)


def _array(name: str, values: Sequence[int]) -> str:
    return f"static const size_t runner_{name}[] = {{{', '.join(map(str, values)) or '0'}}};"


def _bytes(tensor: CTensor) -> int:
    return tensor.size * np.dtype(tensor.dtype).itemsize


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT
