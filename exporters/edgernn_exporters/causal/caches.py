"""Give a causal model the states that its windows over time need to run step by step."""

from __future__ import annotations

import numpy as np
import onnx

from edgernn.contract import Contract
from edgernn_exporters.causal import cutting, framewise, sequences, windows
from edgernn_exporters.causal.framewise import Rule, other
from edgernn_exporters.causal.values import Array, Timed, Unstreamable, described, refusal
from edgernn_exporters.causal.walk import Walk
from edgernn_exporters.causal.writer import live_nodes, reads
from edgernn_exporters.onnx_nodes import STANDARD, attributes

RULES: dict[str, Rule] = {
    **framewise.RULES,
    **cutting.RULES,
    **windows.RULES,
    **sequences.RULES,
}
_COUNTING = ("Range", "CumSum")


def with_caches(model: onnx.ModelProto, contract: Contract) -> tuple[onnx.ModelProto, Contract]:
    """Turn what windows over time read of earlier calls into states of the contract.

    Requires inputs whose batch and time axes are open. What needs a state is found by following
    the time axis: convolutions and pooling over the past, whether the padding is their own, before
    them, or cut off behind them; shifts by some steps; running sums. Each gets an input
    ``NODE.cache`` and an output ``NODE.cache.next``, of as many frames as its window reaches back.
    The export gate remains the proof.

    Args:
        model: Opset 13 or newer; not changed.
        contract: Says which axes are time.

    Returns:
        A model and a contract with the states added, or both as they came if there are none, if
        the contract is not causal, or if rows have lengths of their own.

    Raises:
        ModelError: A node looks ahead, needs all time steps at once, or does not give one frame
            for each input, so that the model has no step form; names the node.

    Example:
        >>> model, contract = with_caches(model, contract)
        >>> [state.input for state in contract.states]
        ['rnn.h_l0', 'front.conv.cache']
    """
    if not contract.stream.causal or contract.stream.lengths is not None:
        return model, contract
    walk = Walk(model, contract)
    if not _begin(walk, contract):
        return model, contract
    for node in live_nodes(model.graph.node, [value.name for value in model.graph.output]):
        _visit(walk, node)
    for name in contract.stream.outputs:
        _finish(walk, name)
    if not walk.writer.states:
        return model, contract
    return walk.writer.finished()


def _begin(walk: Walk, contract: Contract) -> bool:
    """Define the inputs; False if none of them is a sequence of open length."""
    any_timed = False
    for name, axes in contract.stream.inputs.items():
        shape = walk.sizes.shape(name)
        if axes.time is not None and shape is not None and shape[axes.time].is_time:
            walk.define(name, Timed(name, axes.time, label=name))
            any_timed = True
    return any_timed


def _visit(walk: Walk, node: onnx.NodeProto) -> None:
    """Apply the rule of a node."""
    names = reads(node)
    values = {name: value for name in names if (value := walk.value(name)) is not None}
    if not values:
        walk.keep(node, {})
        _apart(walk, node)
        return
    spoilt = [value for value in values.values() if isinstance(value, Unstreamable)]
    if len(spoilt) == len(values):
        walk.keep(node, {})
        for name in node.output if node.op_type != "Shape" else ():
            walk.define(name, spoilt[0])
        return
    if spoilt and node.op_type != "Concat":  # which may add frames behind the last
        raise refusal(spoilt[0].reason)
    standard = node.domain in STANDARD
    RULES.get(node.op_type if standard else "", other)(walk, node)


def _apart(walk: Walk, node: onnx.NodeProto) -> None:
    """Look at a node that reads no sequence: is it constant, or does it count time steps?"""
    if walk.folded(node):
        return
    name = next((name for name in node.output if name), "")
    shape = walk.sizes.shape(name)
    if shape is None:
        return
    grows = any(size.grows for size in shape)
    if grows and node.op_type in _COUNTING:
        reason = f"{described(node)} counts time steps from the first of each call"
        walk.define(name, Unstreamable(reason))
        return
    if node.op_type in ("Expand", "ConstantOfShape") and not grows:
        _repeated(walk, node, name)


def _repeated(walk: Walk, node: onnx.NodeProto, name: str) -> None:
    """Know a constant that is repeated for the batch."""
    shape = walk.shape(name)
    if any(size.batch and not size.is_batch for size in shape):
        return
    array: Array | None
    if node.op_type == "Expand":
        array = walk.known(node.input[0])
    else:
        given = attributes(node).get("value")
        zero = np.zeros(1, np.float32)
        array = zero if given is None else onnx.numpy_helper.to_array(given)
    if array is not None:
        sizes = [1 if size.is_batch else size.base for size in shape]
        walk.know(name, np.broadcast_to(array, sizes))


def _finish(walk: Walk, name: str) -> None:
    """Give a graph output its frames."""
    value = walk.value(name)
    if isinstance(value, Unstreamable):
        raise refusal(value.reason)
    if not isinstance(value, Timed):
        return
    tensor = walk.aligned(name, f"output {name!r}", value.label)
    if tensor != name:
        walk.writer.give(name, tensor)
