"""What cannot run step by step is refused, with the node, the reason and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.timed_graphs import Graph, contract_for
from onnx import TensorProto, helper

from edgernn.contract import Axes
from edgernn.errors import ModelError
from edgernn_exporters.causal import with_caches

LAST = Axes(batch=0, time=2)


def _conv(graph: Graph, kernel: int = 3, **options: Any) -> str:
    return graph.op("Conv", "x", graph.random(0, 4, 4, kernel), name="conv", **options)


def _attention(graph: Graph) -> str:
    scores = graph.op("MatMul", graph.op("Transpose", "x", perm=[0, 2, 1]), "x", name="scores")
    return graph.op("MatMul", "x", graph.op("Softmax", scores))


def _recurrent(graph: Graph, **attributes: Any) -> str:
    x = graph.op("Transpose", "x", perm=[2, 0, 1])
    weights = [graph.random(i, 1, 4, 4) for i in range(2)]
    return graph.op("RNN", x, *weights, name="rnn", hidden_size=4, **attributes)


def _positions(graph: Graph) -> str:
    steps = graph.op("Squeeze", graph.op("Shape", "x", start=2, end=3), graph.ints(0))
    zero, one = (graph.const(value, np.int64) for value in (0, 1))
    places = graph.op("Range", zero, steps, one, name="places")
    return graph.op("Add", "x", graph.op("Cast", places, to=TensorProto.FLOAT))


def _scan(graph: Graph) -> str:
    x = graph.op("Transpose", "x", perm=[2, 0, 1])
    frame = helper.make_tensor_value_info("frame", TensorProto.FLOAT, None)
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    body = helper.make_graph([helper.make_node("Relu", ["frame"], ["out"])], "body", [frame], [out])
    return graph.op("Scan", x, name="scan", num_scan_inputs=1, body=body,
                    scan_input_directions=[1])  # fmt: skip


def _value_of_later(graph: Graph) -> str:
    value = graph.op("Cast", graph.op("Shape", "x", end=1), to=TensorProto.FLOAT)
    return graph.op("Pad", "x", graph.ints(0, 0, 2, 0, 0, -2), value, name="pad")


CASES: dict[str, tuple[Callable[[Graph], str], str]] = {
    "symmetric padding": (
        lambda g: _conv(g, pads=[1, 1]),
        r"'conv' \(Conv\) \(its window spans 3 time steps, 1 of them padded by itself\) looks 1 "
        r"time step ahead, .*pad its past only",
    ),
    "same": (lambda g: _conv(g, auto_pad="SAME_UPPER"), r"'conv' .*looks 1 time step ahead"),
    "padding behind": (
        lambda g: g.op("Conv", g.pad("x", 3, 2, 0, 4), g.random(0, 4, 4, 5), name="conv"),
        r"'conv' .*looks 4 time steps ahead",
    ),
    "no padding": (_conv, r"'conv' .*spans 3 time steps\) looks 2 time steps ahead"),
    "not cut": (lambda g: _conv(g, pads=[2, 2]), r"output 'y' gets 2 more frames"),
    "cut at the front": (
        lambda g: g.pad(g.cut("x", 2, 1, 2**63 - 1, name="next"), 3, 2, 0, 1),
        r"'next' \(Slice\) looks 1 time step ahead",
    ),
    "stride": (
        lambda g: _conv(g, pads=[2, 0], strides=[2]), r"'conv' \(Conv\) moves 2 time steps at once"
    ),
    "partial mean": (
        lambda g: g.op("AveragePool", "x", kernel_shape=[3], pads=[2, 0], name="pool"),
        r"'pool' .*mean of fewer frames .*count_include_pad",
    ),
    "transposed": (
        lambda g: g.op("ConvTranspose", "x", g.random(0, 4, 4, 3), name="up", pads=[0, 2]),
        r"'up' \(ConvTranspose\) spreads",
    ),
    "mirrored": (
        lambda g: g.op("Conv", g.pad("x", 3, 2, 2, name="mirror", mode="reflect"),
                       g.random(0, 4, 4, 3)),
        r"'mirror' \(Pad\) mirrors frames that come later",
    ),
    "repeated": (
        lambda g: g.op("Conv", g.pad("x", 3, 2, 2, name="edge", mode="edge"),
                       g.random(0, 4, 4, 3)),
        r"'edge' \(Pad\) repeats the first frame",
    ),
    "first frame": (
        lambda g: g.op("Concat", g.cut("x", 2, 0, 1, name="first"), g.cut("x", 2, 0, -1), axis=2),
        r"'first' \(Slice\) takes frames counted from the first",
    ),
    "last frames": (
        lambda g: g.cut("x", 2, -3, 2**63 - 1, name="end"), r"'end' \(Slice\) takes the last 3"
    ),
    "reversed": (
        lambda g: g.op("Slice", "x", g.ints(-1), g.ints(-2**62), g.ints(2), g.ints(-1),
                       name="flip"),
        r"'flip' \(Slice\) turns time around",
    ),
    "every other": (
        lambda g: g.op("Slice", "x", g.ints(0), g.ints(2**62), g.ints(2), g.ints(2), name="skip"),
        r"'skip' \(Slice\) takes every 2. frame",
    ),
    "mean": (
        lambda g: g.op("Sub", "x", g.op("ReduceMean", "x", g.ints(2), name="mean")),
        r"'mean' \(ReduceMean\) needs all time steps at once",
    ),
    "softmax": (lambda g: g.op("Softmax", "x", name="soft"), r"'soft' .*needs all time steps"),
    "instance norm": (
        lambda g: g.op("InstanceNormalization", "x", g.random(0, 4), g.random(1, 4), name="norm"),
        r"'norm' .*needs all time steps",
    ),
    "layer norm": (
        lambda g: g.op("LayerNormalization", "x", g.random(0, 4, 1), axis=1, name="norm"),
        r"'norm' .*needs all time steps",
    ),
    "group norm by hand": (
        lambda g: g.op("InstanceNormalization", g.op("Reshape", "x", g.ints(0, 2, -1)),
                       g.random(0, 2), g.random(1, 2), name="norm"),
        r"'norm' .*needs all time steps",
    ),
    "attention": (_attention, r"'scores' \(MatMul\) compares or mixes every time step"),
    "einsum": (
        lambda g: g.op("Einsum", "x", "x", equation="bct,bcs->bts", name="scores"),
        r"'scores' \(Einsum\) compares",
    ),
    "backwards": (
        lambda g: _recurrent(g, direction="reverse"), r"'rnn' \(RNN\) reads the sequence from its"
    ),
    "scan backwards": (_scan, r"'scan' \(Scan\) reads the sequence from its end"),
    "sum from the end": (
        lambda g: g.op("CumSum", "x", g.const(2, np.int64), name="sum", reverse=1),
        r"'sum' \(CumSum\) sums from the end",
    ),
    "unknown value": (
        _value_of_later, r"'pad' \(Pad\) pads with a value that is known only"
    ),
    "positions": (_positions, r"'places' \(Range\) counts time steps"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_refusals_name_the_node_the_reason_and_a_way_out(case: str) -> None:
    build, expected = CASES[case]
    graph = Graph()
    y = build(graph)
    model = graph.model(y, ["batch", 4, "time"], ["a", "b", "c"])
    with pytest.raises(ModelError, match=expected) as caught:
        with_caches(model, contract_for(LAST, LAST))
    text = str(caught.value)
    assert text.startswith(("node '", "output '"))
    assert text.endswith("export it for whole sequences only with causal=False (--not-causal)")
