"""Peer ``emx``: C from emx-onnx-cgen, compiled for this machine and called in-process.

Temporaries on the stack (``--large-temp-threshold 0``), ``-O3 -march=native -ffast-math``, a
library for each number of time steps. Its version 1.4 refuses a GRU or RNN whose attribute
``direction`` is written out, so the attribute is left out where it has its default value.
"""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgernn.errors import ModelError, TargetUnavailable
from edgernn.sessions import Array
from edgernn_benchmarks.peers.engine import FLOAT, import_engine, probe_package, refused
from edgernn_benchmarks.peers.model import PeerModel, Shapes, read_peer_model
from edgernn_benchmarks.peers.session import ArrayStates, BoundProgram, PeerSession
from edgernn_runtimes import Probe
from edgernn_runtimes.compilers import find_host_compiler, run_compiler

TOLERANCE = FLOAT
FLAGS = ("-O3", "-march=native", "-ffast-math")
SYMBOL = "emx_model"
_TIMEOUT_S = 300


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> PeerSession:
    """Load a model as C from emx-onnx-cgen; the code itself is made for each input shape.

    Raises:
        TargetUnavailable: emx-onnx-cgen or a C compiler is not installed.
        ModelError: emx-onnx-cgen cannot translate the model.
    """
    import_engine("emx_onnx_cgen")
    find_host_compiler("emx")
    model = read_peer_model(path)
    session = PeerSession(model, EmxEngine(model), "peer:emx")
    try:
        session.try_one_step()
    except BaseException:
        session.close()
        raise
    return session


def probe() -> Probe:
    """Say whether emx-onnx-cgen and a C compiler are installed."""
    found = probe_package("emx_onnx_cgen", "emx-onnx-cgen")
    if found.available:
        try:
            find_host_compiler("emx")
        except TargetUnavailable as missing:
            reason, _, remedy = str(missing).partition("; install it with: ")
            return Probe(False, reason, remedy)
    return found


def generate(model: PeerModel, shapes: Shapes, folder: Path) -> Path:
    """Write the C source of a model for inputs and states of these shapes.

    Returns:
        The file; its function `SYMBOL` takes all graph inputs, then all graph outputs.

    Raises:
        ModelError: emx-onnx-cgen cannot translate the model.
    """
    graph = model.fixed(shapes)
    _leave_defaults_out(graph)
    source, code = folder / "model.onnx", folder / "model.c"
    onnx.save(graph, source)
    done = subprocess.run(
        [sys.executable, "-m", "emx_onnx_cgen", "compile", "--color", "never",
         "--model-name", SYMBOL, "--large-temp-threshold", "0", "--large-weight-threshold", "0",
         str(source), str(code)],
        capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode != 0 or not code.is_file():
        said = f"{done.stdout}\n{done.stderr}"
        marked = [line for line in said.splitlines() if line.startswith("Result:")]
        reason = marked[-1].removeprefix("Result:").strip() if marked else said.strip()[-300:]
        raise refused("emx-onnx-cgen", model.path, reason.partition(" (while lowering")[0])
    return code


def build(code: Path) -> Path:
    """Compile a generated source to a shared library with `FLAGS`.

    Raises:
        TargetUnavailable: There is no C compiler.
        ModelError: It fails.
    """
    compiler, made, library = (
        find_host_compiler("emx"),
        code.with_suffix(".o"),
        code.with_suffix(".so"),
    )
    # Linked with -ffast-math, a library would make the whole process flush small numbers to zero.
    for command in (
        [*FLAGS, "-c", "-fPIC", "-fstack-usage", "-w", "-o", str(made), str(code)],
        ["-shared", "-o", str(library), str(made), "-lm"],
    ):
        run_compiler([*compiler, *command], "the C of emx-onnx-cgen")
    return library


class EmxEngine(ArrayStates):
    """A model as C (see `session.Engine`)."""

    def __init__(self, model: PeerModel) -> None:
        super().__init__(model)
        self._folder = TemporaryDirectory()
        self._functions: dict[tuple[tuple[str, tuple[int, ...]], ...], Any] = {}

    def prepare(self, shapes: Shapes) -> BoundProgram:
        """See `session.Engine`."""
        function = self.function(shapes)
        call = arguments(self.model, shapes)
        even, odd = ([ctypes.c_void_p(place) for place in turn] for turn in call.turns)
        return BoundProgram(
            call.inputs,
            call.outputs,
            call.states,
            (lambda: function(*even), lambda: function(*odd)),
        )

    def close(self) -> None:
        """See `session.Engine`; the libraries stay loaded, their files go."""
        self._functions.clear()
        self._folder.cleanup()

    def function(self, shapes: Shapes) -> Any:
        """Return the C function for inputs and states of these shapes; takes `arguments`."""
        key = tuple(sorted(shapes.items()))
        if key not in self._functions:
            self._functions[key] = self._built(shapes)
        return self._functions[key]

    def _built(self, shapes: Shapes) -> Any:
        folder = Path(mkdtemp(dir=self._folder.name))
        library = build(generate(self.model, shapes, folder))
        self._check_stack(folder)
        function = getattr(ctypes.CDLL(str(library)), SYMBOL)
        function.restype = None
        return function

    def _check_stack(self, folder: Path) -> None:
        """Refuse what would overflow the stack and end the process."""
        needed = sum(
            int(line.split("\t")[1])
            for file in folder.glob("*.su")
            for line in file.read_text().splitlines()
        )
        limit = resource.getrlimit(resource.RLIMIT_STACK)[0]
        if limit != resource.RLIM_INFINITY and needed > limit // 2:
            raise ModelError(
                f"{self.model.path}: the C of emx-onnx-cgen needs {needed / 1e6:.1f} MB of stack "
                f"for this many time steps, and there are {limit / 1e6:.1f}; measure shorter "
                f"sequences, or allow more with ulimit -s"
            )


@dataclass(frozen=True)
class Arguments:
    """Memory that the generated function works on.

    Attributes:
        inputs: In the model's order.
        outputs: Likewise.
        states: Two sets; a call reads one and writes the other.
        turns: Addresses of all parameters for calls that read the first set, and the second.
    """

    inputs: list[Array]
    outputs: list[Array]
    states: tuple[list[Array], list[Array]]
    turns: tuple[list[int], list[int]]


def arguments(model: PeerModel, shapes: Shapes) -> Arguments:
    """Allocate the parameters of the function for inputs and states of these shapes.

    Raises:
        ModelError: The size of an output is not known.
    """
    arrays: dict[str, Array] = {}
    graph = model.fixed(shapes).graph
    constants = {tensor.name for tensor in graph.initializer}
    for value in [*(v for v in graph.input if v.name not in constants), *graph.output]:
        tensor = value.type.tensor_type
        shape = [dim.dim_value for dim in tensor.shape.dim]
        if 0 in shape:
            raise refused("emx-onnx-cgen", model.path, f"{value.name} has axes of unknown size")
        arrays[value.name] = np.zeros(shape, helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    states = model.contract.states
    sets = ([arrays[s.input] for s in states], [arrays[s.output] for s in states])

    def addresses(source: list[Array], target: list[Array]) -> list[int]:
        places = dict(arrays)
        for state, old, new in zip(states, source, target, strict=True):
            places[state.input], places[state.output] = old, new
        return [array.ctypes.data for array in places.values()]

    return Arguments(
        inputs=[arrays[spec.name] for spec in model.inputs],
        outputs=[arrays[spec.name] for spec in model.outputs],
        states=sets,
        turns=(addresses(*sets), addresses(sets[1], sets[0])),
    )


def _leave_defaults_out(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type in ("GRU", "RNN"):
            kept = [a for a in node.attribute if not (a.name == "direction" and a.s == b"forward")]
            del node.attribute[:]
            node.attribute.extend(kept)
