"""Emitted folders in real build systems: CMake with two compilers, sanitizers, Arduino, Zephyr."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnx
import pytest
import yaml
from helpers.graphs import draw_parameters as draw
from helpers.graphs import make_model, recurrent_model, tensor
from helpers.models import write_model
from onnx import helper

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.metadata import Metadata
from edgernn_exporters.codegen import compile as generate
from edgernn_exporters.quantization import quantize
from edgernn_runtimes import load

open_cpu = partial(load, target="cpu", threads=1)
WARNINGS = ["-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wshadow"]
SANITIZE = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
CORTEX_M4 = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"]


def run(command: list[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def check(command: list[str], folder: Path | None = None) -> str:
    done = run(command, folder)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def write_causal(path: Path) -> None:
    write_model(path, layers=2)


def write_quantized(path: Path) -> None:
    plain = write_model(path.with_suffix(".plain.onnx"), cell="lstm")
    quantize(plain, path, load=open_cpu)


def write_both_directions(path: Path) -> None:
    write_model(path, cell="lstm", bidirectional=True)


def write_fixed_steps(path: Path) -> None:
    """An operator by emx-onnx-cgen in a model that looks ahead: so many steps and no others."""
    model = onnx.load(write_model(path, bidirectional=True))
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node("Sin", ["before"], ["y"]))
    onnx.save(model, path)


def write_ids(path: Path) -> None:
    write_model(path, embedding=11)


def write_without_time(path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Tanh", ["m"], ["y"])]
    weights = [tensor("w", draw("rnn", inputs=5, hidden=3).w[0].T)]
    onnx.save(make_model(nodes, {"x": [1, 5]}, {"y": [1, 3]}, weights), path)


def write_several(path: Path) -> None:
    """Two inputs, one of them without time; a result per step, one at the end, and integers."""
    model = recurrent_model("gru", draw("gru", inputs=5, hidden=6), linear_before_reset=1)
    graph = model.graph
    graph.node.append(helper.make_node("Squeeze", ["y", "one"], ["flat"]))
    graph.node.append(helper.make_node("Add", ["flat", "bias"], ["out"]))
    graph.node.append(helper.make_node("Relu", ["bias"], ["last"]))
    graph.initializer.append(tensor("one", [1]))
    value, floats = helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph.input.append(value("bias", floats, [1, 6]))
    del graph.output[0]
    graph.output.append(value("out", floats, ["time", "batch", 6]))
    graph.output.append(value("last", floats, [1, 6]))
    axes, still = Axes(1, 0), Axes(0, None)
    contract = Contract(
        (StateSpec("h", "hk", 1),),
        StreamSpec(True, {"x": axes, "bias": still}, {"out": axes, "last": still}),
    )
    helper.set_model_props(model, Metadata(contract).to_props())
    onnx.checker.check_model(model)
    onnx.save(model, path)


MODELS: dict[str, Callable[[Path], None]] = {
    "causal": write_causal,
    "quantized": write_quantized,
    "both_directions": write_both_directions,
    "fixed_steps": write_fixed_steps,
    "ids": write_ids,
    "without_time": write_without_time,
    "several": write_several,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return what writes the project of a model, once for each target."""
    folder = tmp_path_factory.mktemp("projects")

    def make(name: str, target: str = "native") -> Path:
        place = folder / target / name
        if not place.exists():
            path = folder / f"{name}.onnx"
            if not path.exists():
                MODELS[name](path)
            place.parent.mkdir(exist_ok=True)
            generate(path, place, target=target, complete=True, load=open_cpu)
        return place

    return make


def build_selftest(folder: Path, output: Path, compiler: list[str]) -> None:
    sources = [str(folder / f"{folder.name}.c"), str(folder / "tests" / "selftest.c")]
    check([*compiler, "-std=c99", "-ffp-contract=off", f"-I{folder}", *sources, "-o", str(output),
           *(["-lm"] if "fixed" in folder.name else [])])  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_self_test_passes_without_warnings_under_sanitizers(
    name: str, project: Callable[..., Path], tmp_path: Path
) -> None:
    program = tmp_path / "selftest"
    build_selftest(project(name), program, ["gcc", "-O1", *WARNINGS, *SANITIZE])
    output = check([str(program)])
    assert "FAIL" not in output
    assert "ok   run gives the golden outputs" in output
    assert ("NaN or infinity" in output) == (name != "ids")
    assert ("step returns 0" in output) == (name in ("causal", "quantized", "ids", "several"))


@pytest.mark.parametrize("name", ["causal", "quantized", "both_directions"])
def test_self_test_passes_with_layouts_of_other_targets(
    name: str, project: Callable[..., Path], tmp_path: Path
) -> None:
    for target in ("cortex-m4", "cortex-m55"):
        program = tmp_path / target
        build_selftest(project(name, target), program, ["clang", "-O1", *WARNINGS])
        check([str(program)])


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("options", [[], ["-DEDGERNN_PORTABLE=ON", "-DEDGERNN_NATIVE=OFF"]])
def test_cmake_builds_and_tests_the_folder(
    compiler: str, options: list[str], project: Callable[..., Path], tmp_path: Path
) -> None:
    folder = project("causal" if compiler == "gcc" else "quantized")
    compilers = [f"-DCMAKE_C_COMPILER={compiler}", "-DEDGERNN_WERROR=ON"]
    check(["cmake", "-S", str(folder), "-B", "b", *compilers, *options], tmp_path)
    built = check(["cmake", "--build", "b", "--verbose"], tmp_path)
    assert "-O3" in built
    assert "-ffp-contract=off" in built
    assert ("-march=native" in built) == (not options)
    assert ("-DEDGERNN_PORTABLE" in built) == bool(options)
    tested = check(["ctest", "--test-dir", "b"], tmp_path)
    assert "100% tests passed, 0 tests failed out of 1" in tested


@pytest.mark.parametrize("name", ["causal", "quantized"])
def test_corrupted_weight_fails_the_self_test(
    name: str, project: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / name
    shutil.copytree(project(name), folder)
    source = folder / f"{name}.c"
    text = source.read_text()
    kind, value = ("int8_t", "-127") if name == "quantized" else ("float", "9.0f")
    place = text.index(f"static const {kind} ")
    start = text.index("{", place) + 1
    end = text.index(",", text.index(",", start) + 1)
    source.write_text(f"{text[:start]} {value}, {value}{text[end:]}")
    program = tmp_path / "selftest"
    build_selftest(folder, program, ["gcc", "-O1"])
    done = run([str(program)])
    assert done.returncode == 1
    assert re.search(r"y: largest error [0-9.e-]+ at step \d+", done.stdout)
    assert "FAIL run gives the golden outputs" in done.stdout
    assert "ok   single steps give what run gives" in done.stdout


def test_two_projects_link_into_one_program(project: Callable[..., Path], tmp_path: Path) -> None:
    names = ["causal", "several"]
    lists = [
        "cmake_minimum_required(VERSION 3.16)", "project(two C)",
        *(f"add_subdirectory({project(name)} {name})" for name in names),
        "add_executable(two main.c)", f"target_link_libraries(two {' '.join(names)})",
    ]  # fmt: skip
    (tmp_path / "CMakeLists.txt").write_text("\n".join(lists) + "\n")
    (tmp_path / "main.c").write_text(
        '#include "causal.h"\n#include "several.h"\n'
        "static causal_state a;\nstatic several_state b;\n"
        "int main(void)\n{\n    causal_init(&a);\n    several_init(&b);\n    return 0;\n}\n"
    )
    check(["cmake", "-B", "b"], tmp_path)
    check(["cmake", "--build", "b"], tmp_path)
    check([str(tmp_path / "b" / "two")])
    assert not list(tmp_path.rglob("*_selftest"))  # tests are built by the folder alone


# Bare metal

PICOLIBC = ["--specs=picolibc.specs", "--oslib=semihost", "--crt0=hosted",
            "-Wl,--defsym=__stack_size=0x4000", "-Wl,--defsym=__flash=0",
            "-Wl,--defsym=__flash_size=0x400000", "-Wl,--defsym=__ram=0x20000000",
            "-Wl,--defsym=__ram_size=0x400000"]  # fmt: skip
QEMU = ["qemu-system-arm", "-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none",
        "-semihosting-config", "enable=on,target=native", "-kernel"]  # fmt: skip


@pytest.mark.slow
def test_self_test_passes_on_an_emulated_core(project: Callable[..., Path], tmp_path: Path) -> None:
    program = tmp_path / "selftest.elf"
    folder = project("quantized", "cortex-m4")
    build_selftest(folder, program, ["arm-none-eabi-gcc", "-O2", *CORTEX_M4, *PICOLIBC])
    done = run([*QEMU, str(program)])  # prints to stderr
    assert (done.returncode, done.stdout) == (0, "")
    assert "quantized: 0 of the checks failed" in done.stderr


# Arduino

ARDUINO_H = """\
#pragma once
#include <stddef.h>
#include <stdint.h>
#define INPUT 0x0
#define OUTPUT 0x1
struct Port {
    void begin(unsigned long) {}
    void println(const char *) {}
    void println(double) {}
    void println(long) {}
};
static Port Serial;
static inline void delay(unsigned long) {}
void setup();
void loop();
"""


@pytest.mark.parametrize("name", ["causal", "both_directions", "ids"])
def test_arduino_library_compiles(name: str, project: Callable[..., Path], tmp_path: Path) -> None:
    """As arduino-cli does: the sketch as C++, C files of the library's root with gnu11."""
    folder = project(name, "cortex-m4")
    properties = dict(
        line.split("=", 1) for line in (folder / "library.properties").read_text().splitlines()
    )
    assert properties["name"] == name
    required = {"name", "version", "author", "maintainer", "sentence", "paragraph", "category",
                "url", "architectures", "includes"}  # fmt: skip
    assert set(properties) == required
    assert not (folder / "src").exists()
    (tmp_path / "Arduino.h").write_text(ARDUINO_H)
    sketch = folder / "examples" / name / f"{name}.ino"
    (tmp_path / "sketch.cpp").write_text(f"#include <Arduino.h>\n{sketch.read_text()}")
    common = ["-Os", "-ffunction-sections", "-fdata-sections", *CORTEX_M4, f"-I{folder}", "-c"]
    sketch_flags = ["-std=gnu++17", "-fno-exceptions", "-fno-rtti", "-Wall", "-Wextra", "-Werror"]
    sketch_flags += [f"-I{tmp_path}", *common]
    check(["arm-none-eabi-g++", *sketch_flags, "sketch.cpp", "-o", "sketch.o"], tmp_path)
    sources = sorted(folder.glob("*.c*"))
    assert [source.name for source in sources] == [f"{name}.c"]
    check(["arm-none-eabi-gcc", "-std=gnu11", *WARNINGS, *common, str(sources[0]), "-o", "net.o"],
          tmp_path)  # fmt: skip
    check(["arm-none-eabi-ld", "-r", "sketch.o", "net.o", "-o", "all.o"], tmp_path)
    missing = check(["arm-none-eabi-nm", "--undefined-only", "all.o"], tmp_path).split()
    assert not [word for word in missing if word.startswith(name)]
    assert not {"malloc", "free", "expf", "tanhf", "printf"} & set(missing)
    changing = check(["arm-none-eabi-nm", "net.o"], tmp_path)
    assert not re.search(r" [bBdDC] ", changing)  # no variables, only constants and functions


# Zephyr

ZEPHYR = """\
cmake_minimum_required(VERSION 3.16)
project(app C)
function(zephyr_library_named name)
    add_library(${{name}} STATIC)
    set(ZEPHYR_CURRENT_LIBRARY ${{name}} PARENT_SCOPE)
endfunction()
function(zephyr_library_sources)
    target_sources(${{ZEPHYR_CURRENT_LIBRARY}} PRIVATE ${{ARGN}})
endfunction()
function(zephyr_library_compile_options)
    target_compile_options(${{ZEPHYR_CURRENT_LIBRARY}} PRIVATE ${{ARGN}})
endfunction()
function(zephyr_include_directories)
    include_directories(${{ARGN}})
    target_include_directories(${{ZEPHYR_CURRENT_LIBRARY}} PUBLIC ${{ARGN}})
endfunction()
set(CONFIG_EDGERNN_CAUSAL {value})
add_subdirectory({folder} module)
if(TARGET causal)
    add_executable(app main.c)
    target_link_libraries(app causal)
endif()
"""


def test_zephyr_module_describes_itself(project: Callable[..., Path]) -> None:
    folder = project("causal")
    module = yaml.safe_load((folder / "zephyr" / "module.yml").read_text())
    assert module == {
        "name": "causal", "build": {"cmake": "zephyr", "kconfig": "zephyr/Kconfig"},
    }  # fmt: skip
    assert (folder / module["build"]["cmake"] / "CMakeLists.txt").exists()
    kconfig = (folder / module["build"]["kconfig"]).read_text()
    assert re.search(
        r'^config EDGERNN_CAUSAL\n\tbool ".*"\n\timply FPU\n\thelp\n\t  ', kconfig, re.M
    )


@pytest.mark.parametrize("value", ["y", ""])
def test_zephyr_module_is_built_if_it_is_chosen(
    value: str, project: Callable[..., Path], tmp_path: Path
) -> None:
    """Real CMake, with the functions of Zephyr's build system replaced by plain ones."""
    text = ZEPHYR.format(value=value, folder=project("causal") / "zephyr")
    (tmp_path / "CMakeLists.txt").write_text(text)
    (tmp_path / "main.c").write_text(
        '#include "causal.h"\nint main(void)\n{\n    static causal_state s;\n'
        "    causal_init(&s);\n    return 0;\n}\n"
    )
    check(["cmake", "-B", "b"], tmp_path)
    check(["cmake", "--build", "b"], tmp_path)
    assert (tmp_path / "b" / "app").exists() == bool(value)
