"""Read the C that emx-onnx-cgen writes for one node, and make static functions of it.

What it writes is a file: includes, a few macros, constants, helper functions, one function per
operator, and the entry, which calls those functions in order with multidimensional arrays. Of
that stay the functions that the entry needs, under a prefix of our own; the entry takes plain
pointers, also to what it had as local arrays; constants move to ours, which are aligned, counted
and stored once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from edgernn_exporters.codegen.refusal import NotLoweredError

ENTRY = "network"
MARK = "@"
"""Stands for the prefix, which is chosen last: equal functions are stored once."""

_INCLUDES = {"stdint.h", "stddef.h", "stdbool.h", "string.h", "float.h", "limits.h", "math.h"}
_MACROS = {
    "idx_t": "int32_t",
    "EMX_NODE_FN": "static",
    "EMX_UNUSED": "",
}
# C library function: ours, which gives the same bits on every target.
_OURS = {
    "sqrtf": "edgernn_sqrt",
    "expf": "edgernn_exp",
    "logf": "edgernn_log",
    "erff": "edgernn_erf",
    "tanhf": "edgernn_tanh",
    "fabsf": "edgernn_abs",
}
# C library function: one of the entry's own, so that the math library is seldom needed.
_SMALL = {
    "fmaxf": "(float a, float b)\n{\n    return b > a || a != a ? b : a;\n}",
    "fminf": "(float a, float b)\n{\n    return b < a || a != a ? b : a;\n}",
    "floorf": "(float x)\n{\n"
    "    const float whole = x > -8388608.0f && x < 8388608.0f ? (float)(int32_t)x : x;\n"
    "    return whole > x ? whole - 1.0f : whole;\n}",
    "ceilf": "(float x)\n{\n"
    "    const float whole = x > -8388608.0f && x < 8388608.0f ? (float)(int32_t)x : x;\n"
    "    return whole < x ? whole + 1.0f : whole;\n}",
}
_LIBM = (
    "acosh? asinh? atan[2h]? cbrt ceil copysign cosh? erfc? exp2? expm1 fabs fdim floor fma fmax "
    "fmin fmod frexp hypot ilogb ldexp lgamma ll?rint ll?round log10 log1p log2 logb? modf "
    "nearbyint nextafter pow remainder rint round scalbn sinh? sqrt tanh? tgamma trunc"
)
_LIBM_CALL = re.compile(rf"\b(?:{_LIBM.replace(' ', '|')})f?\s*\(")
_BANNED = re.compile(
    r"\b(malloc|calloc|realloc|free|alloca|printf|fprintf|abort|exit|assert|qsort|rand|goto)\s*\("
    r"|\bstatic\s+(?!const\b|inline\b)(?=\w+[\s*]+\w+\s*[\[;=])"
)
_QUIET = ("conversion", "shadow", "sign-compare", "unused-parameter", "unused-variable",
          "unused-but-set-variable", "float-conversion", "sign-conversion", "type-limits",
          "missing-braces", "unused-const-variable")  # fmt: skip


@dataclass(frozen=True)
class Parameter:
    """A parameter of the entry, or one of its local arrays.

    Attributes:
        name: In C.
        c_type: C element type; ``bool`` for booleans.
        dims: Sizes; ``(1,)`` for a scalar.
    """

    name: str
    c_type: str
    dims: tuple[int, ...]

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.dims)

    @property
    def stored_type(self) -> str:
        """C element type of the memory that is passed."""
        return "uint8_t" if self.c_type == "bool" else self.c_type

    def cast(self, address: str, *, const: bool) -> str:
        """Return the address as what the functions of emx-onnx-cgen take."""
        kind = f"const {self.c_type}" if const else self.c_type
        rest = "".join(f"[{size}]" for size in self.dims[1:])
        if not rest and self.c_type != "bool":
            return address
        return f"(({kind} (*){rest}){address})" if rest else f"(({kind} *){address})"


@dataclass(frozen=True)
class Emitted:
    """C functions for one node.

    Attributes:
        text: The functions; `MARK` stands for the entry's name and the prefix of the others.
        parameters: Inputs and outputs of the entry, in the model's order.
        temporaries: Working memory that it takes after those.
        ours: True if it calls our activation functions.
    """

    text: str
    parameters: tuple[Parameter, ...]
    temporaries: tuple[Parameter, ...]
    ours: bool


@dataclass(frozen=True)
class _Item:
    name: str
    text: str
    is_constant: bool


def adopt(source: str, store: Callable[[str, int], str | None]) -> Emitted:
    """Make static functions of what emx-onnx-cgen wrote.

    Args:
        source: The file, whose entry is called `ENTRY`.
        store: Returns, for an initializer's name and number of elements, the C name of our copy
            of it; None leaves the constant where it is.

    Raises:
        NotLoweredError: It does what generated code here must not: heap, global variables, text.
    """
    includes, code = _without_preprocessor(re.sub(r"/\*.*?\*/|//[^\n]*", "", source, flags=re.S))
    if banned := _BANNED.search(code):
        what = banned.group(1) or "variables that outlive a call"
        raise NotLoweredError(f"the C of emx-onnx-cgen for it uses {what}")
    items = {item.name: item for item in _items(code)}
    if ENTRY not in items:
        raise NotLoweredError("the C of emx-onnx-cgen for it has no entry")
    used = _reachable(items, ENTRY)
    parameters, temporaries, body = _entry(items[ENTRY].text)
    replaced = {p.name: p.cast(p.name, const=p.name.startswith("in_")) for p in parameters}
    replaced |= {t.name: t.cast(t.name, const=False) for t in temporaries}
    kept = []
    for item in items.values():
        if item.name not in used or item.name == ENTRY:
            continue
        address = _stored(item, store)
        if address:
            replaced[item.name] = address
        else:
            replaced[item.name] = f"{MARK}_{item.name}"
            kept.append(item.text)
    signature = ", ".join([
        *(f"const {p.stored_type} *{p.name}" if p.name.startswith("in_")
          else f"{p.stored_type} *{p.name}" for p in parameters),
        *(f"{t.stored_type} *{t.name}" for t in temporaries),
    ])  # fmt: skip
    entry = f"static void {MARK}({signature})\n{{\n{_substituted(body, replaced)}\n}}"
    outside = {key: value for key, value in replaced.items() if key in items}
    functions = [_static(_substituted(text, outside)) for text in kept]
    text = "\n\n".join([*functions, entry])
    changed = _substituted(text, _OURS)
    own = [name for name in _SMALL if re.search(rf"\b{name}\b", text)]
    small = [f"static float {MARK}_{name}{_SMALL[name]}\n" for name in own]
    final = _substituted(changed, {name: f"{MARK}_{name}" for name in own})
    head = [f"#include <{name}>" for name in includes]
    quiet = [f'#pragma GCC diagnostic ignored "-W{name}"' for name in _QUIET]
    return Emitted(
        "\n".join([*head, "#pragma GCC diagnostic push", *quiet, "", *small, final, "",
                   "#pragma GCC diagnostic pop"]),
        tuple(parameters),
        tuple(temporaries),
        ours=changed != text,
    )  # fmt: skip


def needs_libm(functions: Mapping[str, str]) -> bool:
    """Tell whether any of the C functions calls the C math library.

    Example:
        >>> needs_libm({"net_sin": "y[0] = sinf(x[0]);"})
        True
    """
    return any(_LIBM_CALL.search(text) for text in functions.values())


def _without_preprocessor(source: str) -> tuple[list[str], str]:
    """Take out includes, and replace the macros of the fixed preamble."""
    includes, lines = [], []
    for line in source.splitlines():
        if found := re.fullmatch(r"\s*#include <([\w.]+)>\s*", line):
            if found.group(1) not in _INCLUDES:
                raise NotLoweredError(f"the C of emx-onnx-cgen for it needs <{found.group(1)}>")
            includes.append(found.group(1))
        elif line.lstrip().startswith("#"):
            if not re.match(r"\s*#(ifndef|if|else|endif|define)\b", line):
                raise NotLoweredError(f"the C of emx-onnx-cgen for it holds {line.strip()!r}")
        elif line.strip():
            lines.append(line.rstrip())
    code = "\n".join(lines)
    if '"' in code or "'" in code:
        raise NotLoweredError("it handles text")
    code = re.sub(r"^(\s*(?:case\b[^:\n]*|default):)$", r"\1;", code, flags=re.M)  # C99
    for macro, value in _MACROS.items():
        code = re.sub(rf"\b{macro}\b ?", f"{value} " if value else "", code)
    if left := re.search(r"\bEMX_\w+", code):
        raise NotLoweredError(f"the C of emx-onnx-cgen for it uses {left.group(0)}")
    return includes, code


def _items(code: str) -> Iterable[_Item]:
    """Split a file into functions and constants; declarations are dropped."""
    depth, start = 0, 0
    for place, char in enumerate(code):
        depth += (char == "{") - (char == "}")
        if depth or char not in ";}":
            continue
        text = code[start : place + 1].strip()
        head = text.split("{")[0]
        if char == "}" and "=" in head:
            continue  # a constant ends with the semicolon
        start = place + 1
        if char == "}":
            if found := re.search(r"(\w+)\s*\(", head):
                yield _Item(found.group(1), text, is_constant=False)
                continue
        elif text.startswith("extern") or "{" not in text:
            continue
        elif found := re.search(r"(\w+)(?:\[\d+\])+\s*=", head):
            yield _Item(found.group(1), text, is_constant=True)
            continue
        raise NotLoweredError(f"the C of emx-onnx-cgen for it holds {head.strip()[:60]!r}")


def _reachable(items: Mapping[str, _Item], entry: str) -> set[str]:
    found, waiting = {entry}, [entry]
    while waiting:
        words = set(re.findall(r"\w+", items[waiting.pop()].text))
        new = (words & items.keys()) - found
        found |= new
        waiting.extend(sorted(new))
    return found


def _entry(text: str) -> tuple[list[Parameter], list[Parameter], str]:
    """Return parameters, local arrays and the rest of the body."""
    head, _, body = text.partition("{")
    given = re.findall(r"(?:const )?(\w+) (\w+)\[(?:restrict )?(\d+)\]((?:\[\d+\])*)", head)
    parameters = [_parameter(*item) for item in given]
    if len(parameters) != head.count(",") + 1:
        raise NotLoweredError("the C of emx-onnx-cgen for it takes other parameters than tensors")
    temporaries, rest = [], []
    for line in body.rsplit("}", 1)[0].splitlines():
        if found := re.fullmatch(r"\s*(\w+) (\w+)\[(\d+)\]((?:\[\d+\])*);", line):
            temporaries.append(_parameter(*found.groups()))
        elif line.strip():
            rest.append(line)
    return parameters, temporaries, "\n".join(rest)


def _parameter(c_type: str, name: str, first: str, rest: str) -> Parameter:
    dims = (int(first), *map(int, re.findall(r"\d+", rest)))
    return Parameter(name, "bool" if c_type == "_Bool" else c_type, dims)


def _stored(item: _Item, store: Callable[[str, int], str | None]) -> str | None:
    """Return the address of our copy of a constant, as the functions take it."""
    found = re.match(r"const (\w+) weight\d+_(const_\d+)\[(\d+)\]((?:\[\d+\])*)", item.text)
    if not item.is_constant or found is None:
        return None
    c_type, name, first, rest = found.groups()
    constant = _parameter(c_type, name, first, rest)
    address = store(name, constant.size)
    return constant.cast(address, const=True) if address else None


def _substituted(text: str, names: Mapping[str, str]) -> str:
    if not names:
        return text
    return re.sub(rf"\b(?:{'|'.join(names)})\b", lambda m: names[m.group(0)], text)


def _static(text: str) -> str:
    text = re.sub(r"^static inline ", "static ", text)
    return text if text.startswith("static ") else f"static {text}"
