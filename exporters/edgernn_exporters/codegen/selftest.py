"""The self-test of an emitted project: ``tests/selftest.c`` and its golden vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.c_project import CProject, CTensor
from edgernn_exporters.codegen.golden import Golden
from edgernn_exporters.codegen.loops import literal
from edgernn_exporters.codegen.templates import fill
from edgernn_exporters.codegen.values import C_TYPES

_LINE = 96
_FLOAT = ("float32", "float64")

# What a value of each group of types is compared by; the bits of NaN and infinity differ from
# everything, so equal ones are recognised first.
_COMPARE = """\
/* Return 1 if values are near each other; print the largest error and where it is. */
static int near_{short}(const char *name, const {c_type} *got, const {c_type} *want,
                        size_t count, size_t per_step, double limit, size_t strays)
{{
    double largest = 0.0;
    size_t where = 0, wrong = 0;
    for (size_t i = 0; i < count; ++i) {{
        double error = (double)got[i] - (double)want[i];
        error = error < 0.0 ? -error : error;
        if ({same}) {{
            error = 0.0;
        }}
        if (!(error <= limit)) {{
            wrong += 1;
        }}
        if (largest == largest && !(error <= largest)) {{
            largest = error;
            where = i;
        }}
    }}
    printf("     %s: largest error %.3g at step %lu, element %lu (limit %.3g)\\n", name, largest,
           (unsigned long)(where / per_step), (unsigned long)(where % per_step), limit);
    return wrong <= strays;
}}
"""
_REFUSES = """\
/* Tell whether a bad value of {c_name} is refused and nothing changed. */
static int refuses_{c_name}(uint32_t bits)
{{
    const size_t last = sizeof given.in_{c_name} / sizeof *given.in_{c_name} - 1;
    const float kept = given.in_{c_name}[last];
    int good;
    memcpy(&given.in_{c_name}[last], &bits, sizeof bits);
    memset(&spare, 0x5a, sizeof spare);
    memcpy(&other, &spare, sizeof other);
    memcpy(&saved, &first, sizeof saved);
    good = run(&first, 0, GOLDEN_STEPS, &spare) == 1;
{step}    given.in_{c_name}[last] = kept;
    return good && memcmp(&saved, &first, sizeof saved) == 0 &&
           memcmp(&spare, &other, sizeof spare) == 0;
}}
"""


def selftest_files(project: CProject, golden: Golden) -> dict[str, str]:
    """Return the files of the self-test by path."""
    return {
        "tests/selftest.c": _selftest(project),
        "tests/golden.h": _header(project, golden),
    }


def size_macro(project: CProject, tensor: CTensor) -> str:
    """Return the macro with the number of elements of a tensor."""
    side = "INPUT" if tensor in project.inputs else "OUTPUT"
    group = project.inputs if tensor in project.inputs else project.outputs
    label = side if len(group) == 1 else f"{side}_{tensor.c_name.upper()}"
    return f"{project.name.upper()}_{label}_SIZE"


def _selftest(project: CProject) -> str:
    name, upper = project.name, project.name.upper()
    bad = [tensor for tensor in project.inputs if tensor.dtype == "float32"]
    functions = [_step(project)] if project.causal else []
    functions += [_refusal(project, tensor) for tensor in bad]
    part = "selftest_causal.c" if project.causal else "selftest_whole.c"
    if project.advances:
        part = "selftest_step.c"
    checks = [fill(part, name=name, upper=upper)]
    checks += [
        f"    check(refuses_{t.c_name}(0x7fc00000u) && refuses_{t.c_name}(0x7f800000u),\n"
        f'          "NaN or infinity in {t.c_name} returns 1 and changes nothing");\n'
        for t in bad
    ]
    if project.max_steps is not None:
        checks.append(
            f"    check(run(&first, 0, {upper}_MAX_STEPS + 1, &spare) == 2,\n"
            f'          "more than {upper}_MAX_STEPS steps returns 2");\n'
        )
    return fill(
        "selftest.c",
        name=name,
        compare=_compare(project),
        run=_body(project, "run"),
        functions="\n".join(functions).rstrip() or "/* The model takes no float inputs. */",
        checks="\n".join(checks).rstrip(),
    )


def _compare(project: CProject) -> str:
    """Return the functions that compare outputs: one for each type, and one for all."""
    blocks = [
        _COMPARE.format(
            short=dtype,
            c_type=C_TYPES[dtype],
            same="got[i] == want[i]"
            + (" || (got[i] != got[i] && want[i] != want[i])" if dtype in _FLOAT else ""),
        )
        for dtype in sorted({tensor.dtype for tensor in project.outputs})
    ]
    calls = [
        f'    holds &= near_{t.dtype}("{t.c_name}", got->out_{t.c_name}, want->out_{t.c_name},\n'
        f"                    sizeof got->out_{t.c_name} / sizeof *got->out_{t.c_name}, {t.size},\n"
        f"                    GOLDEN_LIMIT_{t.c_name.upper()}, GOLDEN_STRAYS_{t.c_name.upper()});"
        for t in project.outputs
    ]
    blocks.append("\n".join([
        "static void compare(const char *what, const struct golden_outputs *got,",
        "                    const struct golden_outputs *want)",
        "{",
        "    int holds = 1;",
        *calls,
        "    check(holds, what);",
        "}",
    ]))  # fmt: skip
    return "\n".join(blocks)


def _body(project: CProject, verb: str) -> str:
    """Return the call of ``NAME_run`` or ``NAME_step`` on the golden vectors from ``at`` on."""

    def address(base: str, tensor: CTensor) -> str:
        if tensor.time_axis is None:
            return base
        return f"{base} + at * {size_macro(project, tensor)}"

    arguments = ["state", *(address(f"given.in_{t.c_name}", t) for t in project.inputs)]
    arguments += ["steps"] if verb == "run" and project.has_steps else []
    arguments += [address(f"out->out_{t.c_name}", t) for t in project.outputs]
    lines = []
    if not project.has_steps:
        lines += ["    (void)at;", "    (void)steps;"]
    lines.append(f"    return {project.name}_{verb}({', '.join(arguments)});")
    return "\n".join(lines)


def _step(project: CProject) -> str:
    return "\n".join([
        "/* Run one time step. */",
        f"static int step({project.name}_state *state, size_t at, struct golden_outputs *out)",
        "{",
        _body(project, "step"),
        "}",
        "",
    ])  # fmt: skip


def _refusal(project: CProject, tensor: CTensor) -> str:
    step = "    good = step(&first, GOLDEN_STEPS - 1, &spare) == 1 && good;\n"
    return _REFUSES.format(c_name=tensor.c_name, step=step if project.causal else "")


def _header(project: CProject, golden: Golden) -> str:
    lines = [
        f"/* Golden vectors of {project.name}: inputs, and the outputs of another runtime, time",
        " * outermost. Generated by edgernn. */",
        "#ifndef GOLDEN_H",
        "#define GOLDEN_H",
        "",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        f"#define GOLDEN_STEPS ((size_t){golden.steps})",
        f"#define HALF ((size_t){golden.steps // 2})",
    ]
    for tensor in project.outputs:
        upper = tensor.c_name.upper()
        lines.append(f"#define GOLDEN_LIMIT_{upper} {golden.tolerances[tensor.name]!r}")
        lines.append(f"#define GOLDEN_STRAYS_{upper} {golden.strays[tensor.name]}")
    for side, tensors, arrays in (
        ("in", project.inputs, golden.inputs), ("out", project.outputs, golden.outputs),
    ):  # fmt: skip
        kind = f"golden_{side}puts"
        lines += ["", f"struct {kind} {{"]
        lines += [
            f"    {C_TYPES[t.dtype]} {side}_{t.c_name}[{max(arrays[t.name].size, 1)}];"
            for t in tensors
        ] or ["    uint8_t none;"]
        lines += ["};", "", f"static const struct {kind} {kind} = {{"]
        lines += [_values(t, arrays[t.name]) for t in tensors] or ["    0"]
        lines += ["};"]
    return "\n".join([*lines, "", "#endif", ""])


def _values(tensor: CTensor, array: NDArray[Any]) -> str:
    """Render one tensor, time outermost."""
    if tensor.time_axis is not None:
        array = np.moveaxis(array, tensor.time_axis, 0)
    texts = [_number(value, tensor.dtype) for value in array.reshape(-1)] or ["0"]
    return f"    {{ /* {tensor.c_name} */\n{_wrapped(texts)}\n    }},"


def _number(value: Any, dtype: str) -> str:
    """Render a number; floats with six digits, so that the last bits leave no trace."""
    if dtype in _FLOAT and np.isfinite(value):
        text = f"{float(value):.6g}"
        text = text if "." in text or "e" in text else f"{text}.0"
        return text + ("f" if dtype == "float32" else "")
    return literal(value, dtype)


def _wrapped(texts: Sequence[str]) -> str:
    lines, line = [], "       "
    for text in texts:
        if len(line) + len(text) + 2 > _LINE:
            lines.append(line)
            line = "       "
        line += f" {text},"
    return "\n".join([*lines, line])
