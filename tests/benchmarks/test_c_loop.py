from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from edgernn.errors import TargetUnavailable
from edgernn_benchmarks.c_loop import CLoop
from edgernn_runtimes.compilers import find_host_compiler, run_compiler

SOURCE = "void add(double *sum, const double *x, double *last) { *last = *sum; *sum += *x; }"


def test_inputs_and_turns_alternate(tmp_path: Path) -> None:
    try:
        compiler = find_host_compiler("this test")
    except TargetUnavailable as missing:
        pytest.skip(str(missing))
    (tmp_path / "add.c").write_text(SOURCE)
    library = tmp_path / "add.so"
    run_compiler(
        [*compiler, "-shared", "-fPIC", "-o", str(library), str(tmp_path / "add.c")], "add.c"
    )
    address = ctypes.cast(ctypes.CDLL(str(library)).add, ctypes.c_void_p).value
    assert address is not None
    even, odd, last = np.zeros(1), np.zeros(1), np.zeros(1)
    x = np.array([[1.0], [10.0], [100.0]])
    turns = [[a.ctypes.data, 0, last.ctypes.data] for a in (even, odd)]
    loop = CLoop(address, (turns[0], turns[1]), 1, x, keep=(even, odd, last))
    loop(6)  # 1 10 100 1 10 100, every other one to the second turn
    assert (even[0], odd[0], last[0]) == (111.0, 111.0, 11.0)
