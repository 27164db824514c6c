"""Call a C function many times from C, so that the cost of a call from Python does not count."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edgernn.sessions import Array
from edgernn_runtimes.compilers import find_host_compiler, run_compiler

_SOURCE = """
#include <stddef.h>
typedef void (*function)({types});
void edgernn_loop(function f, void **even, void **odd, size_t at, char *x, size_t stride,
                  size_t count, size_t calls)
{{
    for (size_t i = 0; i < calls; i++) {{
        void **p = i & 1 ? odd : even;
        p[at] = x + i % count * stride;
        f({parameters});
    }}
}}
"""


# Whole vectors of integers: sums of arbitrary bits must not meet slow floats.
_READ = """
#include <stddef.h>
typedef int vector __attribute__((vector_size(64)));
void edgernn_read(void *unused, const vector *from, vector *to)
{{
    vector a = {{0}}, b = {{0}}, c = {{0}}, d = {{0}};
    for (size_t i = 0; i + 4 <= {vectors}; i += 4) {{
        a += from[i];
        b += from[i + 1];
        c += from[i + 2];
        d += from[i + 3];
    }}
    *to = a + b + c + d;
    (void)unused;
}}
"""


class CLoop:
    """A loop over a function that takes only pointers; one of them moves over the inputs."""

    def __init__(
        self,
        address: int,
        turns: tuple[Sequence[int], Sequence[int]],
        at: int,
        inputs: Array,
        *,
        keep: object = None,
    ) -> None:
        """Compile the loop.

        Args:
            address: Of the function.
            turns: Addresses of its parameters for even and odd calls.
            at: Which parameter is the input.
            inputs: What it is given one after the other, ``[count, ...]``.
            keep: What must live as long as the loop: the memory that it works on.

        Raises:
            TargetUnavailable: There is no C compiler.
        """
        self._keep = keep
        self._inputs = np.ascontiguousarray(inputs)
        places = len(turns[0])
        self._turns = [(ctypes.c_void_p * places)(*turn) for turn in turns]
        self._function = _compiled(places)
        self._fixed = (
            ctypes.c_void_p(address), *self._turns, ctypes.c_size_t(at),
            ctypes.c_void_p(self._inputs.ctypes.data), ctypes.c_size_t(self._inputs[0].nbytes),
            ctypes.c_size_t(len(self._inputs)),
        )  # fmt: skip

    def __call__(self, calls: int) -> None:
        """Call the function so many times; an even number, for the turns to go on."""
        self._function(*self._fixed, ctypes.c_size_t(calls))


def read_loop(size_bytes: int) -> CLoop:
    """Return a loop that only reads a buffer from end to end: the least a step can take.

    Args:
        size_bytes: Size of the buffer, such as that of a model's weights.
    """
    library = _built(_READ.format(vectors=size_bytes // 64), "-O3", "-march=native")
    memory = np.zeros(size_bytes + 256, np.uint8)
    start = memory.ctypes.data + -memory.ctypes.data % 64
    out = np.zeros(128, np.uint8)
    turn = [0, start, out.ctypes.data + -out.ctypes.data % 64]
    address = ctypes.cast(library.edgernn_read, ctypes.c_void_p).value or 0
    inputs = np.zeros((1, 1), np.float32)
    return CLoop(address, (turn, turn), 0, inputs, keep=(library, memory, out))


def _compiled(parameters: int) -> Any:
    source = _SOURCE.format(
        types=", ".join(["void *"] * parameters),
        parameters=", ".join(f"p[{index}]" for index in range(parameters)),
    )
    function = _built(source, "-O2").edgernn_loop
    function.restype = None
    return function


def _built(source: str, *flags: str) -> ctypes.CDLL:
    with TemporaryDirectory() as folder:
        code, library = Path(folder) / "loop.c", Path(folder) / "loop.so"
        code.write_text(source)
        command = [*flags, "-shared", "-fPIC", "-o", str(library), str(code)]
        run_compiler([*find_host_compiler("a timing loop"), *command], "the timing loop")
        return ctypes.CDLL(str(library))
