"""Everything of an emitted folder but the sources: build files, packages, self-test, README."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from edgernn.c_project import CProject
from edgernn.sessions import Session
from edgernn_exporters.codegen.golden import Golden, golden_vectors
from edgernn_exporters.codegen.names import printable
from edgernn_exporters.codegen.packages import (
    arduino_files,
    cmake_files,
    cmake_target,
    example_buffers,
    example_call,
    shape_text,
    state_rows,
    zephyr_files,
)
from edgernn_exporters.codegen.selftest import selftest_files, size_macro
from edgernn_exporters.codegen.source import Names
from edgernn_exporters.codegen.templates import fill
from edgernn_exporters.codegen.values import C_TYPES
from edgernn_exporters.onnx_files import read_model


def project_files(
    source: str | os.PathLike[str],
    project: CProject,
    names: Names,
    load: Callable[[Path], Session] | None = None,
) -> dict[str, str]:
    """Return the files around the sources, by path in the folder.

    Args:
        source: ONNX file that the project was generated from.
        project: What was generated.
        names: Where it comes from, for people.
        load: Opens the model to compute the outputs that the self-test expects; None for ONNX's
            reference implementation.

    Raises:
        ModelError: The expected outputs cannot be computed.
    """
    path = Path(source)
    model, metadata = read_model(path)
    run = load(path).run if load is not None else None
    return files_around(project, names, golden_vectors(model, metadata, project, run=run))


def files_around(project: CProject, names: Names, golden: Golden | None) -> dict[str, str]:
    """Return the files around the sources; without a self-test if ``golden`` is None."""
    files = cmake_files(project, tests=golden is not None)
    files |= arduino_files(project)
    files |= zephyr_files(project)
    files["README.md"] = _readme(project, names)
    if golden is not None:
        files |= selftest_files(project, golden)
    return files


def _readme(project: CProject, names: Names) -> str:
    upper = project.name.upper()
    rows = []
    if project.causal and project.chunk > 1:
        rows.append(f"| time steps processed at once | {project.chunk} (`{upper}_CHUNK`) |")
    if project.max_steps is not None:
        rows.append(f"| longest sequence | {project.max_steps} (`{upper}_MAX_STEPS`) |")
    text = fill(
        "README.md",
        name=project.name,
        upper=upper,
        source=printable(names.source),
        precision=printable(names.precision),
        target=project.target,
        target_name=cmake_target(project.name),
        libm_claim="" if project.libm else ", no math library",
        link=" and `-lm`" if project.libm else "",
        weight_bytes=f"{project.weight_bytes:,}",
        state_bytes=f"{project.state_bytes:,}",
        scratch_bytes=f"{project.scratch_bytes:,}",
        macs=f"{project.macs_per_step:,}",
        batch=project.batch,
        rows="\n".join(rows),
        tensors="\n".join([*_tensor_rows(project), *state_rows(project)]),
        buffers="\n".join(example_buffers(project)),
        usage=_usage(project),
        semantics=_semantics(project),
        state=_state(project),
        fallback=_fallback(project),
        unproven=f"\n**Unproven**: {printable(names.unproven)}.\n" if names.unproven else "",
    )
    return text.replace(" |\n\n\n", " |\n\n").rstrip() + "\n"


def _tensor_rows(project: CProject) -> list[str]:
    rows = []
    for tensor in (*project.inputs, *project.outputs):
        side = "input" if tensor in project.inputs else "output"
        each = " per time step" if tensor.time_axis is not None else ""
        rows.append(
            f"| {side} {printable(tensor.name)} | `{C_TYPES[tensor.dtype]} *{tensor.c_name}` | "
            f"{tensor.size}{each} (`{size_macro(project, tensor)}`) | {shape_text(tensor)} |"
        )
    return rows


def _usage(project: CProject) -> str:
    lines = [f"int status = {example_call(project)};"]
    if project.causal:
        names = [tensor.c_name for tensor in (*project.inputs, *project.outputs)]
        names.insert(len(project.inputs), "steps")
        lines.append(f"status = {project.name}_run(&state, {', '.join(names)});")
    return "\n".join(lines)


def _semantics(project: CProject) -> str:
    name, upper = project.name, project.name.upper()
    if project.causal:
        return (
            f"- `{name}_step` advances by one time step, `{name}_run` by any number; calls go on "
            f"where the last one\n  ended. `{name}_reset` goes back to the first values. Outputs "
            f"without a time axis hold their value after\n  the last step."
        )
    if project.advances:
        return (
            f"- `{name}_run` advances by one time step; calls go on where the last one ended. "
            f"`{name}_reset` goes back\n  to the first values."
        )
    if project.max_steps is None:
        return f"- `{name}_run` runs the model once, from its first values."
    wrong = "Any other number of steps than" if project.fixed_steps else "More steps than"
    return (
        f"- `{name}_run` takes a whole sequence from the first values, because the model looks "
        f"ahead. {wrong}\n  `{upper}_MAX_STEPS` returns 2."
    )


def _state(project: CProject) -> str:
    if not project.states or not (project.causal or project.advances):
        return ""
    return (
        f"- **Save and restore**: copy the struct, it holds no pointers; or its first "
        f"`{project.name.upper()}_STATE_BYTES` bytes\n  only, into a struct that "
        f"`{project.name}_init` was called for.\n"
    )


def _fallback(project: CProject) -> str:
    if not project.fallback:
        return ""
    nodes = "\n".join(f"- {printable(label)}" for label in project.fallback)
    need = "They need the C math library." if project.libm else ""
    text = f"No kernel of edgernn covers these nodes. {need}".rstrip()
    return f"\n## Written by emx-onnx-cgen\n\n{text}\n\n{nodes}\n"
