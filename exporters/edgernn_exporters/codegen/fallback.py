"""Nodes without a kernel here: each goes, alone, to emx-onnx-cgen, which knows nearly all of ONNX.

Recurrent operators never go there: the outputs of its LSTM and GRU are wrong for every direction
but the forward one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgernn_exporters.codegen.dims import render
from edgernn_exporters.codegen.emx_source import ENTRY, MARK, Emitted, Parameter, adopt
from edgernn_exporters.codegen.lowering import Lowering
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.single_node import (
    SingleNode,
    TensorType,
    captured,
    declare_outputs,
    infer_outputs,
    inner_operators,
    isolate,
    one_line,
)
from edgernn_exporters.codegen.values import C_TYPES, Constant, Tensor
from edgernn_exporters.quantization.functions import DOMAIN

_RECURRENT = {"LSTM", "GRU", "RNN", "AttnLSTM", "DynamicQuantizeLSTM"}
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
           "Multinomial", "Bernoulli"}  # fmt: skip
# What emx-onnx-cgen 1.4.0 leaves out without a word: operator to attribute or place of the input.
_IGNORED: dict[str, tuple[str | int, ...]] = {
    "Attention": (6,),  # nonpad_kv_seqlen
    "SpaceToDepth": ("mode",),
}
_DTYPES = {"float": "float32", "double": "float64", "bool": "bool"}


def emx_fallback(lowering: Lowering, node: onnx.NodeProto, model: onnx.ModelProto) -> None:
    """Turn one node into C with emx-onnx-cgen, and call that from the plan.

    Called while the refusal of the kernel is handled, which is named as well if this cannot help
    either.

    Args:
        lowering: Where to.
        node: A node of the graph.
        model: The whole model.

    Raises:
        NotLoweredError: emx-onnx-cgen cannot do it, must not, or is not installed.
    """
    refusal = sys.exception()
    try:
        _lower(lowering, node, model)
    except NotLoweredError as error:
        if not isinstance(refusal, NotLoweredError):
            raise
        timed = error.timed or refusal.timed
        raise NotLoweredError(f"{refusal}; {error}", timed=timed) from None


def _lower(lowering: Lowering, node: onnx.NodeProto, model: onnx.ModelProto) -> None:
    if node.domain == DOMAIN or inner_operators(node) & _RECURRENT:
        raise NotLoweredError("emx-onnx-cgen is not asked for recurrent operators")
    if node.op_type == "Scan":
        raise NotLoweredError("emx-onnx-cgen would write its body once for every step")
    if inner_operators(node) & _RANDOM:
        raise NotLoweredError("it draws random numbers")
    given = {attribute.name for attribute in node.attribute}
    for what in _IGNORED.get(node.op_type, ()) if node.domain in ("", "ai.onnx") else ():
        if what in given or (isinstance(what, int) and node.input[what:] and node.input[what]):
            raise NotLoweredError(f"emx-onnx-cgen ignores its {_named(node, what)}")
    single = _isolated(lowering, node, model)
    known = infer_outputs(single)
    text = _written(single, known, next(iter(_tensors(lowering, single.inputs).values()), None))
    _call(lowering, node, single, adopt(text, _Store(lowering, single.constants)), known)


def _named(node: onnx.NodeProto, what: str | int) -> str:
    if isinstance(what, str):
        return f"attribute {what!r}"
    return f"input {onnx.defs.get_schema(node.op_type).inputs[what].name!r}"


class _Store:
    """Keeps the constants that emx-onnx-cgen's functions read among those of the file."""

    def __init__(self, lowering: Lowering, constants: Any) -> None:
        self._lowering, self._constants = lowering, constants

    def __call__(self, name: str, size: int) -> str | None:
        array: NDArray[Any] | None = self._constants.get(name)
        if array is None or array.size != size:
            return None
        return self._lowering.weight(f"emx_{name}", array)


def _isolated(lowering: Lowering, node: onnx.NodeProto, model: onnx.ModelProto) -> SingleNode:
    names = [name for name in dict.fromkeys([*node.input, *captured(node)]) if name]
    for name in names:
        if not lowering.known(name):
            raise NotLoweredError(f"it reads {name!r}, which could not be computed")
    constants = {
        name: value.array for name in names if isinstance(value := lowering.value(name), Constant)
    }
    fed = tuple(name for name in names if name not in constants)
    return isolate(node, _tensors(lowering, fed), constants, model)


def _tensors(lowering: Lowering, names: tuple[str, ...]) -> dict[str, TensorType]:
    found = {}
    for name in names:
        value = lowering.tensor(name)
        sizes = tuple(size for size in value.shape if isinstance(size, int))
        if len(sizes) != len(value.shape):
            raise NotLoweredError(
                f"emx-onnx-cgen takes fixed sizes only, not {render(value.shape)}", timed=True
            )
        found[name] = (value.dtype, sizes)
    return found


def _written(
    single: SingleNode, known: Sequence[TensorType | None], first: TensorType | None
) -> str:
    """Return what emx-onnx-cgen writes for a model.

    Where ONNX has no rule for an output, emx-onnx-cgen's own is used, or else it is asked whether
    the form of the first input will do.
    """
    dtype, shape = first or ("float32", ())
    declare_outputs(single, [item or (dtype, None) for item in known])
    try:
        return _compiled(single.model)
    except NotLoweredError:
        if None not in known or first is None:
            raise
    declare_outputs(single, [item or (dtype, shape) for item in known])
    return _compiled(single.model)


def _compiled(model: onnx.ModelProto) -> str:
    compiler, expected = _compiler()
    try:
        text: str = compiler.compile(model)
    except expected as error:
        raise NotLoweredError(f"emx-onnx-cgen: {one_line(error)}") from None
    except Exception as error:  # its own defects must not end the whole compilation
        kind = type(error).__name__
        raise NotLoweredError(f"emx-onnx-cgen fails with {kind}: {one_line(error)}") from None
    return text


def _compiler() -> tuple[Any, type[Exception]]:
    """Return the compiler and its error; an optional package without type information."""
    try:
        errors = import_module("emx_onnx_cgen.errors")
        package = import_module("emx_onnx_cgen.compiler")
    except ImportError:
        raise NotLoweredError(
            "emx-onnx-cgen, which may know it, is not installed: pip install 'edgernn[embedded]'"
        ) from None
    return _made(package), errors.CompilerError


@cache
def _made(package: Any) -> Any:
    """Make a compiler; the first takes a second."""
    options = package.CompilerOptions(
        model_name=ENTRY,
        large_temp_threshold_bytes=0,  # no heap
        large_weight_threshold=0,  # all constants in the source
    )
    return package.Compiler(options)


def _call(
    lowering: Lowering,
    node: onnx.NodeProto,
    single: SingleNode,
    emitted: Emitted,
    known: Sequence[TensorType | None],
) -> None:
    """Call the functions with the plan's buffers."""
    given = [lowering.tensor(name) for name in single.inputs]
    places = {p.name: p for p in emitted.parameters}
    results = []
    for number, (name, spec) in enumerate(zip(single.outputs, known, strict=True)):
        parameter = places.get(f"out_{number}")
        if parameter is None:
            raise NotLoweredError("emx-onnx-cgen leaves out one of its results")
        dtype, shape = spec or (_dtype_of(parameter), parameter.dims)
        if C_TYPES.get(dtype) != parameter.stored_type or parameter.size != int(np.prod(shape)):
            raise NotLoweredError(
                f"emx-onnx-cgen gives its result as {parameter.c_type} {list(parameter.dims)}, "
                f"not {dtype} {list(shape)}"
            )
        results.append(lowering.destination(name, shape, dtype))
    working = [
        lowering.scratch(f"emx_{number}", t.dims, _dtype_of(t))
        for number, t in enumerate(emitted.temporaries)
    ]
    order = {f"in_{number}": value for number, value in enumerate(given)}
    order |= {f"out_{number}": value for number, value in enumerate(results)}
    arguments = [*(order[p.name].c for p in emitted.parameters), *(w.c for w in working)]
    if emitted.ours:
        lowering.headers.add("edgernn_activations.h")
    function = _function(lowering, node, emitted.text)
    lowering.emit(
        f"{lowering.comment(node)}\n{function}({', '.join(arguments)});",
        reads=given,
        writes=[*results, *working],
    )
    for name, value in zip(single.outputs, results, strict=True):
        lowering.define(name, Tensor(value.buffer, value.shape, value.dtype))


def _dtype_of(parameter: Parameter) -> str:
    return _DTYPES.get(parameter.c_type, parameter.c_type.removesuffix("_t"))


def _function(lowering: Lowering, node: onnx.NodeProto, text: str) -> str:
    """Store the functions, unless the same are there under another name; return the name."""
    for name, stored in lowering.functions.items():
        if stored == text.replace(MARK, name):
            return name
    short = lowering.weight_names.unique(f"emx_{node.op_type.lower()}")
    name = f"{lowering.prefix}_{short}"
    lowering.functions[name] = text.replace(MARK, name)
    return name
