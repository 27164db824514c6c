"""Rewrite the operators of one time step so that they run over many steps at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edgernn_exporters.onnx_import.editing import RECURRENT, Editor, label
from edgernn_exporters.onnx_nodes import STANDARD, is_standard

LEAD = None
"""Place of a time axis that was put before all axes of a step."""


class LiftError(Exception):
    """A graph has an operator that cannot be run over many steps at once; the text says which."""


@dataclass(frozen=True)
class Lifted:
    """Stand for the values of all steps.

    Attributes:
        name: Of the tensor.
        place: Axis of size 1 of a step that is the time axis now, or `LEAD`.
    """

    name: str
    place: int | None


Rule = Callable[["Lifter", onnx.NodeProto], None]


class Lifter:
    """Write nodes over many steps in place of nodes of one step.

    A value of a step either has an axis of size 1 that becomes time, or gets a time axis before
    its own. Every rule gives for each step what the node gives for it, so the steps may be of
    anything; what a node would mix over steps, or is not known, is an error.

    Args:
        editor: Of the graph; receives constants, not the nodes.
        shapes: Sizes of all values of a step.
        states: State outputs by the state inputs of recurrent nodes.
        rules: By operator.
    """

    def __init__(
        self, editor: Editor, shapes: Mapping[str, tuple[int, ...]], states: Mapping[str, str],
        rules: Mapping[str, Rule],
    ) -> None:  # fmt: skip
        self.nodes: list[onnx.NodeProto] = []
        self._editor, self._shapes, self._states = editor, dict(shapes), dict(states)
        self._rules = rules
        self._constants = {tensor.name: tensor for tensor in editor.graph.initializer}
        self._lifted: dict[str, Lifted] = {}
        self._converted: dict[tuple[str, int | None], str] = {}
        self._last: set[str] = set()

    def put(self, name: str, value: Lifted) -> None:
        """Say which tensor holds all steps of a value."""
        self._lifted[name] = value

    def get(self, name: str) -> Lifted | None:
        """Return the steps of a value; None if it is the same in all of them.

        Raises:
            LiftError: Only that of the last step is known.
        """
        if name in self._last:
            raise LiftError(f"{name!r} is a cell state, which is known behind the last step only")
        return self._lifted.get(name)

    def last_only(self, name: str) -> None:
        """Say that a value is known behind the last step only."""
        self._last.add(name)

    def middle(self, name: str, shape: Iterable[int]) -> None:
        """Give the sizes of a value that the graph of a step does not have."""
        self._shapes[name] = tuple(shape)

    def add_all(self, nodes: Iterable[onnx.NodeProto]) -> None:
        """Write nodes, in order.

        Raises:
            LiftError: One cannot be run over many steps.
        """
        for node in nodes:
            self._add(node)

    def lead(self, name: str) -> str:
        """Return the tensor [time, *step] of a value."""
        return self.at(name, LEAD)

    def at(self, name: str, place: int | None) -> str:
        """Return the tensor of a value with time at a place, an axis of size 1 or `LEAD`."""
        value = self._lifted[name]
        if value.place == place:
            return value.name
        key = (value.name, place)
        if key not in self._converted:
            self._converted[key] = self._moved(name, value, place)
        return self._converted[key]

    # How nodes are written

    def _add(self, node: onnx.NodeProto) -> None:
        late = [name for name in node.input if name in self._last]
        if late and is_standard(node, "Identity", "Squeeze"):
            self._last.update(node.output)
            return
        if late:
            raise LiftError(f"{label(node)} reads {late[0]!r}, the cell state, of every step")
        if not any(name in self._lifted for name in node.input):
            if any(name in self._states for name in node.input):
                raise LiftError(f"{label(node)} reads a state that no recurrent node takes")
            self.nodes.append(node)
            return
        rule = self._rules.get(node.op_type) if node.domain in STANDARD else None
        if rule is None:
            raise LiftError(f"{label(node)} is not known to treat each step alike")
        if not is_standard(node, *RECURRENT) and any(name in self._states for name in node.input):
            raise LiftError(f"{label(node)} reads a state that no recurrent node takes")
        known = {"", *self._shapes, *self._constants}
        missing = [name for name in (*node.input, *node.output) if name not in known]
        if missing:
            raise LiftError(f"the shape of {missing[0]!r} at {label(node)} is not known")
        rule(self, node)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the sizes of a step."""
        if name in self._constants:
            return tuple(self._constants[name].dims)
        return self._shapes[name]

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return an initializer."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def integers(self, node: onnx.NodeProto, at: int) -> list[int] | None:
        """Return a constant integer input of a node; None if it has no such input."""
        if len(node.input) <= at or not node.input[at]:
            return None
        value = self.constant(node.input[at])
        if value is None:
            raise LiftError(f"{label(node)} has an input {node.input[at]!r} that is not constant")
        return [int(entry) for entry in value.reshape(-1)]

    def make(self, op_type: str, inputs: list[str], like: str = "", **given: Any) -> str:
        """Write a node and return its output, named after a value."""
        output = self._editor.unique(like or inputs[0])
        self.nodes.append(helper.make_node(op_type, inputs, [output], **given))
        return output

    def copy(self, node: onnx.NodeProto, inputs: list[str], place: int | None,
             **changed: Any) -> None:  # fmt: skip
        """Write a node again with other inputs and attributes; time is at a place of its outputs.

        Values keep their names, because nothing reads them as a single step any more.
        """
        new = onnx.NodeProto()
        new.CopyFrom(node)
        new.input[:] = inputs
        kept = [entry for entry in new.attribute if entry.name not in changed]
        del new.attribute[:]
        new.attribute.extend([*kept, *(helper.make_attribute(k, v) for k, v in changed.items())])
        self.nodes.append(new)
        for name in node.output:
            if name:
                self._lifted[name] = Lifted(name, place)

    def ints(self, name: str, values: Iterable[int]) -> str:
        """Add an int64 constant."""
        return self._editor.constant(f"{name}.lifted", np.array(list(values), np.int64))

    def floats(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant."""
        return self._editor.constant(f"{name}.lifted", value)

    def squeezed(self, name: str, axes: Iterable[int]) -> str:
        """Return a tensor without axes of size 1."""
        chosen = sorted(axes)
        return self.make("Squeeze", [name, self.ints("axes", chosen)]) if chosen else name

    def unsqueezed(self, name: str, axes: Iterable[int]) -> str:
        """Return a tensor with new axes of size 1."""
        chosen = sorted(axes)
        return self.make("Unsqueeze", [name, self.ints("axes", chosen)]) if chosen else name

    def swung(self, name: str, rank: int, source: int, target: int) -> str:
        """Return a tensor with an axis at another place, the others in order."""
        if source == target:
            return name
        perm = [at for at in range(rank) if at != source]
        perm.insert(target, source)
        return self.make("Transpose", [name], perm=perm)

    def reaches(self, node: onnx.NodeProto, name: str) -> Lifted:
        """Return the steps of what must be lifted."""
        value = self._lifted.get(name)
        if value is None:
            raise LiftError(f"{label(node)} takes {name!r}, which is the same in each step")
        return value

    def state(self, node: onnx.NodeProto, at: int) -> None:
        """Check that a recurrent node hands a state on to itself."""
        name = node.input[5 + at] if len(node.input) > 5 + at else ""
        output = node.output[1 + at] if len(node.output) > 1 + at else ""
        if not output or self._states.get(name) != output:
            raise LiftError(f"{label(node)} does not start from its own last state")

    def rename(self, name: str, other: str) -> None:
        """Give a tensor that a node made another name."""
        for node in self.nodes:
            node.output[:] = [other if made == name else made for made in node.output]
            node.input[:] = [other if given == name else given for given in node.input]
        for key, value in self._lifted.items():
            if value.name == name:
                self._lifted[key] = Lifted(other, value.place)
        self._converted.clear()

    def unique(self, name: str) -> str:
        """Return a name that is not used."""
        return self._editor.unique(name)

    def _moved(self, name: str, value: Lifted, place: int | None) -> str:
        rank = len(self.shape(name))
        if value.place is not LEAD:
            front = self.swung(value.name, rank, value.place, 0)
            whole = self.unsqueezed(front, [value.place + 1])
        else:
            whole = value.name
        if place is LEAD:
            return whole
        return self.swung(self.squeezed(whole, [place + 1]), rank, 0, place)


def lead_rank(lifter: Lifter, name: str, rank: int) -> str:
    """Return [time, 1, …, *step]: a value of all steps, with axes for a step of higher rank."""
    own = len(lifter.shape(name))
    return lifter.unsqueezed(lifter.lead(name), range(1, 1 + rank - own))
