"""Graphs with windows over time give the same frames whole, in chunks and step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.graphs import make_model, normal, open_onnx, tensor
from helpers.timed_graphs import Array, Graph, contract_for, run_chunks
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgernn.contract import Axes, Contract, StateSpec
from edgernn_exporters.causal import with_caches

Build = Callable[[Graph], str]
LAST = Axes(batch=0, time=2)
"""``[batch, channels, time]``"""


def check(
    graph: Graph,
    y: str,
    x: Array,
    chunks: Sequence[int],
    axes: Axes = LAST,
    states: int | None = None,
) -> tuple[onnx.ModelProto, Contract]:
    """Compare a graph run whole with what it becomes, run in chunks, whole, and by steps."""
    shape: list[int | str] = list(x.shape)
    for axis, name in ((axes.batch, "batch"), (axes.time, "time")):
        if axis is not None:
            shape[axis] = name
    model = graph.model(y, shape, [f"y{i}" for i in range(x.ndim)])
    before = model.SerializeToString()
    contract = contract_for(axes, axes)
    expected = run_chunks(model, contract, x, [sum(chunks)])
    made, found = with_caches(model, contract)
    assert model.SerializeToString() == before
    onnx.checker.check_model(made, full_check=True)
    if states is not None:
        assert len(found.states) == states, [state.input for state in found.states]
    for pieces in (chunks, [sum(chunks)], [1] * sum(chunks)):
        got = run_chunks(made, found, x, pieces)
        np.testing.assert_allclose(got, expected, rtol=2e-5, atol=2e-5)
    return made, found


def data(seed: int, chunks: Sequence[int], *, channels: int = 4, batch: int = 2) -> Array:
    return normal(seed, batch, channels, sum(chunks))


chunked = st.lists(st.integers(1, 6), min_size=1, max_size=5)
ways = st.sampled_from(["pad", "own", "chomp", "pad chomp", "zeros", "slice and concat"])


def window(graph: Graph, x: str, way: str, past: int, kind: str, *more: str, **options: Any) -> str:
    """Add a Conv or pooling over ``[batch, channels, time]`` that reads ``past`` earlier frames."""
    if way == "pad":
        return graph.op(kind, graph.pad(x, 3, 2, past), *more, **options)
    if way == "own":
        return graph.op(kind, x, *more, pads=[past, 0], **options)
    if way == "chomp":
        y = graph.op(kind, x, *more, pads=[past, past], **options)
        return graph.cut(y, 2, 0, -past) if past else y
    if way == "pad chomp":
        y = graph.op(kind, graph.pad(x, 3, 2, past, past), *more, **options)
        return graph.cut(y, 2, 0, -past) if past else y
    if way == "zeros":
        size = graph.op("Shape", x, start=0, end=2)
        sizes = graph.op("Concat", size, graph.ints(past), axis=0)
        zeros = graph.op("Expand", graph.const([0.0], np.float32), sizes)
        return graph.op(kind, graph.op("Concat", zeros, x, axis=2), *more, **options)
    y = graph.op(kind, graph.pad(x, 3, 2, past + 1), *more, **options)  # one frame too many
    return graph.cut(y, 2, 1, 2**63 - 1)


@settings(max_examples=60)
@given(
    way=ways, kernel=st.integers(1, 5), dilation=st.integers(1, 3),
    group=st.sampled_from([1, 2, 4]), bias=st.booleans(), chunks=chunked,
    seed=st.integers(0, 99),
)  # fmt: skip
def test_convolutions_of_one_dimension(
    way: str, kernel: int, dilation: int, group: int, bias: bool, chunks: list[int], seed: int
) -> None:
    graph, past = Graph(), (kernel - 1) * dilation
    more = [graph.random(seed, 8, 4 // group, kernel)]
    more += [graph.random(seed + 1, 8)] if bias else []
    y = window(graph, "x", way, past, "Conv", *more, dilations=[dilation], group=group)
    y = graph.op("Relu", y)
    check(graph, y, data(seed, chunks), chunks, states=1 if past else None)


@settings(max_examples=40)
@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    stride=st.integers(1, 2), depthwise=st.booleans(), time_first=st.booleans(),
    auto=st.booleans(), chunks=chunked, seed=st.integers(0, 99),
)  # fmt: skip
def test_convolutions_of_two_dimensions(
    kernel: tuple[int, int], dilations: tuple[int, int], stride: int, depthwise: bool,
    time_first: bool, auto: bool, chunks: list[int], seed: int,
) -> None:  # fmt: skip
    graph, past = Graph(), (kernel[0] - 1) * dilations[0]
    order = [0, 1] if time_first else [1, 0]  # of time and frequency

    def two(pair: Sequence[int]) -> list[int]:
        return [pair[place] for place in order]

    axis = 2 + order.index(0)
    weight = graph.random(seed, 6, 1 if depthwise else 3, *two(kernel))
    pads = [*two([0 if auto else past, 1]), *two([0, 1])]
    x = graph.pad("x", 4, axis, past) if auto else "x"
    y = graph.op("Conv", x, weight, group=3 if depthwise else 1, strides=two([1, stride]),
                 pads=pads, dilations=two(dilations))  # fmt: skip
    size = two([sum(chunks), 7])
    check(graph, graph.op("Tanh", y), normal(seed, 2, 3, *size), chunks, Axes(0, axis))


@pytest.mark.parametrize("kind", ["AveragePool", "MaxPool", "LpPool"])
@settings(max_examples=15)
@given(way=ways, kernel=st.integers(1, 4), chunks=chunked, seed=st.integers(0, 99))
def test_pooling(kind: str, way: str, kernel: int, chunks: list[int], seed: int) -> None:
    graph = Graph()
    options: dict[str, Any] = {"kernel_shape": [kernel]}
    if kind == "AveragePool":
        options["count_include_pad"] = 1
    assume(kernel > 1 or way not in ("own", "chomp"))
    y = window(graph, "x", way, kernel - 1, kind, **options)
    check(graph, y, data(seed, chunks) - 1.0, chunks, states=1 if kernel > 1 else None)


def test_what_lies_before_the_first_frame_goes_through_the_layers_in_between() -> None:
    graph = Graph()
    padded = graph.pad("x", 3, 2, 6, fill=0.5)
    first = graph.op("Conv", padded, graph.random(0, 5, 4, 3), graph.random(1, 5), name="a")
    scaled = graph.op("Mul", graph.op("Tanh", first), graph.random(2, 5, 1))
    second = graph.op("Conv", scaled, graph.random(3, 4, 5, 3), name="b", dilations=[2])
    made, contract = check(graph, second, data(5, [3, 1, 9]), [3, 1, 9], states=2)
    assert [(s.input, s.init, s.batch_axis) for s in contract.states] == [
        ("a.cache", "a.cache.init", 0), ("b.cache", "b.cache.init", 0)
    ]  # fmt: skip
    sizes = {v.name: [d.dim_value or d.dim_param for d in v.type.tensor_type.shape.dim]
             for v in (*made.graph.input, *made.graph.output)}  # fmt: skip
    assert sizes["a.cache"] == sizes["a.cache.next"] == ["batch", 4, 2]
    assert sizes["b.cache"] == ["batch", 5, 4]


def _residual(graph: Graph) -> str:
    """Add what is left of x by a convolution without padding, then pad once."""
    y = graph.op("Conv", "x", graph.random(0, 4, 4, 3))
    return graph.pad(graph.op("Add", y, graph.cut("x", 2, 2, 2**63 - 1)), 3, 2, 2)


def _delta(graph: Graph) -> str:
    later, earlier = graph.cut("x", 2, 1, 2**63 - 1), graph.cut("x", 2, 0, -1)
    return graph.pad(graph.op("Div", later, earlier), 3, 2, 1, fill=3.0)


def _shift(graph: Graph) -> str:
    """Mix each frame with the one before, as RWKV does."""
    shifted = graph.pad("x", 3, 2, 1, -1, fill=1.5)
    return graph.op("Add", graph.op("Mul", "x", graph.random(0, 4, 1)), shifted)


def _shift_by_three(graph: Graph) -> str:
    return graph.pad(graph.cut("x", 2, 0, -3), 3, 2, 3)


def _sum(graph: Graph, **attributes: int) -> str:
    return graph.op("CumSum", "x", graph.const(2, np.int64), **attributes)


def _sum_behind_padding(graph: Graph) -> str:
    y = graph.op("CumSum", graph.pad("x", 3, 2, 2, fill=0.25), graph.const(-1, np.int64))
    return graph.op("Conv", y, graph.random(0, 4, 4, 3))


def _reshaped_while_longer(graph: Graph) -> str:
    """Split the channels in two while the sequence has more frames than inputs."""
    padded = graph.pad("x", 3, 2, 2, fill=-1.0)
    ends = graph.op("Shape", padded, start=2, end=3)
    sizes = graph.op("Concat", graph.op("Shape", "x", start=0, end=1), graph.ints(2, 2), ends,
                     axis=0)  # fmt: skip
    apart = graph.op("Reshape", padded, sizes)
    y = graph.op("Conv", apart, graph.random(0, 3, 2, 1, 3))
    return graph.op("ReduceMax", y, graph.ints(2), keepdims=0)


def _two_of_one(graph: Graph) -> str:
    """Use one past twice, as a gated convolution does."""
    a = graph.op("Conv", "x", graph.random(0, 4, 4, 3), pads=[2, 0])
    b = graph.op("Conv", "x", graph.random(1, 4, 4, 3), pads=[2, 0])
    return graph.op("Mul", graph.op("Tanh", a), graph.op("Sigmoid", b))


def _different_reach(graph: Graph) -> str:
    """Align convolutions without padding of different reach, then pad what they share."""
    a = graph.op("Conv", "x", graph.random(0, 4, 4, 2))
    b = graph.op("Conv", "x", graph.random(1, 4, 4, 4))
    return graph.pad(graph.op("Add", graph.cut(a, 2, 2, 2**63 - 1), b), 3, 2, 3)


def _channels_and_time_padded(graph: Graph) -> str:
    padded = graph.op("Pad", "x", graph.ints(0, 1, 3, 0, 1, 0))
    return graph.op("Conv", padded, graph.random(0, 4, 6, 4))


def _cut_in_two_axes(graph: Graph) -> str:
    y = graph.op("Conv", "x", graph.random(0, 6, 4, 3), pads=[2, 2])
    return graph.op("Slice", y, graph.ints(1, 0), graph.ints(4, -2), graph.ints(1, 2))


def _folded_batch(graph: Graph) -> str:
    """Leave alone what works on single frames with batch and time in one axis."""
    frames = graph.op("Reshape", graph.op("Transpose", "x", perm=[0, 2, 1]), graph.ints(-1, 4))
    y = graph.op("MatMul", frames, graph.random(0, 4, 4))
    sizes = graph.op("Concat", graph.op("Shape", "x", start=0, end=1),
                     graph.op("Shape", "x", start=2, end=3), graph.ints(4), axis=0)  # fmt: skip
    y = graph.op("Transpose", graph.op("Reshape", y, sizes), perm=[0, 2, 1])
    return graph.op("Conv", y, graph.random(1, 4, 4, 3), pads=[2, 0])


def _same_lower_and_cut(graph: Graph) -> str:
    y = graph.op("Conv", "x", graph.random(0, 4, 4, 2), auto_pad="SAME_LOWER")
    return graph.op("Clip", y, graph.const(-1.0, np.float32))


@pytest.mark.parametrize("chunks", [[7], [1, 1, 5], [4, 2, 9, 1]])
@pytest.mark.parametrize(
    ("build", "states"),
    [
        (_residual, 2), (_delta, 2), (_shift, 1), (_shift_by_three, 1), (_sum, 1),
        (lambda g: _sum(g, exclusive=1), 1), (_sum_behind_padding, 2), (_two_of_one, 1),
        (_reshaped_while_longer, 1), (_different_reach, None), (_channels_and_time_padded, 1),
        (_cut_in_two_axes, 1), (_folded_batch, 1), (_same_lower_and_cut, 1),
    ],
)  # fmt: skip
def test_other_forms(build: Build, states: int | None, chunks: list[int]) -> None:
    graph = Graph()
    check(graph, build(graph), data(1, chunks), chunks, states=states)


def test_time_may_be_the_first_axis() -> None:
    graph, chunks = Graph(), [2, 1, 6]
    x = graph.op("Transpose", "x", perm=[1, 2, 0])
    y = graph.op("Conv", x, graph.random(0, 4, 4, 3), pads=[2, 0])
    shifted = graph.pad("x", 3, 0, 1, -1)
    y = graph.op("Sub", graph.op("Transpose", y, perm=[2, 0, 1]), shifted)
    x_data = np.ascontiguousarray(data(0, chunks).transpose(2, 0, 1))
    _, contract = check(graph, y, x_data, chunks, Axes(batch=1, time=0), states=2)
    assert sorted(state.batch_axis for state in contract.states) == [0, 1]


def test_a_model_of_single_sequences_has_states_of_one_row() -> None:
    graph, chunks, axes = Graph(), [2, 1, 6], Axes(batch=None, time=0)
    rows = graph.op("Unsqueeze", graph.op("Transpose", "x", perm=[1, 0]), graph.ints(0))
    y = graph.op("Conv", rows, graph.random(0, 4, 4, 3), pads=[2, 0])
    y = graph.op("Transpose", graph.op("Squeeze", y, graph.ints(0)), perm=[1, 0])
    y = graph.op("Add", y, graph.pad("x", 2, 0, 2, -2, fill=0.5))
    y = graph.op("Add", y, graph.op("CumSum", "x", graph.const(0, np.int64)))
    x = np.ascontiguousarray(data(0, chunks)[0].T)
    made, contract = check(graph, y, x, chunks, axes, states=3)
    assert {state.batch_axis for state in contract.states} == {0}
    shapes = [v.type.tensor_type.shape.dim for v in made.graph.input[1:]]
    assert {shape[0].dim_value for shape in shapes} == {1}


def test_a_file_for_one_batch_size_keeps_it() -> None:
    graph = Graph()
    y = graph.op("Conv", "x", graph.random(0, 4, 4, 3), pads=[2, 0], name="conv")
    model = graph.model(y, [3, 4, "time"], [3, 4, "time"])
    contract = contract_for(LAST, LAST)
    made, found = with_caches(model, contract)
    (given,) = [value for value in made.graph.input if value.name == "conv.cache"]
    assert [dim.dim_value for dim in given.type.tensor_type.shape.dim] == [3, 4, 2]
    x = normal(1, 3, 4, 8)
    got = run_chunks(made, found, x, [1, 3, 4])
    np.testing.assert_allclose(got, run_chunks(model, contract, x, [8]), atol=1e-5)


def test_padded_tokens_go_through_their_embedding() -> None:
    graph, chunks = Graph(), [1, 3, 4]
    padded = graph.op("Pad", "x", graph.ints(0, 2, 0, 0), graph.const(5, np.int64))
    embedded = graph.op("Gather", graph.random(0, 7, 4), padded)
    y = graph.op("Conv", graph.op("Transpose", embedded, perm=[0, 2, 1]), graph.random(1, 3, 4, 3))
    shifted = graph.op("Pad", "x", graph.ints(0, 1, 0, -1), graph.const(6, np.int64))
    y = graph.op("Add", y, graph.op("Unsqueeze", graph.op("Cast", shifted, to=1), graph.ints(1)))
    model = graph.model(y, ["batch", "time"], ["batch", 3, "time"])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    contract = contract_for(Axes(0, 1), LAST)
    made, found = with_caches(model, contract)
    assert {state.dtype for state in found.states} == {"float32"}
    x = np.random.default_rng(0).integers(0, 7, (2, sum(chunks)))
    got = run_chunks(made, found, x, chunks)
    np.testing.assert_allclose(got, run_chunks(model, contract, x, [8]), atol=1e-5)


def test_a_subgraph_reads_frames_in_place() -> None:
    """An If whose branch reads a padded and cut convolution from outside."""
    graph = Graph()
    y = graph.op("Conv", "x", graph.random(0, 4, 4, 3), pads=[2, 2])
    y = graph.cut(y, 2, 0, -2)
    shifted = graph.pad(y, 3, 2, 1, -1)
    branches = [
        helper.make_graph(
            [helper.make_node(kind, [shifted], [f"{kind}.out"])], kind, [],
            [helper.make_tensor_value_info(f"{kind}.out", TensorProto.FLOAT, None)],
        )
        for kind in ("Relu", "Neg")
    ]  # fmt: skip
    yes = graph.const(True)
    chosen = graph.op("If", yes, then_branch=branches[0], else_branch=branches[1])
    check(graph, chosen, data(0, [2, 1, 5]), [2, 1, 5], states=2)


def test_a_cache_of_the_file_itself_is_left_alone() -> None:
    weight = tensor("w", normal(0, 4, 4, 3))
    lists = [tensor(name, np.array([value], np.int64))
             for name, value in (("from", -2), ("to", 2**62), ("axis", 2))]  # fmt: skip
    nodes = [
        helper.make_node("Concat", ["past", "x"], ["both"], axis=2),
        helper.make_node("Conv", ["both", "w"], ["y"], name="conv"),
        helper.make_node("Slice", ["both", "from", "to", "axis"], ["past.next"]),
    ]
    past = ["batch", 4, 2]
    frames = ["batch", 4, "time"]
    model = make_model(
        nodes, {"x": frames, "past": past}, {"y": frames, "past.next": past}, [weight, *lists]
    )
    contract = contract_for(LAST, LAST, [StateSpec("past", "past.next", 0)])
    assert with_caches(model, contract) == (model, contract)


@pytest.mark.parametrize("change", ["not causal", "lengths", "no window", "fixed time", "no time"])
def test_what_needs_no_cache_is_returned_as_it_came(change: str) -> None:
    graph = Graph()
    pads = {} if change == "no window" else {"pads": [2, 0]}
    y = graph.op("Conv", "x", graph.random(0, 4, 4, 3 if pads else 1), **pads)
    model = graph.model(y, ["batch", 4, 9 if change == "fixed time" else "time"], ["b", 4, "t"])
    axes = Axes(0, None) if change == "no time" else LAST
    contract = contract_for(axes, axes)
    values: dict[str, Any] = {"not causal": {"causal": False}, "lengths": {"lengths": "x"}}
    stream = {**contract.stream.__dict__, **values.get(change, {})}
    contract = Contract((), type(contract.stream)(**stream))
    assert with_caches(model, contract) == (model, contract)


def test_names_that_are_taken_are_not_used_again() -> None:
    graph = Graph()
    y = graph.op("Conv", "x", graph.random(0, 4, 4, 3), pads=[2, 0], name="conv")
    y = graph.op("Relu", y, name="conv.cache")
    graph.nodes[-1].output[0] = "conv.cache"
    _, contract = check(graph, "conv.cache", data(0, [3, 2]), [3, 2], states=1)
    assert contract.states[0].input == "conv.cache#2"
    assert y == "conv.cache.y"


def test_it_opens_without_optimization() -> None:
    graph = Graph()
    made, _ = check(graph, _delta(graph), data(0, [3, 2]), [3, 2])
    assert open_onnx(made, optimized=False).get_inputs()
