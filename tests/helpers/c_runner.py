"""Compile an ONNX model to C, build it with a real compiler, and call it with numpy arrays.

    library = CLibrary(model, tmp_path)                  # one shared library, called in-process
    y = library.run({"x": x})["y"]                       # arrays in the graph's order of axes
    library.run({"x": x}, fresh=False)                   # goes on from the state of the last call

`CProgram` does the same with a process of its own, for sanitizers and emulators:

    program = CProgram(model, tmp_path, flags=[*FLAGS, *SANITIZE])

Both check that nothing was written behind the outputs or the state.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgernn.c_project import CProject, CTensor
from edgernn_exporters.codegen.compile import compile

Array = NDArray[Any]

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow"]
FLAGS = ["-std=c99", "-O1", *WARNINGS, "-ffp-contract=off"]
SANITIZE = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

_GUARD = 64
_PATTERN = 0xA5


class CallFailed(Exception):
    """``NAME_run`` returned something else than 0; ``status`` is what."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the C function returned {status}")
        self.status = status


def write_project(model: onnx.ModelProto | str | Path, folder: Path, **options: Any) -> CProject:
    """Write the C project of a model into ``folder``; options are those of `compile`."""
    if isinstance(model, onnx.ModelProto):
        folder.parent.mkdir(parents=True, exist_ok=True)
        path = folder.with_name(folder.name + ".onnx")
        path.write_bytes(model.SerializeToString())
        model = path
    return compile(model, folder, **{"name": "net", **options})


def build(
    project: CProject,
    folder: Path,
    output: Path,
    extra: Sequence[str] = (),
    *,
    flags: Sequence[str] = FLAGS,
    compiler: Sequence[str] = ("gcc",),
) -> None:
    """Compile the project's C file, and others, to ``output``."""
    sources = [str(folder / f"{project.name}.c"), *extra]
    libraries = ["-lm"] if project.libm else []
    command = [*compiler, *flags, f"-I{folder}", "-o", str(output), *sources, *libraries]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr[:6000]}"


class CLibrary:
    """The project of a model as a shared library in this process.

    Attributes:
        project: What the project says about itself.
    """

    def __init__(
        self,
        model: onnx.ModelProto | str | Path,
        folder: Path,
        *,
        target: str = "native",
        batch: int = 1,
        chunk: int | None = None,
        flags: Sequence[str] = FLAGS,
        compiler: Sequence[str] = ("gcc",),
        **options: Any,
    ) -> None:
        self.project = write_project(
            model, folder, target=target, batch=batch, chunk=chunk, **options
        )
        file = folder / "net.so"
        build(self.project, folder, file, flags=[*flags, "-shared", "-fPIC"], compiler=compiler)
        self._library = ctypes.CDLL(str(file))
        size = self.project.state_bytes + self.project.scratch_bytes + 64
        self._memory = np.full(size + _GUARD + 64, _PATTERN, np.uint8)
        start = -self._memory.ctypes.data % 64  # the struct may ask for alignment
        self._state = self._memory[start : start + size]
        self._behind = self._memory[start + size :]
        self.init()

    def init(self) -> None:
        """Call ``NAME_init``."""
        self._call("init", restype=None)

    def reset(self) -> None:
        """Call ``NAME_reset``."""
        self._call("reset", restype=None)

    def run(self, feeds: Mapping[str, Array], *, fresh: bool = True) -> dict[str, Array]:
        """Call ``NAME_run``, after ``NAME_reset`` if ``fresh``.

        Raises:
            CallFailed: It did not return 0.
        """
        if fresh:
            self.reset()
        steps = steps_of(self.project, feeds)
        count = [ctypes.c_size_t(steps)] if self.project.has_steps else []
        return self._forward("run", feeds, steps, count)

    def step(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Call ``NAME_step``; arrays have a time axis of size 1."""
        return self._forward("step", feeds, 1, [])

    def state(self, name: str) -> Array:
        """Return a copy of a state by its name in the graph."""
        state = next(item for item in self.project.states if item.name == name)
        size = int(np.prod(state.shape)) * np.dtype(state.dtype).itemsize
        raw = self._state[state.offset_bytes : state.offset_bytes + size]
        return raw.copy().view(state.dtype).reshape(state.shape)

    def save(self) -> bytes:
        """Return the bytes of all states."""
        return self._state[: self.project.state_bytes].tobytes()

    def restore(self, saved: bytes) -> None:
        """Write back what `save` returned."""
        self._state[: self.project.state_bytes] = np.frombuffer(saved, np.uint8)

    def _forward(
        self, verb: str, feeds: Mapping[str, Array], steps: int, count: Sequence[Any]
    ) -> dict[str, Array]:
        given = [to_c(tensor, feeds[tensor.name]) for tensor in self.project.inputs]
        taken = [_guarded(tensor, steps) for tensor in self.project.outputs]
        arguments = [*map(_pointer, given), *count, *map(_pointer, taken)]
        status = self._call(verb, *arguments)
        assert (self._behind == _PATTERN).all(), "the state was written beyond its end"
        if status != 0:
            raise CallFailed(status)
        return {
            tensor.name: from_c(tensor, _unguarded(tensor, memory), steps)
            for tensor, memory in zip(self.project.outputs, taken, strict=True)
        }

    def _call(self, verb: str, *arguments: Any, restype: Any = ctypes.c_int) -> int:
        function = self._library[f"{self.project.name}_{verb}"]
        function.restype = restype
        result: int = function(_pointer(self._state), *arguments)
        return result


class CProgram:
    """The project of a model as a program of its own; each run starts at the first values."""

    def __init__(
        self,
        model: onnx.ModelProto | str | Path,
        folder: Path,
        *,
        flags: Sequence[str] = FLAGS,
        compiler: Sequence[str] = ("gcc",),
        launcher: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self.project = write_project(model, folder, **options)
        self._file = folder / "program"
        self._launcher = list(launcher)
        main = folder / "main_of_test.c"
        main.write_text(_main(self.project))
        build(self.project, folder, self._file, [str(main)], flags=flags, compiler=compiler)

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Run the program once; raises `CallFailed` as `CLibrary.run` does."""
        steps = steps_of(self.project, feeds)
        data = np.uint64(steps).tobytes() + b"".join(
            to_c(tensor, feeds[tensor.name]).tobytes() for tensor in self.project.inputs
        )
        command = [*self._launcher, str(self._file)]
        done = subprocess.run(command, input=data, capture_output=True, check=False, timeout=300)
        assert not done.stderr, done.stderr.decode(errors="replace")[:6000]
        if done.returncode:
            raise CallFailed(done.returncode)
        results, place = {}, 0
        for tensor in self.project.outputs:
            count = _elements(tensor, steps)
            memory = np.frombuffer(done.stdout, tensor.dtype, count, place)
            place += memory.nbytes
            results[tensor.name] = from_c(tensor, memory, steps)
        return results


def steps_of(project: CProject, feeds: Mapping[str, Array]) -> int:
    """Return the number of time steps of the feeds, 1 if no input has a time axis."""
    for tensor in project.inputs:
        if tensor.time_axis is not None:
            return int(feeds[tensor.name].shape[tensor.time_axis])
    return 1


def to_c(tensor: CTensor, array: Array) -> Array:
    """Return an array as C wants it: time outermost, contiguous."""
    assert array.dtype.name == tensor.dtype, f"{tensor.name} takes {tensor.dtype}"
    if tensor.time_axis is not None:
        array = np.moveaxis(array, tensor.time_axis, 0)
    return np.ascontiguousarray(array)


def from_c(tensor: CTensor, memory: Array, steps: int) -> Array:
    """Return what C wrote, in the graph's order of axes."""
    sizes = [steps if isinstance(size, str) else size for size in tensor.shape]
    if tensor.time_axis is None:
        return memory.reshape(sizes)
    rest = [size for axis, size in enumerate(sizes) if axis != tensor.time_axis]
    return np.moveaxis(memory.reshape([steps, *rest]), 0, tensor.time_axis)


def _elements(tensor: CTensor, steps: int) -> int:
    return tensor.size * (steps if tensor.time_axis is not None else 1)


def _guarded(tensor: CTensor, steps: int) -> Array:
    size = _elements(tensor, steps) * np.dtype(tensor.dtype).itemsize
    return np.full(size + _GUARD, _PATTERN, np.uint8)


def _unguarded(tensor: CTensor, memory: Array) -> Array:
    size = memory.size - _GUARD
    assert (memory[size:] == _PATTERN).all(), f"{tensor.name} was written beyond its end"
    return memory[:size].view(tensor.dtype)


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _main(project: CProject) -> str:
    """Write a program that reads steps and inputs from stdin and writes outputs to stdout."""
    types = {"float32": "float", "float64": "double", "bool": "uint8_t"}
    body = ["uint64_t steps;", "int status;", "if (fread(&steps, 8, 1, stdin) != 1) return 20;"]
    for tensor in (*project.inputs, *project.outputs):
        kind = types.get(tensor.dtype, f"{tensor.dtype}_t")
        many = f"(size_t){tensor.size}" + (" * steps" if tensor.time_axis is not None else "")
        body.append(f"{kind} *p_{tensor.c_name} = malloc({many} * sizeof({kind}));")
        size = f"sizeof *p_{tensor.c_name}, {many}"
        if tensor in project.inputs:
            body.append(f"if (fread(p_{tensor.c_name}, {size}, stdin) != {many}) return 21;")
    steps = ["steps"] if project.has_steps else []
    arguments = ["&state", *(f"p_{t.c_name}" for t in project.inputs), *steps,
                 *(f"p_{t.c_name}" for t in project.outputs)]  # fmt: skip
    body += [
        f"{project.name}_init(&state);",
        f"status = {project.name}_run({', '.join(arguments)});",
        "if (status != 0) return status;",
    ]
    for tensor in project.outputs:
        many = f"(size_t){tensor.size}" + (" * steps" if tensor.time_axis is not None else "")
        body.append(f"fwrite(p_{tensor.c_name}, sizeof *p_{tensor.c_name}, {many}, stdout);")
    body += [f"free(p_{t.c_name});" for t in (*project.inputs, *project.outputs)]
    lines = "\n".join(f"    {line}" for line in body)
    return (
        f'#include <stdio.h>\n#include <stdlib.h>\n#include "{project.name}.h"\n\n'
        f"static {project.name}_state state;\n\nint main(void)\n{{\n{lines}\n    return 0;\n}}\n"
    )
