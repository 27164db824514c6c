"""Follow the axes of a graph's inputs through its nodes, to find which ones are batch and time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgernn_exporters.onnx_import.editing import label, reads
from edgernn_exporters.onnx_import.tracing import frozen, shapes_of
from edgernn_exporters.onnx_nodes import STANDARD

TIME, BATCH = "time", "batch"


@dataclass(frozen=True)
class Axis:
    """Say what an axis of a value is made of.

    Attributes:
        atoms: Axes of inputs that were flattened into it, outermost first; empty if its size does
            not depend on any.
        offset: How many steps it has more than its atom, as behind a cache of a convolution.
    """

    atoms: tuple[str, ...] = ()
    offset: int = 0


NONE = Axis()


class Flow:
    """Labels of all values, and what was found out about the axes of the inputs.

    Each axis of an input is an atom. Nodes say which atoms are the same size (`join`), which must
    keep their size (`pin`), and along which values of different places meet (`mix`).

    Args:
        model: Of opset 13 or later; not changed.
        states: Inputs that are states.
        caches: Those of them that hold past steps.
        final: True if layers that start from a constant will do so in each call.
    """

    def __init__(
        self, model: onnx.ModelProto, states: Iterable[str], caches: Iterable[str], *, final: bool
    ) -> None:
        self.final = final
        self._named: dict[str, int] = {}
        self.shapes = shapes_of(frozen(model, self._prime))
        self.states, self._caches = set(states), set(caches)
        self.producers = {n: node for node in model.graph.node for n in node.output if n}
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._axes: dict[str, tuple[Axis, ...]] = {}
        self._sizes: dict[str, int] = {}
        self._same: dict[str, str] = {}
        self._pinned: dict[str, str] = {}
        self._mixed: dict[str, str] = {}
        self._mixers: dict[str, set[str]] = {}
        self._roles: dict[str, set[str]] = {TIME: set(), BATCH: set()}
        self.undecided: list[str] = []
        self.backwards: list[str] = []
        self._inputs = [v.name for v in model.graph.input if v.name not in self._constants]
        by_size: dict[int, str] = {}
        for name in self._inputs:
            axes = []
            for at, size in enumerate(self.shapes.get(name, ())):
                dynamic = size in self._named.values()
                atom = f"{name}.{at}"
                self._sizes[atom] = size
                if dynamic:
                    self.unite(atom, by_size.setdefault(size, atom))
                axes.append(Axis((atom,)))
            self._axes[name] = tuple(axes)
        self._dynamic = by_size
        self._varying = _depending(model.graph.node, self._inputs)
        self._recalling = _depending(model.graph.node, self.states)

    # What nodes ask

    def of(self, name: str) -> tuple[Axis, ...] | None:
        """Return the axes of a value; None if they are not known."""
        if name in self._axes:
            return self._axes[name]
        if name in self._constants:
            return (NONE,) * len(self._constants[name].dims)
        return None

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """Return an initializer."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def integers(self, name: str) -> list[int] | None:
        """Return the values of an integer initializer."""
        value = self.constant(name) if name else None
        if value is None or value.dtype.kind != "i":
            return None
        return [int(item) for item in value.reshape(-1)]

    def size(self, atom: str) -> int:
        """Return an atom's size; a large prime if it is dynamic."""
        return self._sizes[atom]

    def varies(self, name: str) -> bool:
        """Tell whether a value depends on what an input holds."""
        return name in self._varying

    def recalls(self, name: str) -> bool:
        """Tell whether a value depends on what a state holds."""
        return name in self._recalling

    def is_state(self, axis: Axis) -> bool:
        """Tell whether an axis is one of a state input."""
        return any(atom.rpartition(".")[0] in self.states for atom in axis.atoms)

    def is_cache(self, axis: Axis) -> bool:
        """Tell whether an axis is one of an input that holds past steps."""
        return any(atom.rpartition(".")[0] in self._caches for atom in axis.atoms)

    # What nodes tell

    def set(self, name: str, axes: Iterable[Axis]) -> None:
        """Set the axes of a value."""
        if name:
            self._axes[name] = tuple(axes)

    def by_size(self, name: str) -> None:
        """Label a value by the sizes of its axes, as far as these are dynamic ones."""
        shape = self.shapes.get(name)
        if name and shape is not None:
            self.set(name, (Axis((self._dynamic[s],)) if s in self._dynamic else NONE
                            for s in shape))  # fmt: skip

    def unite(self, one: str, other: str) -> None:
        """Note that two atoms always have the same size."""
        one, other = self.root(one), self.root(other)
        if one != other:
            self._same[one] = other

    def join(self, one: Axis, other: Axis, node: onnx.NodeProto) -> Axis:
        """Return the axis of two that are lined up."""
        if not one.atoms or not other.atoms:
            return one if one.atoms else other
        if len(one.atoms) != len(other.atoms) or one.offset != other.offset:
            self.pin(one, node, "its operands' axes do not match")
            self.pin(other, node, "its operands' axes do not match")
            return one
        for left, right in zip(one.atoms, other.atoms, strict=True):
            self.unite(left, right)
        return one

    def pin(self, axis: Axis, node: onnx.NodeProto, why: str) -> None:
        """Note that an axis must keep its size."""
        for atom in axis.atoms:
            self._pinned.setdefault(atom, f"{label(node)}: {why}")

    def mix(self, axis: Axis, node: onnx.NodeProto, why: str) -> None:
        """Note that values of different places of an axis meet; a single one stays single."""
        for atom in axis.atoms:
            if self._sizes[atom] == 1:
                self.pin(Axis((atom,)), node, why)
                continue
            self._mixed.setdefault(atom, f"{label(node)}: {why}")
            self._mixers.setdefault(atom, set()).add(node.op_type)

    def is_role(self, axis: Axis, role: str, node: onnx.NodeProto) -> None:
        """Note what an axis is for a recurrent node."""
        if len(axis.atoms) == 1 and axis.offset == 0:
            self._roles[role].add(axis.atoms[0])
        elif axis.atoms:
            self.undecided.append(f"{label(node)}: its {role} axis is no single axis of an input")
            self.pin(axis, node, f"its {role} axis is no single axis of an input")

    def claim(self, name: str, at: int, role: str) -> None:
        """Note what an axis of an input is."""
        self._roles[role].update(self._axes[name][at].atoms)

    # What comes of it

    def root(self, atom: str) -> str:
        """Return the representative of all atoms of the same size."""
        while atom in self._same:
            atom = self._same[atom]
        return atom

    def role(self, axis: Axis) -> str | None:
        """Return `TIME` or `BATCH` for an axis that is just that; None otherwise."""
        if len(axis.atoms) != 1:
            return None
        return self.role_of(axis.atoms[0])

    def role_of(self, atom: str) -> str | None:
        """Return `TIME` or `BATCH`, or None."""
        root = self.root(atom)
        for role, atoms in self._roles.items():
            if root in {self.root(other) for other in atoms}:
                return role
        return None

    def is_dynamic(self, axis: Axis) -> bool:
        """Tell whether an axis has a name rather than a size."""
        return any(self._sizes[atom] in self._dynamic for atom in axis.atoms)

    def is_named(self, size: int) -> bool:
        """Tell whether a size stands for the name of an axis, or is made of such."""
        return any(size % prime == 0 for prime in self._named.values())

    def conflicts(self) -> bool:
        """Tell whether an axis would be both batch and time."""
        time, batch = ({self.root(a) for a in self._roles[role]} for role in (TIME, BATCH))
        return not time.isdisjoint(batch)

    def reasons(self, role: str, *, mixed: bool) -> list[str]:
        """Return why the axes of a role must keep their size, or what mixes along them."""
        facts = self._mixed if mixed else self._pinned
        return list(dict.fromkeys(why for a, why in facts.items() if self.role_of(a) == role))

    def mixers(self, role: str) -> frozenset[str]:
        """Return the operators in which values of different places of a role meet."""
        found = [ops for atom, ops in self._mixers.items() if self.role_of(atom) == role]
        return frozenset(name for ops in found for name in ops)

    def place(self, name: str, role: str) -> int | None:
        """Return which axis of a value has a role, or None."""
        found = [at for at, axis in enumerate(self.of(name) or ()) if self.role(axis) == role]
        return found[0] if len(found) == 1 else None

    def atoms(self, role: str) -> Iterator[tuple[str, int]]:
        """Yield the inputs, and their axes, that have a role."""
        for name in self._inputs:
            for at, axis in enumerate(self._axes[name]):
                if self.role(axis) == role:
                    yield name, at

    def _prime(self, name: str) -> int:
        """Return a size for an axis with a name: a prime, so that products can be told apart."""
        if name not in self._named:
            last = max(self._named.values(), default=100)
            self._named[name] = next(n for n in range(last + 1, 1 << 20) if _is_prime(n))
        return self._named[name]


Rule = Callable[[Flow, onnx.NodeProto], None]


def follow(
    model: onnx.ModelProto, states: Iterable[str], caches: Iterable[str], rules: dict[str, Rule], *,
    final: bool,
) -> Flow:  # fmt: skip
    """Follow all axes through a graph.

    Args:
        model: Not changed; nodes in order.
        states: Inputs that are states.
        caches: Those of them that hold past steps.
        rules: By operator; what is not there mixes all axes.
        final: True if layers that start from a constant will do so in each call.
    """
    flow = Flow(model, states, caches, final=final)
    for node in model.graph.node:
        rule = rules.get(node.op_type) if node.domain in STANDARD else None
        if rule is not None and flow.of(node.input[0]) is not None:
            try:
                rule(flow, node)
            except (IndexError, KeyError, ValueError, ZeroDivisionError):
                why = "its inputs and attributes do not fit its operator"
                flow.undecided.append(f"{label(node)}: {why}")
        for name in node.output:
            if name and flow.of(name) is None:
                _unknown(flow, node, name)
    return flow


def _unknown(flow: Flow, node: onnx.NodeProto, name: str) -> None:
    for given in node.input:
        for axis in flow.of(given) or ():
            flow.mix(axis, node, "what it does along time or batch is not known")
            flow.pin(axis, node, "what it does along time or batch is not known")
    flow.by_size(name)


def _depending(nodes: Iterable[onnx.NodeProto], roots: Iterable[str]) -> set[str]:
    """Return the values that depend on what some values hold, not on their shapes alone."""
    found = set(roots)
    for node in nodes:
        if node.op_type not in ("Shape", "Size") and not found.isdisjoint(reads(node)):
            found.update(node.output)
    return found


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % n for n in range(2, int(number**0.5) + 1))
