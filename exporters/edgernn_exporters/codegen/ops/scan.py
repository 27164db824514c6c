"""Scan, and Loop with a known number of steps: recurrent cells of people's own.

Source: the ONNX operators Scan-8, Scan-9 … Scan-25 and Loop-1 … Loop-25.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
import onnx

from edgernn_exporters.codegen.dims import Dim
from edgernn_exporters.codegen.expressions import plain_view
from edgernn_exporters.codegen.lowering import Lowering, attributes_of
from edgernn_exporters.codegen.ops.repetition import (
    Carried,
    Repetition,
    Scanned,
    Stacked,
    emit_repetition,
)
from edgernn_exporters.codegen.refusal import NotLoweredError
from edgernn_exporters.codegen.subgraphs import Body, open_body
from edgernn_exporters.codegen.values import Constant, Lazy, Value
from edgernn_exporters.onnx_scans import is_batched, unbatched


def scan(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Scan: states are carried, inputs taken apart and outputs put together along an axis each."""
    if lowering.opset < 9 and is_batched(node):
        try:
            node = unbatched(node)
        except ValueError as error:
            raise NotLoweredError(str(error)) from None
    attributes = attributes_of(node)
    body = _body(lowering, attributes["body"])
    many = int(attributes["num_scan_inputs"])
    carried, results = len(node.input) - many, len(node.output) - (len(node.input) - many)
    if (len(body.inputs), len(body.outputs)) != (len(node.input), len(node.output)):
        raise NotLoweredError(
            f"its body has {len(body.inputs)} inputs and {len(body.outputs)} outputs, the node "
            f"{len(node.input)} and {len(node.output)}"
        )

    def listed(name: str, length: int) -> list[int]:
        return [int(item) for item in attributes.get(name) or [0] * length]

    axes, back = listed("scan_input_axes", many), listed("scan_input_directions", many)
    scanned = []
    for place, name in enumerate(node.input[carried:]):
        view = plain_view(lowering, name, node)
        axis = axes[place] % len(view.shape)
        scanned.append(Scanned(view, axis, bool(back[place]), body.inputs[carried + place]))
    steps = {part.view.shape[part.axis] for part in scanned}
    if len(steps) != 1:
        lengths = ", ".join(map(str, steps))
        raise NotLoweredError(f"it scans inputs of different lengths: {lengths}", timed=True)
    axes, back = listed("scan_output_axes", results), listed("scan_output_directions", results)
    stacked = [
        Stacked(body.outputs[carried + k], node.output[carried + k], axes[k], bool(back[k]))
        for k in range(results)
    ]
    emit_repetition(
        lowering,
        Repetition(
            node, body, steps.pop(),
            _carried(node.input, node.output, body.inputs, body.outputs, carried),
            scanned, stacked,
        ),
    )  # fmt: skip


def loop(lowering: Lowering, node: onnx.NodeProto) -> None:
    """Loop that always takes a known number of steps."""
    body = _body(lowering, attributes_of(node)["body"])
    carried = len(node.input) - 2
    going = node.input[1]
    if going and not lowering.require_constant(going, "condition").all():
        raise NotLoweredError("it takes no step")
    if not node.input[0]:
        raise NotLoweredError("its number of steps is not limited")
    counter, condition, *old = body.inputs
    ends, *inner = body.outputs

    def given(name: str) -> dict[str, Value]:
        return {
            counter: Lazy(f"(int64_t){name}", (), (), "int64"),
            condition: Constant(np.array(True)),
        }

    def check() -> None:
        value = lowering.constant(ends)
        if value is None or not value.all():
            raise NotLoweredError(f"it may end early, when {ends!r} is false")

    stacked = [
        Stacked(name, whole, 0, reverse=False)
        for name, whole in zip(inner[carried:], node.output[carried:], strict=True)
    ]
    emit_repetition(
        lowering,
        Repetition(
            node, body, _steps(lowering, node.input[0]),
            _carried(node.input[2:], node.output, old, inner, carried),
            [], stacked, given,
        ),
        check=check,
    )  # fmt: skip


def _steps(lowering: Lowering, name: str) -> Dim:
    (steps,) = lowering.integers(name, "number of steps")
    return steps


def _carried(
    starts: Sequence[str],
    finals: Sequence[str],
    old: Sequence[str],
    new: Sequence[str],
    number: int,
) -> list[Carried]:
    names = zip(starts, finals, old, new, strict=False)
    return [Carried(*each) for each in islice(names, number)]


def _body(lowering: Lowering, graph: onnx.GraphProto) -> Body:
    if graph.sparse_initializer:
        name = graph.sparse_initializer[0].values.name
        raise NotLoweredError(f"its body holds the sparse constant {name!r}; run edgernn import")
    return open_body(graph, lowering.taken)


LOWERINGS: dict[str, Callable[[Lowering, onnx.NodeProto], None]] = {"Scan": scan, "Loop": loop}
