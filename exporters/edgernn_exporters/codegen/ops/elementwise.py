"""Elementwise operators, put off so that chains of them become one loop.

Source: the ONNX operators of these names; older forms take as attributes what newer ones take as
inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from edgernn_exporters.codegen.dims import broadcast
from edgernn_exporters.codegen.expressions import expression
from edgernn_exporters.codegen.loops import literal
from edgernn_exporters.codegen.lowering import Lowering, attributes_of
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.values import C_TYPES

INTEGERS = ("int64", "int32", "int16", "int8", "uint8", "uint16", "uint32")

# Operator: C expression for float32 values, and for integers (None where there is none).
UNARY: dict[str, tuple[str, str | None]] = {
    "Abs": ("edgernn_abs({0})", "edgernn_abs_int({0})"),
    "Neg": ("-({0})", "-({0})"),
    "Sign": ("edgernn_sign({0})", "edgernn_sign_int({0})"),
    "Relu": ("edgernn_relu({0})", "edgernn_max_int({0}, 0)"),
    "Sigmoid": ("edgernn_sigmoid({0})", None),
    "Tanh": ("edgernn_tanh({0})", None),
    "Exp": ("edgernn_exp({0})", None),
    "Log": ("edgernn_log({0})", None),
    "Sqrt": ("edgernn_sqrt({0})", None),
    "Erf": ("edgernn_erf({0})", None),
    "Softplus": ("edgernn_softplus({0})", None),
    "Softsign": ("edgernn_softsign({0})", None),
    "Reciprocal": ("1.0f / {0}", None),
    "Floor": ("edgernn_floor({0})", None),
    "Ceil": ("edgernn_ceil({0})", None),
    "Round": ("edgernn_round_even({0})", None),
    "HardSwish": ("edgernn_hard_swish({0})", None),
    "Mish": ("edgernn_mish({0})", None),
    "BitwiseNot": ("", "~({0})"),
}
BINARY: dict[str, tuple[str, str | None]] = {
    "Add": ("{0} + {1}", "{0} + {1}"),
    "Sub": ("{0} - {1}", "{0} - {1}"),
    "Mul": ("{0} * {1}", "{0} * {1}"),
    "Div": ("{0} / {1}", "edgernn_divide_int({0}, {1})"),
    "PRelu": ("edgernn_leaky_relu({0}, {1})", None),
    "BitwiseAnd": ("", "{0} & {1}"),
    "BitwiseOr": ("", "{0} | {1}"),
    "BitwiseXor": ("", "{0} ^ {1}"),
}
VARIADIC: dict[str, tuple[str, str | None]] = {
    "Min": ("edgernn_min({0}, {1})", "edgernn_min_int({0}, {1})"),
    "Max": ("edgernn_max({0}, {1})", "edgernn_max_int({0}, {1})"),
    "Sum": ("{0} + {1}", None),
    "Mean": ("{0} + {1}", None),
}
COMPARISONS = {
    "Equal": "{0} == {1}",
    "Less": "{0} < {1}",
    "Greater": "{0} > {1}",
    "LessOrEqual": "{0} <= {1}",
    "GreaterOrEqual": "{0} >= {1}",
    "And": "{0} && {1}",
    "Or": "{0} || {1}",
    "Xor": "!({0}) != !({1})",
    "Not": "!({0})",
    "IsNaN": "{0} != {0}",
}
# Operators of one float value with attributes: their defaults and the C expression.
PARAMETRIC: dict[str, tuple[dict[str, float], str]] = {
    "LeakyRelu": ({"alpha": 0.01}, "edgernn_leaky_relu({{0}}, {alpha})"),
    "Elu": ({"alpha": 1.0}, "edgernn_elu({{0}}, {alpha})"),
    "Celu": ({"alpha": 1.0}, "edgernn_celu({{0}}, {alpha})"),
    "Selu": (
        {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
        "edgernn_selu({{0}}, {alpha}, {gamma})",
    ),
    "ThresholdedRelu": ({"alpha": 1.0}, "({{0}} > {alpha} ? {{0}} : 0.0f)"),
    "HardSigmoid": ({"alpha": 0.2, "beta": 0.5}, "edgernn_hard_sigmoid({{0}}, {alpha}, {beta})"),
    "Shrink": ({"lambd": 0.5, "bias": 0.0}, "edgernn_shrink({{0}}, {lambd}, {bias})"),
    "Swish": ({"alpha": 1.0}, "edgernn_swish({{0}}, {alpha})"),
}


def unary(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Emit an operator of one value."""
    code = _typed(lowering, node, UNARY[node.op_type])
    expression(lowering, node, code, [node.input[0]])


def binary(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Emit an operator of two values of one type."""
    code = _typed(lowering, node, BINARY[node.op_type])
    expression(lowering, node, code, list(node.input))


def variadic(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Emit an operator of any number of values, as a chain of two at a time."""
    pair = _typed(lowering, node, VARIADIC[node.op_type])
    code = "{0}"
    for number in range(1, len(node.input)):
        code = pair.replace("{1}", f"{{{number}}}").replace("{0}", code)
    if node.op_type == "Mean":
        code = f"({code}) * {number_of(1 / len(node.input))}"
    expression(lowering, node, code, list(node.input))


def comparison(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Emit an operator whose result is true or false."""
    dtype = lowering.value(node.input[0]).dtype
    if dtype not in C_TYPES:
        raise NotLoweredError(f"it takes {dtype} values")
    expression(lowering, node, COMPARISONS[node.op_type], list(node.input), dtype="bool")


def is_infinite(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Emit IsInf."""
    _typed(lowering, node, ("float", None))
    attributes = attributes_of(node)
    signs = [int(attributes.get(f"detect_{sign}", 1)) for sign in ("negative", "positive")]
    code = f"edgernn_is_infinite({{0}}, {signs[0]}, {signs[1]})"
    expression(lowering, node, code, [node.input[0]], dtype="bool")


def where(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Emit Where."""
    condition, yes, no = node.input
    dtype = lowering.value(yes).dtype
    expression(lowering, node, "({0} ? {1} : {2})", [condition, yes, no], dtype=dtype)


def parametric(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Emit an operator of one float value with attributes."""
    defaults, code = PARAMETRIC[node.op_type]
    attributes = attributes_of(node)
    values = {name: number_of(attributes.get(name, value)) for name, value in defaults.items()}
    text = _typed(lowering, node, (code.format(**values), None))
    expression(lowering, node, text, [node.input[0]])


def gelu(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Emit Gelu, exact or by tanh."""
    kinds = {"none": "edgernn_gelu({0})", "tanh": "edgernn_gelu_tanh({0})"}
    kind = attributes_of(node).get("approximate", "none")
    if kind not in kinds:
        raise NotLoweredError(f"its approximation {kind!r} is unknown")
    expression(lowering, node, _typed(lowering, node, (kinds[kind], None)), [node.input[0]])


def clip(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Emit Clip; limits are attributes up to opset 10, then optional inputs."""
    inputs, code = [node.input[0]], "{0}"
    attributes = attributes_of(node)
    floats = lowering.value(node.input[0]).dtype == "float32"
    for place, (name, function) in enumerate((("min", "max"), ("max", "min")), start=1):
        limit = None
        if name in attributes:
            limit = number_of(attributes[name])
        elif len(node.input) > place and node.input[place]:
            limit = f"{{{len(inputs)}}}"
            inputs.append(node.input[place])
        if limit is not None:
            code = f"edgernn_{function}{'' if floats else '_int'}({code}, {limit})"
    if code == "{0}":
        lowering.define(node.output[0], lowering.value(node.input[0]))
        return
    _typed(lowering, node, (code, code))
    expression(lowering, node, code, inputs)


def power(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Emit Pow; common constant exponents are products and roots."""
    base, exponent = node.input
    constant = lowering.constant(exponent)
    if lowering.value(base).dtype != "float32":
        raise NotLoweredError(f"it takes {lowering.value(base).dtype} values")
    if constant is not None and constant.size == 1:
        short = _POWERS.get(float(constant.reshape(-1)[0]))
        shape = lowering.shape(base)
        if short is not None and broadcast(shape, tuple(constant.shape)) == shape:
            expression(lowering, node, short, [base])
            return
    kind = lowering.value(exponent).dtype
    if kind not in ("float32", *INTEGERS):
        raise NotLoweredError(f"its exponent is {kind}")
    code = "edgernn_pow({0}, {1})" if kind == "float32" else "edgernn_pow({0}, (float)({1}))"
    expression(lowering, node, code, [base, exponent])


_POWERS = {
    2.0: "edgernn_square({0})",
    3.0: "edgernn_cube({0})",
    0.5: "edgernn_sqrt({0})",
    -0.5: "1.0f / edgernn_sqrt({0})",
    -1.0: "1.0f / {0}",
    -2.0: "1.0f / edgernn_square({0})",
}


def modulo(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Emit Mod: the sign is the divisor's, or the dividend's with ``fmod``."""
    fmod = attributes_of(node).get("fmod", 0)
    integer = "edgernn_remainder_int({0}, {1})" if fmod else "edgernn_modulo_int({0}, {1})"
    code = _typed(lowering, node, ("edgernn_remainder({0}, {1})", integer))
    expression(lowering, node, code, list(node.input))


def number_of(value: Any) -> str:
    """Render a float32 literal."""
    return literal(np.float32(value), "float32")


def _typed(lowering: Lowering, node: onnx.NodeProto, codes: tuple[str, str | None]) -> str:
    """Choose the expression for the type of a node's inputs.

    Raises:
        NotLoweredError: There is none.
    """
    dtype = lowering.value(node.input[0]).dtype
    code = codes[0] if dtype == "float32" else codes[1] if dtype in INTEGERS else None
    if not code:
        raise NotLoweredError(f"it takes {dtype} values")
    return code


Lower = Callable[[Lowering, onnx.NodeProto], None]

LOWERINGS: dict[str, Lower] = {
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(BINARY, binary),
    **dict.fromkeys(VARIADIC, variadic),
    **dict.fromkeys(COMPARISONS, comparison),
    **dict.fromkeys(PARAMETRIC, parametric),
    "Clip": clip,
    "Gelu": gelu,
    "IsInf": is_infinite,
    "Mod": modulo,
    "Pow": power,
    "Where": where,
}
