"""What each operator does to the axes of its inputs."""

from __future__ import annotations

import onnx

from edgernn_exporters.causal.framewise import REDUCTIONS
from edgernn_exporters.onnx_import.axes import BATCH, NONE, TIME, Axis, Flow, Rule
from edgernn_exporters.onnx_import.axes_views import VIEWS
from edgernn_exporters.onnx_import.editing import label
from edgernn_exporters.onnx_import.slots import is_forward
from edgernn_exporters.onnx_nodes import attributes

_AHEAD = "it looks at other time steps than the present, and earlier ones are not kept in a cache"


def _elementwise(flow: Flow, node: onnx.NodeProto) -> None:
    operands = [flow.of(name) for name in node.input if name]
    if any(axes is None for axes in operands):
        return
    known = [axes for axes in operands if axes is not None]
    rank = max(len(axes) for axes in known)
    total = [NONE] * rank
    fixed = [1] * rank
    for name, axes in zip(filter(None, node.input), known, strict=True):
        shape = flow.shapes.get(name, (1,) * len(axes))
        for at, (axis, size) in enumerate(zip(axes, shape, strict=True), rank - len(axes)):
            total[at] = flow.join(total[at], axis, node)
            fixed[at] = fixed[at] if axis.atoms else max(fixed[at], size)
    for axis, size in zip(total, fixed, strict=True):
        if size > 1:
            flow.pin(axis, node, f"it has an operand of fixed size {size}")
    flow.set(node.output[0], total)


def _like_first(flow: Flow, node: onnx.NodeProto) -> None:
    axes = flow.of(node.input[0])
    if axes is not None:
        flow.set(node.output[0], axes)


def _matmul(flow: Flow, node: onnx.NodeProto) -> None:
    left, right = flow.of(node.input[0]), flow.of(node.input[1])
    if left is None or right is None or min(len(left), len(right)) < 2:
        return
    for axis in (left[-1], right[-2]):
        _meets(flow, axis, node)
    outer = max(len(left), len(right)) - 2
    total = [
        flow.join(a, b, node)
        for a, b in zip(
            (NONE,) * (outer - len(left) + 2) + left[:-2],
            (NONE,) * (outer - len(right) + 2) + right[:-2],
            strict=True,
        )
    ]
    flow.set(node.output[0], [*total, left[-2], right[-1]])


def _gemm(flow: Flow, node: onnx.NodeProto) -> None:
    given = attributes(node)
    left, right = flow.of(node.input[0]), flow.of(node.input[1])
    if left is None or right is None:
        return
    rows, inner = left[::-1] if given.get("transA", 0) else left
    other, columns = right[::-1] if given.get("transB", 0) else right
    for axis in (inner, other):
        _meets(flow, axis, node)
    total = [rows, columns]
    added = flow.of(node.input[2]) if len(node.input) > 2 and node.input[2] else ()
    for at, axis in enumerate(reversed(added or ())):
        total[1 - at] = flow.join(total[1 - at], axis, node)
    flow.set(node.output[0], total)


def _meets(flow: Flow, axis: Axis, node: onnx.NodeProto) -> None:
    flow.mix(axis, node, "it sums over this axis")
    flow.pin(axis, node, "it sums over this axis")


def _reduce(flow: Flow, node: onnx.NodeProto) -> None:
    axes, given = flow.of(node.input[0]), attributes(node)
    if axes is None:
        return
    chosen = flow.integers(node.input[1]) if len(node.input) > 1 else given.get("axes")
    if node.op_type in ("ArgMax", "ArgMin"):
        chosen = [given.get("axis", 0)]
    if chosen is None and len(node.input) > 1 and node.input[1]:
        return
    places = range(len(axes)) if chosen is None else [at % len(axes) for at in chosen]
    for at in places:
        flow.mix(axes[at], node, "it takes all of this axis together")
    keep = given.get("keepdims", 1)
    flow.set(node.output[0], [NONE if at in places else axis for at, axis in enumerate(axes)
                              if keep or at not in places])  # fmt: skip


def _along(first: int, last: int | None) -> Rule:
    """Rule of an operator that normalizes from an axis to another."""

    def rule(flow: Flow, node: onnx.NodeProto) -> None:
        axes = flow.of(node.input[0])
        if axes is None:
            return
        start = attributes(node).get("axis", first) % len(axes)
        for axis in axes[start : start + 1 if last is None else None]:
            flow.mix(axis, node, "it takes all of this axis together")
        for name in node.output:
            flow.set(name, axes)

    return rule


def _instance_norm(flow: Flow, node: onnx.NodeProto) -> None:
    axes = flow.of(node.input[0])
    for axis in (axes or ())[2:]:
        flow.mix(axis, node, "it takes all of this axis together")
    _like_first(flow, node)


def _windows(flow: Flow, node: onnx.NodeProto) -> None:
    """Convolution and pooling."""
    axes, given = flow.of(node.input[0]), attributes(node)
    if axes is None:
        return
    spatial = len(axes) - 2
    kernel = given.get("kernel_shape")
    if kernel is None and node.op_type == "Conv":
        kernel = flow.shapes.get(node.input[1], ())[2:]
    if kernel is None or len(kernel) != spatial:
        return
    strides, dilations = given.get("strides", [1] * spatial), given.get("dilations", [1] * spatial)
    pads = given.get("pads", [0] * 2 * spatial)
    same = given.get("auto_pad", b"NOTSET") in (b"SAME_UPPER", b"SAME_LOWER")
    is_conv = node.op_type == "Conv"
    total = [axes[0], NONE if is_conv else axes[1]]
    for at in range(spatial):
        axis, reach = axes[2 + at], (kernel[at] - 1) * dilations[at]
        padded = reach if same else pads[at] + pads[at + spatial]
        offset = axis.offset - reach + padded
        if strides[at] != 1:
            flow.mix(axis, node, f"it takes every {strides[at]}th step only")
            flow.pin(axis, node, f"it takes every {strides[at]}th step only")
        elif reach and (padded or offset < 0):
            flow.mix(axis, node, _AHEAD)
        total.append(Axis(axis.atoms, offset) if axis.atoms and strides[at] == 1 else NONE)
    flow.set(node.output[0], total)


def _global_pool(flow: Flow, node: onnx.NodeProto) -> None:
    axes = flow.of(node.input[0])
    if axes is None:
        return
    for axis in axes[2:]:
        flow.mix(axis, node, "it takes all of this axis together")
    flow.set(node.output[0], [*axes[:2], *(NONE for _ in axes[2:])])


def _recurrent(flow: Flow, node: onnx.NodeProto) -> None:
    x = flow.of(node.input[0])
    if x is None or len(x) != 3:
        return
    flow.is_role(x[0], TIME, node)
    flow.is_role(x[1], BATCH, node)
    is_one_step = flow.shapes.get(node.input[0], (0,))[0] == 1
    if attributes(node).get("direction", b"forward") != b"forward":
        flow.backwards.append(label(node))
    batch = x[1]
    for name in node.input[5:7]:
        axes = flow.of(name) if name else None
        if axes is not None and len(axes) == 3:
            batch = flow.join(batch, axes[1], node)
            flow.is_role(axes[1], BATCH, node)
        if name and name not in flow.states and flow.recalls(name):
            flow.mix(x[0], node, f"its first state {name!r} is made from a state of the model")
        elif name and name not in flow.states and flow.varies(name):
            why = f"its first state {name!r} is computed anew in each call"
            flow.mix(x[0], node, why)
            if is_one_step:
                flow.undecided.append(f"{label(node)}: {why}, which holds one time step")
    timed = is_forward(node) and flow.final
    if timed and not any(name in flow.states or flow.varies(name) for name in node.input[5:7]):
        why = "it starts from the same values in each call"
        if is_one_step:
            why += (
                ", which holds one time step, so it remembers nothing; to let it remember, export "
                "the model with a dynamic time axis, or with all states as inputs and outputs"
            )
        flow.mix(x[0], node, why)
        if not x[0].atoms:
            flow.undecided.append(f"{label(node)}: {why}, and its time is no axis of an input")
        elif is_one_step and not flow.states:
            flow.undecided.append(f"{label(node)}: {why}")
    if len(node.input) > 4 and node.input[4]:
        lengths = flow.of(node.input[4])
        if lengths:
            flow.join(batch, lengths[0], node)
    flow.set(node.output[0], [x[0], NONE, batch, NONE])
    for name in node.output[1:]:
        flow.set(name, [NONE, batch, NONE])


def _scan(flow: Flow, node: onnx.NodeProto) -> None:
    """Time is what a Scan runs along; its other axes are known by their sizes only."""
    given = attributes(node)
    count = given["num_scan_inputs"]
    states = len(node.input) - count
    steps = NONE
    for name, at in zip(node.input[states:], given.get("scan_input_axes", [0] * count),
                        strict=True):  # fmt: skip
        axes = flow.of(name)
        if axes is None:
            return
        steps = flow.join(steps, axes[at], node)
        flow.is_role(axes[at], TIME, node)
        if not is_forward(node):
            flow.backwards.append(label(node))
    for name in node.input[:states]:
        if name not in flow.states:
            flow.mix(steps, node, f"its first state {name!r} is no state input")
    for name in node.output:
        flow.by_size(name)
    places = given.get("scan_output_axes", [0] * (len(node.output) - states))
    for name, at in zip(node.output[states:], places, strict=True):
        axes = flow.of(name) if name else None
        if axes is not None:
            along = at % len(axes)
            flow.set(name, [steps if along == o else axis for o, axis in enumerate(axes)])


ELEMENTWISE = (
    "Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Mean", "Sum", "Where", "PRelu", "And", "Or",
    "Xor", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Mod",
)  # fmt: skip
UNARY = (
    "Relu", "Sigmoid", "Tanh", "Exp", "Log", "Sqrt", "Abs", "Neg", "Reciprocal", "Erf", "Gelu",
    "Clip", "LeakyRelu", "Elu", "Selu", "Celu", "HardSigmoid", "HardSwish", "Softplus", "Softsign",
    "ThresholdedRelu", "Mish", "Cast", "Identity", "Dropout", "Floor", "Ceil", "Round", "Sign",
    "Not", "IsNaN", "IsInf", "Sin", "Cos", "BatchNormalization", "QuantizeLinear",
    "DequantizeLinear", "CastLike",
)  # fmt: skip

RULES: dict[str, Rule] = {
    **VIEWS,
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **dict.fromkeys(UNARY, _like_first),
    **dict.fromkeys(REDUCTIONS, _reduce),
    "ArgMax": _reduce,
    "ArgMin": _reduce,
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Softmax": _along(-1, None),
    "LogSoftmax": _along(-1, None),
    "LayerNormalization": _along(-1, -1),
    "RMSNormalization": _along(-1, -1),
    "LpNormalization": _along(-1, None),
    "InstanceNormalization": _instance_norm,
    "Conv": _windows,
    "MaxPool": _windows,
    "AveragePool": _windows,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "Scan": _scan,
}
