"""Files that let one set of sources be a CMake project, an Arduino library and a Zephyr module.

The sources lie in the folder itself: Arduino compiles the root of a library that has no ``src/``,
and none of its other folders, so the self-test lies in ``tests/``.
"""

from __future__ import annotations

import math

from edgernn.c_project import CProject, CTensor
from edgernn_exporters.codegen.literals import unit_text
from edgernn_exporters.codegen.selftest import size_macro
from edgernn_exporters.codegen.templates import fill
from edgernn_exporters.codegen.values import C_TYPES

# Names that CMake keeps for itself.
_CMAKE_TARGETS = frozenset(
    ("all", "clean", "depend", "edit_cache", "help", "install", "list_install_components",
     "package", "package_source", "preinstall", "rebuild_cache", "test")
)  # fmt: skip
_EXAMPLE_PAUSE_MS = 10


def cmake_target(name: str) -> str:
    """Return the name of the library's CMake target: ``name``, unless CMake needs that itself.

    Example:
        >>> cmake_target("kw"), cmake_target("test")
        ('kw', 'test_network')
    """
    return f"{name}_network" if name.lower() in _CMAKE_TARGETS else name


def cmake_files(project: CProject, *, tests: bool) -> dict[str, str]:
    """Return ``CMakeLists.txt``, with the self-test if there is one."""
    target = cmake_target(project.name)
    content = fill(
        "CMakeLists.txt",
        name=project.name,
        target=target,
        native="ON" if project.target == "native" else "OFF",
        libraries=f"target_link_libraries({target} PUBLIC m)\n" if project.libm else "",
        tests=fill("CMakeTests.txt", target=target) if tests else "",
    )
    return {"CMakeLists.txt": content.rstrip() + "\n"}


def arduino_files(project: CProject) -> dict[str, str]:
    """Return what makes the folder an Arduino library, with an example sketch."""
    name = project.name
    verbs = ["init", "reset", *(["step"] if project.causal else []), "run"]
    keywords = [f"{name}_state\tKEYWORD1", *(f"{name}_{verb}\tKEYWORD2" for verb in verbs)]
    return {
        "library.properties": fill("library.properties", name=name),
        "keywords.txt": "\n".join(keywords) + "\n",
        f"examples/{name}/{name}.ino": _sketch(project),
    }


def zephyr_files(project: CProject) -> dict[str, str]:
    """Return what makes the folder a Zephyr module."""
    values = {
        "name": project.name,
        "upper": project.name.upper(),
        "select": "\n\tselect REQUIRES_FULL_LIBC" if project.libm else "",
        "weight_bytes": project.weight_bytes,
        "struct_bytes": project.state_bytes + project.scratch_bytes,
    }
    files = ("module.yml", "CMakeLists.txt", "Kconfig")
    return {f"zephyr/{file}": fill(f"zephyr/{file}", **values) for file in files}


def example_call(project: CProject) -> str:
    """Return a call of the main function, on variables named like the tensors."""
    verb = "step" if project.causal else "run"
    arguments = ["&state", *(tensor.c_name for tensor in project.inputs)]
    arguments += [f"{project.name.upper()}_MAX_STEPS"] if _whole(project) else []
    arguments += [tensor.c_name for tensor in project.outputs]
    return f"{project.name}_{verb}({', '.join(arguments)})"


def example_buffers(project: CProject) -> list[str]:
    """Return declarations of the variables that `example_call` uses."""
    lines = []
    for tensor in (*project.inputs, *project.outputs):
        size = size_macro(project, tensor)
        if _whole(project) and tensor.time_axis is not None:
            size += f" * {project.name.upper()}_MAX_STEPS"
        lines.append(f"static {C_TYPES[tensor.dtype]} {tensor.c_name}[{size}];")
    return lines


def shape_text(tensor: CTensor) -> str:
    """Return a tensor's shape in the model for people.

    Example:
        >>> shape_text(CTensor("x", "x", "float32", (1, "time", 40), 1, 40))
        '[1, time, 40]'
    """
    return f"[{', '.join(str(size) for size in tensor.shape)}]"


def _whole(project: CProject) -> bool:
    return project.has_steps and not project.causal


def _sketch(project: CProject) -> str:
    shown = project.outputs[0]
    cast = f"(long){shown.c_name}[0]" if "int" in shown.dtype else f"{shown.c_name}[0]"
    return fill(
        "example.ino",
        name=project.name,
        buffers="\n".join(example_buffers(project)),
        given=" and ".join(tensor.c_name for tensor in project.inputs) or "the inputs",
        call=example_call(project),
        shown=cast,
        pause=_EXAMPLE_PAUSE_MS,
    )


def state_rows(project: CProject) -> list[str]:
    """Return the states as rows of a Markdown table."""
    return [
        f"| state | `{C_TYPES[s.dtype]} {s.c_name}[{math.prod(s.shape)}]` | {math.prod(s.shape)} | "
        f"{list(s.shape)}{'' if s.scale is None else f', one unit is {unit_text(s.scale)}'} |"
        for s in project.states
    ]
