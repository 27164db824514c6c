"""Find where recurrent nodes take a state from, and which graph output returns it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from edgernn_exporters.onnx_import.editing import RECURRENT
from edgernn_exporters.onnx_import.tracing import Positions, Tracer
from edgernn_exporters.onnx_nodes import attributes, is_standard

_INITIAL = 5
"""Input of h in LSTM, GRU and RNN; c of an LSTM follows."""


@dataclass
class Slot:
    """One state of one node.

    Attributes:
        node: LSTM, GRU, RNN or Scan.
        label: ``"h"``, ``"c"`` or, of a Scan, ``"state0"`` …
        place: Of the first value among the node's inputs.
        returned: Of the next value among its outputs.
        source: Graph input that it is a piece of, or "".
        index: Flat position there of each element, in the shape of the state.
        targets: Graph outputs that hold the next value and those of other slots, nothing else;
            with the flat position of each element.
        direct: Those of them that read the node's state output, not the last step of all outputs.
    """

    node: onnx.NodeProto
    label: str
    place: int
    returned: int
    source: str = ""
    index: NDArray[np.int64] | None = None
    targets: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    direct: list[str] = field(default_factory=list)

    @property
    def given(self) -> str:
        """Name of the first value, or ""."""
        return self.node.input[self.place] if len(self.node.input) > self.place else ""

    @property
    def output(self) -> str:
        """Name of the next value, or ""."""
        return self.node.output[self.returned] if len(self.node.output) > self.returned else ""

    def returns_in_place(self, target: str) -> bool:
        """Tell whether an output holds the next value where the source holds the first."""
        found = self.targets.get(target)
        return found is not None and self.index is not None and np.array_equal(found, self.index)

    @property
    def is_forward(self) -> bool:
        """True if the node runs from the first step to the last, for all rows alike."""
        return is_forward(self.node)


def is_forward(node: onnx.NodeProto) -> bool:
    """Tell whether a recurrent node runs forward in time only, over rows of the same length."""
    given = attributes(node)
    if not is_standard(node, *RECURRENT):
        return 1 not in given.get("scan_input_directions", [])
    return given.get("direction", b"forward") == b"forward" and not (
        len(node.input) > 4 and node.input[4]
    )


def find_slots(graph: onnx.GraphProto, tracer: Tracer) -> list[Slot]:
    """Return the states of all recurrent nodes and Scans, traced to inputs and outputs."""
    slots = [slot for node in graph.node for slot in _of(node)]
    constants = {tensor.name for tensor in graph.initializer}
    inputs = {value.name for value in graph.input} - constants
    for slot in slots:
        found = tracer.positions(slot.given) if slot.given else None
        if found is not None and len(found.roots) == 1 and found.roots[0] in inputs:
            slot.source, slot.index = found.roots[0], found.index
    for value in graph.output:
        found = tracer.positions(value.name)
        held = [] if found is None else [(slot, _places(slot, found, tracer)) for slot in slots]
        size = sum(place.index.size for _, place in held if place is not None)
        if found is not None and size == found.root.size:
            for slot, place in held:
                if place is not None:
                    slot.targets[value.name] = place.index
                    slot.direct += [value.name] if place.direct else []
    return slots


def _of(node: onnx.NodeProto) -> list[Slot]:
    if is_standard(node, *RECURRENT):
        labels = ("h", "c") if node.op_type == "LSTM" else ("h",)
        return [Slot(node, name, _INITIAL + at, 1 + at) for at, name in enumerate(labels)]
    if is_standard(node, "Scan"):
        count = len(node.input) - attributes(node)["num_scan_inputs"]
        return [Slot(node, f"state{at}", at, at) for at in range(count)]
    return []


@dataclass(frozen=True)
class _Place:
    """Where the elements of a state lie, and whether all come from the node's own state output."""

    index: NDArray[np.int64]
    direct: bool


def _places(slot: Slot, found: Positions, tracer: Tracer) -> _Place | None:
    """Return where each element of a slot's next value lies in a graph output, if once each.

    The last step among the outputs of all steps has the same value, and counts as well.
    """
    mine = np.zeros(found.root.shape, bool)
    elements = found.index.copy()
    own, shape = slot.output, tracer.shapes.get(slot.output)
    if own and own in found.roots:
        mine |= found.root == found.roots.index(own)
    direct = bool(mine.any())
    last_shape, y, skipped = _last_step(slot, tracer)
    if y in found.roots:
        late = (found.root == found.roots.index(y)) & (found.index >= skipped)
        direct = direct and not late.any()
        elements -= skipped * late
        mine |= late
    shape = last_shape if shape is None else shape
    positions = np.flatnonzero(mine)
    order = elements.reshape(-1)[positions]
    if shape is None or not np.array_equal(np.sort(order), np.arange(int(np.prod(shape)))):
        return None
    return _Place(positions[np.argsort(order)].reshape(shape), direct)


def _last_step(slot: Slot, tracer: Tracer) -> tuple[tuple[int, ...] | None, str, int]:
    """Return shape, name and offset of the last h among the outputs of all steps."""
    y = slot.node.output[0] if slot.label == "h" and len(slot.node.output) else ""
    shape = tracer.shapes.get(y)
    if shape is None or len(shape) != 4 or shape[1] != 1 or not slot.is_forward or not shape[0]:
        return None, "", 0
    return shape[1:], y, (shape[0] - 1) * int(np.prod(shape[1:]))
