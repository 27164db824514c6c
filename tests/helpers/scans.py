"""Recurrent cells that ONNX has no operator for, as Scan: models with a state contract.

    model = cell_model("layernorm_lstm", inputs=6, hidden=8, batch="batch")

All take ``x [time, batch, inputs]`` and states ``[batch, hidden]`` (named ``h`` and ``c``), and
give ``y [time, batch, outputs]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.metadata import Metadata

# What a cell is: text of its body, shapes of its constants, states, and the size of its output.
# H, I and P stand for hidden, inputs and projected sizes; `b` of a name makes it small.
CELLS: Mapping[str, tuple[str, dict[str, tuple[str, ...]], tuple[str, ...], str]] = {
    "layernorm_lstm": (
        """
        wx = Gemm <transB = 1> (x_t, W, b)
        rh = Gemm <transB = 1> (h, R)
        nx = LayerNormalization (wx, gx, bx)
        nh = LayerNormalization (rh, gh, bh)
        a = Add (nx, nh)
        ia, fa, ga, oa = Split <axis = -1, num_outputs = 4> (a)
        i = Sigmoid (ia)
        f = Sigmoid (fa)
        g = Tanh (ga)
        o = Sigmoid (oa)
        kept = Mul (f, c)
        new = Mul (i, g)
        c_next = Add (kept, new)
        nc = LayerNormalization (c_next, gc, bc)
        tc = Tanh (nc)
        h_next = Mul (o, tc)
        y_t = Identity (h_next)
        """,
        {"W": ("4H", "I"), "R": ("4H", "H"), "b": ("4H",), "gx": ("4H",), "bx": ("4H",),
         "gh": ("4H",), "bh": ("4H",), "gc": ("H",), "bc": ("H",)},
        ("h", "c"), "H",
    ),
    "projected_lstm": (
        """
        wx = MatMul (x_t, W)
        wb = Add (wx, b)
        rh = MatMul (h, R)
        a = Add (wb, rh)
        ia, oa, fa, ga = Split <axis = -1, num_outputs = 4> (a)
        i = Sigmoid (ia)
        f = Sigmoid (fa)
        g = Tanh (ga)
        o = Sigmoid (oa)
        kept = Mul (f, c)
        new = Mul (i, g)
        c_next = Add (kept, new)
        tc = Tanh (c_next)
        full = Mul (o, tc)
        h_next = MatMul (full, V)
        y_t = Identity (h_next)
        """,
        {"W": ("I", "4H"), "b": ("4H",), "R": ("P", "4H"), "V": ("H", "P")},
        ("h:P", "c"), "P",
    ),
    "sru": (
        """
        u = MatMul (x_t, W)
        z, fa, ra = Split <axis = -1, num_outputs = 3> (u)
        vf_c = Mul (vf, c)
        f1 = Add (fa, vf_c)
        f2 = Add (f1, bf)
        f = Sigmoid (f2)
        vr_c = Mul (vr, c)
        r1 = Add (ra, vr_c)
        r2 = Add (r1, br)
        r = Sigmoid (r2)
        d = Sub (c, z)
        fd = Mul (f, d)
        c_next = Add (z, fd)
        e = Sub (c_next, x_p)
        re = Mul (r, e)
        y_t = Add (x_p, re)
        x_p = Identity (x_t)
        """,
        {"W": ("I", "3H"), "vf": ("H",), "vr": ("H",), "bf": ("H",), "br": ("H",)},
        ("c",), "H",
    ),
    "indrnn": (
        """
        wx = Gemm (x_t, W, b)
        uh = Mul (u, h)
        a = Add (wx, uh)
        h_next = Relu (a)
        y_t = Identity (h_next)
        """,
        {"W": ("I", "H"), "b": ("H",), "u": ("H",)},
        ("h",), "H",
    ),
}  # fmt: skip


def cell_model(
    cell: str,
    *,
    inputs: int = 5,
    hidden: int = 7,
    projected: int = 3,
    batch: int | str = "batch",
    linear: int = 0,
    seed: int = 0,
) -> onnx.ModelProto:
    """Return the model of one cell, with ``linear`` outputs of a linear layer behind it if > 0."""
    text, constants, states, out = CELLS[cell]
    sizes = {"H": hidden, "I": inputs, "P": projected}
    rng = np.random.default_rng(seed)
    initializers = [
        numpy_helper.from_array(_drawn(rng, name, [_size(s, sizes) for s in shape]), name)
        for name, shape in constants.items()
    ]
    names = [state.partition(":")[0] for state in states]
    widths = [sizes[state.partition(":")[2] or "H"] for state in states]
    lines = [line.strip() for line in text.strip().splitlines()]
    lines.sort(key=lambda line: not line.startswith("x_p"))
    body = onnx.parser.parse_graph("body () => () {\n" + "\n".join(lines) + "\n}")
    inner = [*((n, w) for n, w in zip(names, widths, strict=True)), ("x_t", inputs)]
    body.input.extend(_value(name, [None, width]) for name, width in inner)
    body.output.extend(
        _value(name, [None, width])
        for name, width in [
            *((f"{n}_next", w) for n, w in zip(names, widths, strict=True)), ("y_t", sizes[out])
        ]
    )  # fmt: skip
    for state in names:  # states of the graph have names of their own
        _rename(body, state, f"{state}_old")
        _rename(body, f"{state}_next", f"{state}_new")
    result = "sequence" if linear else "y"
    nodes = [
        helper.make_node(
            "Scan", [*names, "x"], [*(f"{name}_next" for name in names), result], name="cell",
            body=body, num_scan_inputs=1,
        )
    ]  # fmt: skip
    width = sizes[out]
    if linear:
        nodes.append(helper.make_node("MatMul", [result, "linear"], ["y"]))
        initializers.append(
            numpy_helper.from_array(_drawn(rng, "linear", [width, linear]), "linear")
        )
        width = linear
    graph = helper.make_graph(
        nodes, "cell",
        [_value("x", ["time", batch, inputs]),
         *(_value(n, [batch, w]) for n, w in zip(names, widths, strict=True))],
        [_value("y", ["time", batch, width]),
         *(_value(f"{n}_next", [batch, w]) for n, w in zip(names, widths, strict=True))],
        initializers,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    specs = tuple(StateSpec(name, f"{name}_next", batch_axis=0) for name in names)
    axes = Axes(batch=1, time=0)
    contract = Contract(specs, StreamSpec(True, {"x": axes}, {"y": axes}))
    helper.set_model_props(model, Metadata(contract=contract).to_props())
    onnx.checker.check_model(model, full_check=True)
    return model


def _size(text: str, sizes: Mapping[str, int]) -> int:
    return int(text[:-1] or 1) * sizes[text[-1]]


def _drawn(rng: np.random.Generator, name: str, shape: list[int]) -> np.ndarray:
    drawn = rng.uniform(-1, 1, shape) * shape[-1] ** -0.5 * 1.5
    return (drawn + (1 if name.startswith("g") else 0)).astype(np.float32)


def _value(name: str, shape: list[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for value in (*graph.input, *graph.output):
        value.name = new if value.name == old else value.name
    for node in graph.node:
        node.input[:] = [new if name == old else name for name in node.input]
        node.output[:] = [new if name == old else name for name in node.output]
