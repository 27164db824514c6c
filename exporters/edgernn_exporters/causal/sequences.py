"""Operators that contract axes or run through time: products, recurrent layers, Scan."""

from __future__ import annotations

import onnx

from edgernn_exporters.causal.framewise import Rule, framewise, other
from edgernn_exporters.causal.values import Timed, described, refusal
from edgernn_exporters.causal.walk import Walk
from edgernn_exporters.onnx_nodes import attributes, name_of

_CROSSING = "compares or mixes every time step with every other (attention over time)"
_BACKWARDS = (b"reverse", b"bidirectional")


def _matmul(walk: Walk, node: onnx.NodeProto) -> None:
    """MatMul and Gemm, in which the time axis is one of the rows or columns."""
    shapes = [walk.sizes.shape(name) for name in node.input[:2]]
    result = walk.sizes.shape(node.output[0])
    if any(shape is None for shape in (*shapes, result)):
        other(walk, node)
        return
    given = attributes(node)
    flipped = [bool(given.get(name, 0)) for name in ("transA", "transB")]
    places = set()
    for side, (name, shape) in enumerate(zip(node.input[:2], shapes, strict=True)):
        value = walk.timed(name)
        if value is None:
            continue
        assert shape is not None
        place = len(shape) - value.axis  # counted from behind, from 1 on
        if flipped[side] and place <= 2:
            place = 3 - place
        inner = 1 if side == 0 or len(shape) == 1 else 2
        if place == inner:
            raise refusal(f"{described(node)} {_CROSSING}")
        places.add(place)
    vector = len(shapes[1] or ()) == 1
    for name in node.input[2:]:  # the addend of Gemm
        if (value := walk.timed(name)) is not None:
            places.add(len(walk.shape(name)) - value.axis)
    if len(places) > 1:
        raise refusal(f"{described(node)} {_CROSSING}")
    if not places:
        other(walk, node)
        return
    assert result is not None
    (place,) = places
    framewise(walk, node, {node.output[0]: len(result) - (place - vector)})


def _einsum(walk: Walk, node: onnx.NodeProto) -> None:
    """Einsum: the letter of the time axis has to be among the output's."""
    text = bytes(attributes(node)["equation"]).decode().replace(" ", "")
    sources, arrow, target = text.partition("->")
    letters = set()
    for name, subscript in zip(node.input, sources.split(","), strict=True):
        value = walk.timed(name)
        if value is None:
            continue
        if "." in text or not arrow:
            other(walk, node)
            return
        letters.add(subscript[value.axis])
    if len(letters) > 1 or not letters <= set(target):
        raise refusal(f"{described(node)} {_CROSSING}")
    if not letters:
        other(walk, node)
        return
    framewise(walk, node, {node.output[0]: target.index(letters.pop())})


def _recurrent(walk: Walk, node: onnx.NodeProto) -> None:
    """LSTM, GRU, RNN: the state that they have is in the contract already."""
    value = walk.timed(node.input[0])
    given = attributes(node)
    axis = 1 if given.get("layout", 0) else 0
    if value is not None and value.axis == axis:
        if given.get("direction", b"forward") in _BACKWARDS:
            raise refusal(f"{described(node)} reads the sequence from its end")
        walk.require_usable(node, node.input)
        walk.keep(node, walk.aligned_inputs(node, node.input))
        if node.output[0]:
            walk.define(node.output[0], Timed(node.output[0], axis, label=name_of(node)))
        return
    other(walk, node)


def _scan(walk: Walk, node: onnx.NodeProto) -> None:
    given = attributes(node)
    count = int(given["num_scan_inputs"])
    backwards = list(given.get("scan_input_directions") or [0] * count)
    for name, turned in zip(node.input[-count:], backwards, strict=True):
        if turned and walk.timed(name) is not None:
            raise refusal(f"{described(node)} reads the sequence from its end")
    other(walk, node)


def _reverse(walk: Walk, node: onnx.NodeProto) -> None:
    value = walk.timed(node.input[0])
    if value is not None and int(attributes(node).get("time_axis", 0)) == value.axis:
        raise refusal(f"{described(node)} turns time around")
    other(walk, node)


def _attention(walk: Walk, node: onnx.NodeProto) -> None:
    raise refusal(f"{described(node)} {_CROSSING}")


RULES: dict[str, Rule] = {
    "MatMul": _matmul,
    "Gemm": _matmul,
    "Einsum": _einsum,
    **dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent),
    "Scan": _scan,
    "ReverseSequence": _reverse,
    "Attention": _attention,
}
