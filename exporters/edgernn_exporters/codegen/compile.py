"""Compile an ONNX file to a complete C project: the verb."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from edgernn.c_project import MANIFEST, CProject, CState, CTensor, files_of
from edgernn.errors import UsageError
from edgernn.files import replacing_folder
from edgernn.sessions import Session
from edgernn_exporters.codegen.build import Built, build
from edgernn_exporters.codegen.dims import at
from edgernn_exporters.codegen.emx_source import needs_libm
from edgernn_exporters.codegen.fallback import emx_fallback
from edgernn_exporters.codegen.graph import with_output_shapes
from edgernn_exporters.codegen.layouts import layout_of
from edgernn_exporters.codegen.names import prefix as prefix_of
from edgernn_exporters.codegen.ports import Port
from edgernn_exporters.codegen.project_files import project_files
from edgernn_exporters.codegen.request import Request
from edgernn_exporters.codegen.source import (
    Names,
    header,
    scratch_bytes,
    source,
    state_bytes,
    state_offsets,
)
from edgernn_exporters.onnx_files import read_model
from edgernn_exporters.onnx_graphs import inlined

KERNELS = Path(__file__).parent / "kernels"
DEFAULT_MAX_STEPS = 256
_MOST_ROWS = 1024


@dataclass(frozen=True)
class Emitted:
    """The C sources of a model.

    Attributes:
        project: Manifest.
        files: Content by name.
        built: The plan behind them.
        names: What the project is called.
    """

    project: CProject
    files: Mapping[str, str]
    built: Built
    names: Names


def compile(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    target: str = "native",
    complete: bool = False,
    load: Callable[[Path], Session] | None = None,
    **options: Any,
) -> CProject:
    """Write the C project of an ONNX file.

    Args:
        source: ONNX file, float32 or quantized.
        folder: Folder to write; it appears only when it is complete. The files of an older
            project there are replaced, anything else is not touched.
        target: What the weights are laid out for, a key of `layouts.LAYOUTS`.
        complete: Add what builds and tests the project: CMake, self-test, Arduino, Zephyr, README.
        load: Opens the model to make the self-test's expected outputs; None for ONNX's own
            reference implementation.
        **options: ``batch``, ``name``, ``chunk``, ``max_steps``, ``fixed`` (see `emit`).

    Raises:
        UsageError: An option is out of range.
        ModelError: The file is not a usable model, or nodes of it cannot be turned into C.
        OutputError: The folder cannot be written, or holds something else.

    Example:
        >>> compile("kw.int8.onnx", "kw", target="cortex-m4").macs_per_step
        20480
    """
    emitted = emit(source, target=target, **options)
    files = dict(emitted.files)
    if complete:
        files |= project_files(source, emitted.project, emitted.names, load)
    files[MANIFEST] = emitted.project.to_json(files)
    with replacing_folder(folder, ours=files_of) as temporary:
        for name, text in files.items():
            file = temporary / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    return emitted.project


def emit(
    source_path: str | os.PathLike[str],
    *,
    target: str = "native",
    batch: int = 1,
    name: str | None = None,
    chunk: int | None = None,
    max_steps: int | None = None,
    fixed: Mapping[str, int] | None = None,
) -> Emitted:
    """Turn an ONNX file into the C sources of a project, without writing them.

    Args:
        source_path: ONNX file.
        target: A key of `layouts.LAYOUTS`.
        batch: Sequences that advance together, where the model leaves it open.
        name: Prefix of all symbols; None for the file's name.
        chunk: Time steps that are processed at once; None for the target's usual number.
        max_steps: Longest sequence of a model that is not causal; None for 256.
        fixed: Sizes of dynamic axes that are neither batch nor time, by name.

    Raises:
        UsageError: An option is out of range.
        ModelError: The file is not a usable model, or nodes of it cannot be turned into C.
    """
    path = Path(source_path)
    model, metadata = read_model(path)
    layout = layout_of(target)
    for what, value in (("batch", batch), ("chunk", chunk), ("max_steps", max_steps)):
        if value is not None and value < 1:
            raise UsageError(f"{what} must be at least 1, got {value}")
    if batch > _MOST_ROWS:
        raise UsageError(f"batch must be at most {_MOST_ROWS}, got {batch}")
    _check_fixed(model, dict(fixed or {}))
    prefix = prefix_of(name or path.name.split(".")[0])
    causal = metadata.contract is None or metadata.contract.stream.causal
    most = (chunk or layout.chunk) if causal else (max_steps or DEFAULT_MAX_STEPS)
    model = inlined(model)
    if metadata.contract is None:
        model = with_output_shapes(model, dict(fixed or {}))
    request = Request(
        model=model,
        metadata=metadata,
        name=prefix,
        layout=layout,
        batch=batch,
        fixed=dict(fixed or {}),
        most_steps=most,
        where=str(path),
    )
    built = build(request, lambda lowering, node: emx_fallback(lowering, node, request.model))
    names = Names(prefix, most, path.name, metadata.precision, metadata.unproven)
    project = _project(built, prefix, target, most)
    code = source(built, names, layout)
    files = {
        f"{prefix}.h": header(built, names),
        f"{prefix}.c": code,
        MANIFEST: project.to_json(),
        **_kernels([code]),
    }
    return Emitted(project, files, built, names)


def _check_fixed(model: onnx.ModelProto, fixed: Mapping[str, int]) -> None:
    """Refuse sizes for axes that the model does not have."""
    values = (*model.graph.input, *model.graph.output)
    dims = [dim for value in values for dim in value.type.tensor_type.shape.dim]
    names = sorted({dim.dim_param for dim in dims if dim.dim_param})
    if unknown := sorted(set(fixed) - set(names)):
        raise UsageError(
            f"there is no dynamic axis {', '.join(unknown)} to fix; the model has "
            f"{', '.join(names) or 'none'}"
        )


def _kernels(sources: Iterable[str]) -> dict[str, str]:
    """Return the kernel headers that sources include, and those that these include."""
    found: dict[str, str] = {}
    pending = list(sources)
    while pending:
        for name in re.findall(r'#include "(edgernn_\w+\.h)"', pending.pop()):
            if name not in found:
                found[name] = (KERNELS / name).read_text()
                pending.append(found[name])
    return dict(sorted(found.items()))


def _project(built: Built, name: str, target: str, most: int) -> CProject:
    ports = built.ports
    dynamic = ports.steps is not None and not isinstance(ports.steps, int)
    chunk = most if dynamic else 1
    return CProject(
        name=name,
        target=target,
        batch=ports.batch,
        chunk=chunk,
        causal=ports.causal and ports.steps is not None,
        max_steps=None if ports.causal or ports.steps is None else at(ports.steps, most),
        fixed_steps=isinstance(ports.steps, int),
        inputs=tuple(_tensor(port) for port in ports.inputs),
        outputs=tuple(_tensor(port) for port in ports.outputs),
        states=tuple(
            CState(s.input, s.output, s.buffer.name, s.dtype, s.shape, offset, s.scale)
            for s, offset in zip(ports.states, state_offsets(built), strict=True)
        ),
        state_bytes=state_bytes(built),
        scratch_bytes=scratch_bytes(built),
        weight_bytes=built.weights.bytes,
        macs_per_step=built.macs_per_step,
        fallback=built.fallback,
        libm=needs_libm(built.functions),
        advances=ports.advances,
    )


def _tensor(port: Port) -> CTensor:
    size = port.step_size
    assert isinstance(size, int)
    shape = tuple(
        "time" if axis == port.time_axis else int(at(dim, 1)) for axis, dim in enumerate(port.shape)
    )
    return CTensor(port.name, port.buffer.name, port.dtype, shape, port.time_axis, size)
