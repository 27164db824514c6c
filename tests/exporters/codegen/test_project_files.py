"""The files around the sources: golden vectors, README, names; the same bytes every time."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import make_model
from helpers.models import write_model
from onnx import helper, numpy_helper

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.errors import ModelError
from edgernn.metadata import Metadata
from edgernn_exporters.codegen import compile as generate
from edgernn_exporters.codegen.compile import emit
from edgernn_exporters.codegen.golden import Run, golden_vectors
from edgernn_exporters.codegen.packages import cmake_target
from edgernn_exporters.onnx_files import read_model
from edgernn_exporters.quantization import quantize
from edgernn_runtimes import load

open_cpu = partial(load, target="cpu", threads=1)
PROJECT_FILES = {
    "CMakeLists.txt", "README.md", "keywords.txt", "library.properties", "tests/selftest.c",
    "tests/golden.h", "zephyr/module.yml", "zephyr/CMakeLists.txt", "zephyr/Kconfig",
}  # fmt: skip


def golden_of(path: Path, run: Run | None = None, **options: Any) -> Any:
    model, metadata = read_model(path)
    return golden_vectors(model, metadata, emit(path, **options).project, run=run)


# Golden vectors


def test_reference_and_onnx_runtime_agree(tmp_path: Path) -> None:
    path = write_model(tmp_path / "kw.onnx")
    ours = golden_of(path)
    theirs = golden_of(path, open_cpu(path).run)
    assert ours.steps == 37  # more than a chunk of 32, so that the loop over chunks is tested
    np.testing.assert_array_equal(ours.inputs["x"], theirs.inputs["x"])
    np.testing.assert_allclose(ours.outputs["y"], theirs.outputs["y"], atol=1e-6)


def test_inputs_depend_on_the_model_only(tmp_path: Path) -> None:
    first = golden_of(write_model(tmp_path / "a.onnx"))
    same = golden_of(write_model(tmp_path / "b.onnx"))
    other = golden_of(write_model(tmp_path / "c.onnx", seed=1))
    np.testing.assert_array_equal(first.inputs["x"], same.inputs["x"])
    assert not np.array_equal(first.inputs["x"], other.inputs["x"])


def test_microcontrollers_get_few_steps(tmp_path: Path) -> None:
    assert golden_of(write_model(tmp_path / "kw.onnx"), target="cortex-m4").steps == 16


def test_models_that_look_ahead_stay_within_their_longest_sequence(tmp_path: Path) -> None:
    path = write_model(tmp_path / "both.onnx", bidirectional=True)
    assert golden_of(path, open_cpu(path).run).steps == 16
    assert golden_of(path, open_cpu(path).run, max_steps=5).steps == 5


def test_ids_are_rows_of_the_table(tmp_path: Path) -> None:
    path = write_model(tmp_path / "ids.onnx", embedding=7)
    ids = golden_of(path).inputs["x"]
    assert ids.dtype == np.int64
    assert (ids.min(), ids.max()) == (0, 6)


def test_quantized_models_are_allowed_a_rounding_the_other_way(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "kw.onnx")
    quantize(plain, tmp_path / "kw.int8.onnx", load=open_cpu)
    small = tmp_path / "kw.int8.onnx"
    exact, rounded = golden_of(plain), golden_of(small, open_cpu(small).run)
    assert exact.tolerances["y"] == 1e-4
    largest = np.abs(rounded.outputs["y"]).max()
    assert rounded.tolerances["y"] == pytest.approx(0.02 * largest + 1e-3, rel=0.01)


def test_runtime_that_fails_is_one_message(tmp_path: Path) -> None:
    path = write_model(tmp_path / "kw.onnx")

    def broken(inputs: object) -> dict[str, Any]:
        raise RuntimeError("no\nmemory")

    with pytest.raises(ModelError, match=r"kw: outputs for the self-test .* no memory; install"):
        golden_of(path, broken)
    with pytest.raises(ModelError, match="output 'y' was computed as nothing"):
        golden_of(path, lambda inputs: {})


# What is written


def test_complete_project_has_all_files(tmp_path: Path) -> None:
    path = write_model(tmp_path / "kw.onnx")
    generate(path, tmp_path / "c", complete=True, load=open_cpu)
    found = {str(p.relative_to(tmp_path / "c")) for p in (tmp_path / "c").rglob("*.*")}
    found |= {str(p.relative_to(tmp_path / "c")) for p in (tmp_path / "c" / "zephyr").iterdir()}
    assert found >= PROJECT_FILES | {"examples/kw/kw.ino"}
    # Arduino compiles what lies in the root, and nothing else.
    assert sorted(p.name for p in (tmp_path / "c").glob("*.c")) == ["kw.c"]
    for file in (tmp_path / "c").rglob("*.*"):
        if file.is_file():
            text = file.read_text()
            assert "@{" not in text, file
            assert text.endswith("\n"), file
            assert not text.endswith("\n\n"), file


def test_readme_names_everything(tmp_path: Path) -> None:
    path = write_model(tmp_path / "kw.onnx")
    project = generate(path, tmp_path / "c", complete=True, target="cortex-m4")
    text = (tmp_path / "c" / "README.md").read_text()
    for expected in (
        "`kw.onnx` (float32)", "`cortex-m4`", f"{project.weight_bytes:,} bytes",
        f"{project.macs_per_step:,}", "`float *x`", "KW_INPUT_SIZE", "[1, time, 8]",
        "`float h_l0[16]`", "KW_STATE_BYTES", "kw_run(&state, x, steps, y)", "NaN",
        "Several instances", "no math library",
    ):  # fmt: skip
        assert expected in text, expected
    assert "emx" not in text


def test_readme_names_nodes_of_emx_and_the_math_library(tmp_path: Path) -> None:
    model = make_model([helper.make_node("Sin", ["x"], ["y"])], {"x": [2, 3]}, {"y": [2, 3]})
    onnx.save(model, tmp_path / "sine.onnx")
    project = generate(tmp_path / "sine.onnx", tmp_path / "c", complete=True)
    assert project.libm
    text = (tmp_path / "c" / "README.md").read_text()
    assert "## Written by emx-onnx-cgen" in text
    assert "- Sin y" in text
    assert "`-lm`" in text
    assert "no math library" not in text
    assert "target_link_libraries(sine PUBLIC m)" in (tmp_path / "c/CMakeLists.txt").read_text()
    assert "REQUIRES_FULL_LIBC" in (tmp_path / "c/zephyr/Kconfig").read_text()


@pytest.mark.parametrize("name", ["test", "install", "all", "Help"])
def test_names_that_cmake_keeps_are_not_targets(name: str) -> None:
    assert cmake_target(name) == f"{name}_network"


# The same input file gives the same bytes

_HASHES = """
import hashlib, sys
from pathlib import Path
from edgernn_exporters.codegen import compile
from functools import partial
from edgernn_runtimes import load
folder = Path(sys.argv[2])
compile(sys.argv[1], folder, complete=True, load=partial(load, target="cpu", threads=1))
for file in sorted(p for p in folder.rglob("*") if p.is_file()):
    print(file.relative_to(folder), hashlib.sha256(file.read_bytes()).hexdigest())
"""


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    plain = write_model(tmp_path / "kw.onnx", layers=2)
    quantize(plain, tmp_path / "kw.int8.onnx", load=open_cpu)
    for path in (plain, tmp_path / "kw.int8.onnx"):
        printed = []
        for seed in ("1", "2"):
            folder = tmp_path / f"{path.stem}-{seed}"
            done = subprocess.run(
                [sys.executable, "-c", _HASHES, str(path), str(folder)],
                env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True,
                check=True,
            )  # fmt: skip
            printed.append(done.stdout)
        assert printed[0] == printed[1]
        assert len(printed[0].splitlines()) > len(PROJECT_FILES)


# Names of files and tensors

EVIL = '*/ #include <wicked>\n" \\ ?'
HOSTILE = [
    EVIL, EVIL + "2", "größe", "размер", "float", "int", "class", "edgernn_tanh", "x" * 300,
    "x" * 300 + "y", "h l", "h_l", "H.L", "1st", "INT8_MAX", "NULL", "stdin", "errno", "step",
    "run", "init", "reset", "forward", "state", "main", "memcpy", "bool", "a", "b", "c", "h", "s",
    "k", "j", "t", "n", "i0", "i1", "steps", "",
]  # fmt: skip


def hostile_model(path: Path) -> None:
    """One GRU with states, weights and an output for each name in turn; and all as inputs."""
    hidden = 3
    rng = np.random.default_rng(0)
    names = [name for name in HOSTILE if name]
    nodes, initializers, values = [], [], {}
    states: list[StateSpec] = []
    inputs, outputs = {}, {}

    def weight(name: str, *shape: int) -> str:
        array = rng.uniform(-0.5, 0.5, shape).astype(np.float32)
        initializers.append(numpy_helper.from_array(array, name))
        return name

    for name in names:
        inputs[name] = ["time", 1, hidden]
        values[f"{name}/sum"] = None
    source = names[0]
    for number, name in enumerate(names[1:]):
        nodes.append(helper.make_node("Add", [source, name], [f"{name}/sum"], name=EVIL + name))
        source = f"{name}/sum"
        if number < 3:
            state, next_state = f"{name}/state", f"{name}/state "
            weights = [weight(f"{name}{w}", 1, 3 * hidden, hidden) for w in "WR"]
            nodes.append(
                helper.make_node("GRU", [source, *weights, "", "", state],
                                 [f"{name}/y", next_state], hidden_size=hidden, name=name + EVIL)
            )  # fmt: skip
            axes = weight(f"{name}-axes", 1)
            initializers[-1].CopyFrom(numpy_helper.from_array(np.array([1]), axes))
            nodes.append(helper.make_node("Squeeze", [f"{name}/y", axes], [f"{name} squeezed"]))
            source = f"{name} squeezed"
            inputs[state] = outputs[next_state] = [1, 1, hidden]
            states.append(StateSpec(state, next_state, 1))
    for name in ("step", EVIL + "out"):
        result = f"{name} result"
        nodes.append(helper.make_node("Mul", [source, weight(f"{name} ", hidden)], [result]))
        outputs[result] = ["time", 1, hidden]
    model = make_model(nodes, inputs, outputs, initializers)
    axes_of = Axes(1, 0)
    fed, returned = {s.input for s in states}, {s.output for s in states}
    contract = Contract(
        tuple(states),
        StreamSpec(
            True,
            {name: axes_of for name in inputs if name not in fed},
            {name: axes_of for name in outputs if name not in returned},
        ),
    )
    helper.set_model_props(model, Metadata(contract).to_props())
    onnx.save(model, path)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a project whose file and tensors have such names."""
    folder = tmp_path_factory.mktemp("hostile")
    path = folder / "kw \"'; #include <wicked> * größe int.onnx"
    hostile_model(path)
    generate(path, folder / "c", complete=True, load=open_cpu)
    return folder / "c"


def test_hostile_names_do_not_reach_the_sources(hostile: Path) -> None:
    for file in hostile.rglob("*"):
        if not file.is_file() or file.name == "manifest.json":
            continue
        text = file.read_text()
        assert text.isascii(), file
        assert "#include <wicked>" not in text, file
        assert "*/ ?" not in text, file


def test_hostile_names_compile_and_pass_the_self_test(hostile: Path) -> None:
    name = next(hostile.glob("*.c")).stem
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow"]
    program = hostile / "selftest"
    sources = [str(hostile / f"{name}.c"), str(hostile / "tests" / "selftest.c")]
    for compiler in ("gcc", "clang"):
        command = [compiler, *flags, "-O1", f"-I{hostile}", *sources, "-o", str(program)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:4000]
        done = subprocess.run([str(program)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["string", "math", "stdio", "test", "time", "float", "é"])
def test_file_names_that_c_needs_itself(name: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / f"{name}.onnx")
    generate(path, tmp_path / "c", complete=True)
    folder, program = tmp_path / "c", str(tmp_path / "selftest")
    sources = [str(next(folder.glob("*.c"))), str(folder / "tests" / "selftest.c")]
    command = ["gcc", "-std=c99", "-Wall", "-Werror", f"-I{folder}", *sources, "-o", program]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:3000]
    assert subprocess.run([program], capture_output=True).returncode == 0
