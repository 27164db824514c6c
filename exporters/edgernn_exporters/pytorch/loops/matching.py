"""See what the same argument of the same operation is in every step of a loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edgernn_exporters.pytorch.loops.expressions import (
    Along,
    AlongValues,
    Call,
    Carry,
    Item,
    Local,
    Operation,
    Piece,
    Put,
    Tree,
    Value,
    is_tensor,
    walk,
)

_FEWEST = 3  # steps that show a direction


class IrregularError(Exception):
    """The steps of a loop differ; the text says in what."""


@dataclass
class Steps:
    """Steps of a loop in a list of operations.

    Attributes:
        first: Place of the first operation of the first step.
        size: Operations of a step.
        count: Number of steps.
        carried: Found so far: the tree after a step, the tree before the first, and the tree that
            the second step was given.
    """

    first: int
    size: int
    count: int
    carried: list[tuple[Tree, Tree, Tree]] = field(default_factory=list)

    def body(self, operations: Sequence[Operation]) -> tuple[tuple[Tree, ...], ...]:
        """Return, for each operation of a step, its arguments.

        Raises:
            IrregularError: The steps differ.
        """
        return tuple(
            self.unify([
                (*op.args, *(value for _, value in op.kwargs))
                for op in operations[self.first + at : self.end : self.size]
            ])
            for at in range(self.size)
        )  # fmt: skip

    @property
    def end(self) -> int:
        """Place behind the last operation of the last step."""
        return self.first + self.size * self.count

    def unify(self, trees: Sequence[Tree], back: int = 0) -> Any:
        """Return one tree for what the steps have in the same place.

        Args:
            trees: One for each step.
            back: 1 to read values of the step before as those of the step itself.
        """
        head = trees[0]
        if all(tree == head for tree in trees) and not self._inside(head):
            return head
        if isinstance(head, tuple):
            if not all(isinstance(tree, tuple) and len(tree) == len(head) for tree in trees):
                raise IrregularError("a list grows or shrinks from step to step")
            return tuple(self.unify(items, back) for items in zip(*trees, strict=True))
        if back == 0 and (self._of_step_before(trees[1]) or self._is_delayed(trees)):
            return self._carry(trees)
        if len({type(tree) for tree in trees}) > 1:
            raise IrregularError(
                "an argument comes from elsewhere in one step than in the next, such as from two "
                "steps before"
            )
        match head:
            case Value():
                return self._values([tree.at for tree in trees], back)
            case Piece():
                return self._pieces(trees, back)
            case Item():
                indices = {tree.index for tree in trees}
                if len(indices) == 1:
                    return Item(self.unify([tree.source for tree in trees], back), head.index)
            case Call() | Put():
                raise IrregularError("a constant is made from the number of the step")
        if is_tensor(head):
            raise IrregularError("each step uses other weights or inputs")
        raise IrregularError(f"a number differs from step to step ({head!r}, {trees[1]!r}, …)")

    def _values(self, places: list[int], back: int) -> Tree:
        steps = [divmod(place - self.first, self.size) for place in places]
        if all(self.first <= place < self.end for place in places):
            ats = {at for _, at in steps}
            if len(ats) == 1 and all(step == t for t, (step, _) in enumerate(steps, back and 0)):
                return Local(ats.pop())
            raise IrregularError("a step uses values of a step that is not the one before")
        if any(self.first <= place < self.end for place in places):
            raise IrregularError("a step uses values of a step that is not the one before")
        stride = places[1] - places[0]
        if [places[0] + stride * t for t in range(len(places))] != places:
            raise IrregularError("the steps use values of earlier steps in no order")
        return AlongValues(places[0], stride, len(places))

    def _pieces(self, trees: Sequence[Any], back: int) -> Tree:
        head = trees[0]
        if len({(tree.dim, tree.keep) for tree in trees}) > 1:
            raise IrregularError("the steps take slices of different axes")
        indices = [tree.index for tree in trees]
        if len(set(indices)) == 1:
            source = self.unify([tree.source for tree in trees], back)
            return Piece(source, head.dim, head.index, head.keep)
        stride = indices[1] - indices[0]
        in_line = [indices[0] + stride * t for t in range(len(indices))] == indices
        sources = {tree.source for tree in trees}
        if not in_line or abs(stride) != 1 or len(sources) > 1 or self._inside(head.source):
            raise IrregularError("the steps do not take one piece of a sequence after the other")
        return Along(head.source, head.dim, indices[0], stride, head.keep)

    def _carry(self, trees: Sequence[Tree]) -> Tree:
        if self._inside(trees[0]):
            raise IrregularError("the first step uses a value before it is there")
        after = self.unify(trees[1:], back=1)
        for number, (known, init, _) in enumerate(self.carried):
            if known == after and init == trees[0]:
                return Carry(number)
        self.carried.append((after, trees[0], trees[1]))
        return Carry(len(self.carried) - 1)

    def _inside(self, tree: Tree) -> bool:
        return any(isinstance(t, Value) and self.first <= t.at < self.end for t in walk(tree))

    def _of_step_before(self, tree: Tree) -> bool:
        """Say whether a tree of the second step is made of results of the first."""
        return is_tensor(tree) and any(
            isinstance(t, Value) and self.first <= t.at < self.first + self.size for t in walk(tree)
        )

    def _is_delayed(self, trees: Sequence[Tree]) -> bool:
        """Say whether each step but the first takes the piece that the step before had."""
        if not all(isinstance(tree, Piece) for tree in trees[1:]) or len(trees) <= _FEWEST:
            return False
        head, second = trees[0], trees[1]
        if isinstance(head, Piece) and head.index + trees[2].index == 2 * second.index:
            return False
        try:
            return isinstance(self._pieces(trees[1:], 1), Along)
        except IrregularError:
            return False
