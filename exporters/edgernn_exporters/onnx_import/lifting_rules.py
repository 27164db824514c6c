"""How each operator of one time step is written over many steps at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from edgernn_exporters.causal.framewise import REDUCTIONS
from edgernn_exporters.onnx_import.axes_rules import ELEMENTWISE, UNARY
from edgernn_exporters.onnx_import.editing import label
from edgernn_exporters.onnx_import.lifting import LEAD, Lifted, Lifter, LiftError, Rule, lead_rank
from edgernn_exporters.onnx_import.slots import is_forward
from edgernn_exporters.onnx_nodes import attributes

_BY_CHANNEL = ("BatchNormalization", "QuantizeLinear", "DequantizeLinear")
"""They have an axis of their own, counted from the front."""


def _unary(lifter: Lifter, node: onnx.NodeProto) -> None:
    _only_first(lifter, node)
    value = lifter.reaches(node, node.input[0])
    if node.op_type == "Identity":
        lifter.put(node.output[0], value)
    else:
        lifter.copy(node, [value.name, *node.input[1:]], value.place)


def _elementwise(lifter: Lifter, node: onnx.NodeProto) -> None:
    rank = len(lifter.shape(node.output[0]))
    inputs, place = _aligned(lifter, list(node.input), rank)
    lifter.copy(node, inputs, place)


def _aligned(lifter: Lifter, names: list[str], rank: int) -> tuple[list[str], int | None]:
    """Return tensors that broadcast for each step as these do, and the place of time in them."""
    for place in _common(lifter, names, rank):
        shapes = {name: lifter.shape(name) for name in names if name}
        behind = rank - place  # axes from time on
        fits = all(
            (len(shape) >= behind and shape[-behind] == 1)
            if lifter.get(name)
            else (len(shape) < behind or shape[-behind] == 1)
            for name, shape in shapes.items()
        )
        if fits:
            return [
                lifter.at(name, len(shapes[name]) - behind) if lifter.get(name) else name
                for name in names
            ], place
    return [lead_rank(lifter, name, rank) if lifter.get(name) else name for name in names], LEAD


def _common(lifter: Lifter, names: list[str], rank: int) -> Sequence[int]:
    """Return axes of a result of this rank where one of the operands has time."""
    found = [
        rank - len(lifter.shape(name)) + value.place
        for name in names
        if (value := lifter.get(name)) and value.place is not None
    ]
    return sorted(set(found))


def _matmul(lifter: Lifter, node: onnx.NodeProto) -> None:
    left, right = node.input
    rank, value = len(lifter.shape(left)), lifter.get(left)
    if min(rank, len(lifter.shape(right))) < 2:
        raise LiftError(f"{label(node)} multiplies with a vector")
    if value is not None and lifter.get(right) is None and len(lifter.shape(right)) == 2:
        place = value.place if value.place != rank - 1 else LEAD
        lifter.copy(node, [lifter.at(left, place), right], place)
        return
    most = len(lifter.shape(node.output[0]))
    inputs = [lead_rank(lifter, name, most) if lifter.get(name) else name for name in node.input]
    lifter.copy(node, inputs, LEAD)


def _gemm(lifter: Lifter, node: onnx.NodeProto) -> None:
    given = attributes(node)
    value, matrix = lifter.reaches(node, node.input[0]), lifter.constant(node.input[1])
    if matrix is None or given.get("transA", 0):
        raise LiftError(f"{label(node)} multiplies steps with something that is not constant")
    alpha, beta = given.get("alpha", 1.0), given.get("beta", 1.0)
    weights = node.input[1]
    if given.get("transB", 0) or alpha != 1:
        turned = matrix.T if given.get("transB", 0) else matrix
        scaled = turned if alpha == 1 else turned * matrix.dtype.type(alpha)
        weights = lifter.floats(node.input[1], np.ascontiguousarray(scaled))
    place = value.place if value.place == 0 else LEAD
    product = lifter.make(
        "MatMul", [lifter.at(node.input[0], place), weights], f"{node.output[0]}.product",
        name=node.name,
    )  # fmt: skip
    bias = node.input[2] if len(node.input) > 2 else ""
    if not bias:
        lifter.put(node.output[0], Lifted(product, place))
        return
    if beta != 1:
        added = lifter.constant(bias)
        if added is None:
            raise LiftError(f"{label(node)} scales an addend that is not constant")
        bias = lifter.floats(bias, added * matrix.dtype.type(beta))
    inner = onnx.helper.make_node("Add", [node.output[0], bias], [node.output[0]])
    lifter.put(node.output[0], Lifted(product, place))
    _elementwise(lifter, inner)


def _squeeze(lifter: Lifter, node: onnx.NodeProto) -> None:
    shape, chosen = lifter.shape(node.input[0]), lifter.integers(node, 1)
    rank = len(shape)
    axes = {at % rank for at in chosen} if chosen is not None else {
        at for at, size in enumerate(shape) if size == 1}  # fmt: skip
    _drop(lifter, node, axes)


def _drop(lifter: Lifter, node: onnx.NodeProto, axes: set[int]) -> None:
    """Write a node that removes axes of size 1."""
    value, rank = lifter.reaches(node, node.input[0]), len(lifter.shape(node.input[0]))
    if value.place is None:
        name, place = lifter.squeezed(value.name, [at + 1 for at in axes]), LEAD
    else:
        name = lifter.squeezed(value.name, axes - {value.place})
        left = rank - len(axes - {value.place})
        now = value.place - sum(at < value.place for at in axes)
        gone = value.place in axes
        place = LEAD if gone else now
        name = lifter.swung(name, left, now, 0) if gone else name
    lifter.put(node.output[0], Lifted(name, place))


def _unsqueeze(lifter: Lifter, node: onnx.NodeProto) -> None:
    chosen = lifter.integers(node, 1) or []
    rank = len(lifter.shape(node.output[0]))
    _insert(lifter, node, {at % rank for at in chosen})


def _insert(lifter: Lifter, node: onnx.NodeProto, axes: set[int]) -> None:
    """Write a node that adds axes of size 1; the first is time, if the step had none."""
    value, rank = lifter.reaches(node, node.input[0]), len(lifter.shape(node.input[0]))
    if value.place is None:
        time, *rest = sorted(axes)
        name = lifter.swung(value.name, rank + 1, 0, time - sum(at < time for at in rest))
        lifter.put(node.output[0], Lifted(lifter.unsqueezed(name, rest), time))
        return
    kept = [at for at in range(rank + len(axes)) if at not in axes]
    name = lifter.unsqueezed(value.name, axes)
    lifter.put(node.output[0], Lifted(name, kept[value.place]))


def _reshape(lifter: Lifter, node: onnx.NodeProto) -> None:
    before, after = lifter.shape(node.input[0]), lifter.shape(node.output[0])
    value = lifter.reaches(node, node.input[0])
    change = _ones(before, after, value.place)
    if change is not None:
        dropped, added = change
        if not dropped and not added:
            lifter.put(node.output[0], value)
        elif dropped and added:
            middle = lifter.unique(node.output[0])
            _drop(lifter, onnx.helper.make_node("Squeeze", [node.input[0]], [middle]), dropped)
            lifter.middle(middle, [size for at, size in enumerate(before) if at not in dropped])
            _insert(lifter, onnx.helper.make_node("Unsqueeze", [middle], [node.output[0]]), added)
        elif dropped:
            _drop(lifter, node, dropped)
        else:
            _insert(lifter, node, added)
        return
    if node.op_type != "Reshape" or attributes(node).get("allowzero", 0):
        raise LiftError(f"{label(node)} puts axes together")
    target = lifter.constant(node.input[1])
    if lifter.get(node.input[1]) is not None:
        raise LiftError(f"{label(node)} has other sizes in each step")
    keep = [0]  # the time axis
    sizes = (
        lifter.make("Concat", [lifter.ints("time", keep), node.input[1]], axis=0)
        if target is None
        else lifter.ints(node.input[1], [*keep, *map(int, target)])
    )
    lifter.copy(node, [lifter.lead(node.input[0]), sizes], LEAD)


def _ones(
    before: Sequence[int], after: Sequence[int], time: int | None
) -> tuple[set[int], set[int]] | None:
    """Return axes of size 1 to drop and to add that turn a shape into another, if that is all.

    Among those that could be dropped it is the one that is time, else the last ones.
    """
    if [size for size in before if size != 1] != [size for size in after if size != 1]:
        return None
    dropped: set[int] = set()
    added: set[int] = set()
    for old, new in zip(_gaps(before), _gaps(after), strict=True):
        first = [at for at in old if at == time]
        dropped.update((first + [at for at in old[::-1] if at != time])[: len(old) - len(new)]
                       if len(old) > len(new) else [])  # fmt: skip
        added.update(new[len(old) :])
    return dropped, added


def _gaps(shape: Sequence[int]) -> list[list[int]]:
    """Return the axes of size 1 before each larger one, and behind the last."""
    gaps: list[list[int]] = [[]]
    for at, size in enumerate(shape):
        if size == 1:
            gaps[-1].append(at)
        else:
            gaps.append([])
    return gaps


def _transpose(lifter: Lifter, node: onnx.NodeProto) -> None:
    value, rank = lifter.reaches(node, node.input[0]), len(lifter.shape(node.input[0]))
    perm = list(attributes(node).get("perm", range(rank)[::-1]))
    if value.place is None:
        lifter.copy(node, [value.name], LEAD, perm=[0, *(at + 1 for at in perm)])
    else:
        lifter.copy(node, [value.name], perm.index(value.place), perm=perm)


def _gather(lifter: Lifter, node: onnx.NodeProto) -> None:
    data, index = node.input
    at = attributes(node).get("axis", 0) % len(lifter.shape(data))
    if lifter.get(data) is None:  # of a table
        if at:
            raise LiftError(f"{label(node)} takes other parts of a constant in each step")
        value = lifter.reaches(node, index)
        lifter.copy(node, [data, value.name], value.place)
        return
    value, places = lifter.reaches(node, data), lifter.constant(index)
    if lifter.get(index) is not None or places is None or places.ndim > 1:
        raise LiftError(f"{label(node)} takes parts that depend on the input")
    if at == value.place:
        if places.size != 1:
            raise LiftError(f"{label(node)} repeats an axis of size 1")
        if places.ndim:
            lifter.put(node.output[0], value)
        else:
            _drop(lifter, node, {at})
        return
    if value.place is None:
        lifter.copy(node, [value.name, index], LEAD, axis=at + 1)
    else:
        before = not places.ndim and at < value.place
        lifter.copy(node, [value.name, index], value.place - before, axis=at)


def _slice(lifter: Lifter, node: onnx.NodeProto) -> None:
    value, rank = lifter.reaches(node, node.input[0]), len(lifter.shape(node.input[0]))
    starts, ends = lifter.integers(node, 1) or [], lifter.integers(node, 2) or []
    axes = lifter.integers(node, 3) or list(range(len(starts)))
    steps = lifter.integers(node, 4) or [1] * len(starts)
    if value.place is not None and lifter.shape(node.output[0])[value.place] != 1:
        raise LiftError(f"{label(node)} leaves nothing of the step")
    shift = 1 if value.place is None else 0
    parts = [
        (start, end, at % rank + shift, step)
        for start, end, at, step in zip(starts, ends, axes, steps, strict=True)
        if at % rank != value.place
    ]
    if not parts:
        lifter.put(node.output[0], value)
        return
    given = [lifter.ints(node.output[0], column) for column in zip(*parts, strict=True)]
    lifter.copy(node, [value.name, *given], value.place)


def _split(lifter: Lifter, node: onnx.NodeProto) -> None:
    value, rank = lifter.reaches(node, node.input[0]), len(lifter.shape(node.input[0]))
    at = attributes(node).get("axis", 0) % rank
    if at == value.place:
        raise LiftError(f"{label(node)} splits an axis of size 1")
    axis = at + 1 if value.place is None else at
    lifter.copy(node, [value.name, *node.input[1:]], value.place, axis=axis)


def _concat(lifter: Lifter, node: onnx.NodeProto) -> None:
    rank = len(lifter.shape(node.output[0]))
    at = attributes(node)["axis"] % rank
    values = [lifter.reaches(node, name) for name in node.input]
    if len(values) == 1:
        lifter.put(node.output[0], values[0])
        return
    places = {value.place for value in values if value.place not in (None, at)}
    for place in sorted(p for p in places if p is not None):
        if all(lifter.shape(name)[place] == 1 for name in node.input):
            lifter.copy(node, [lifter.at(name, place) for name in node.input], place, axis=at)
            return
    lifter.copy(node, [lifter.lead(name) for name in node.input], LEAD, axis=at + 1)


def _along(lifter: Lifter, node: onnx.NodeProto) -> None:
    """Softmax, which takes one axis together, and LayerNormalization, which takes all from one."""
    _only_first(lifter, node)
    value, rank = lifter.reaches(node, node.input[0]), len(lifter.shape(node.input[0]))
    at = attributes(node).get("axis", -1) % rank
    single = not node.op_type.endswith("erNormalization")
    meets = value.place is not None and (value.place == at if single else value.place >= at)
    place = LEAD if meets else value.place
    inputs = [lifter.at(node.input[0], place), *node.input[1:]]
    lifter.copy(node, inputs, place, axis=at + 1 if place is LEAD else at)


def _reduce(lifter: Lifter, node: onnx.NodeProto) -> None:
    given, rank = attributes(node), len(lifter.shape(node.input[0]))
    chosen = lifter.integers(node, 1) if "axes" not in given else list(given["axes"])
    if not chosen:
        raise LiftError(f"{label(node)} takes all axes together")
    axes, value = sorted(at % rank for at in chosen), lifter.reaches(node, node.input[0])
    place = LEAD if value.place in axes else value.place
    name = lifter.at(node.input[0], place)
    moved = [at + 1 for at in axes] if place is LEAD else axes
    result = place
    if place is not None and not given.get("keepdims", 1):
        result = place - sum(at < place for at in axes)
    if "axes" in given:
        lifter.copy(node, [name], result, axes=moved)
    else:
        lifter.copy(node, [name, lifter.ints(node.input[1], moved)], result)


def _expand(lifter: Lifter, node: onnx.NodeProto) -> None:
    value, target = lifter.reaches(node, node.input[0]), lifter.integers(node, 1) or []
    before, after = lifter.shape(node.input[0]), lifter.shape(node.output[0])
    if before == after:
        lifter.put(node.output[0], value)
        return
    whole = lead_rank(lifter, node.input[0], len(after))
    sizes = [1] * (len(after) - len(target)) + target
    lifter.copy(node, [whole, lifter.ints(node.input[1], [1, *sizes])], LEAD)


def _shape(lifter: Lifter, node: onnx.NodeProto) -> None:
    """The sizes of a step are the same in each."""
    given, rank = attributes(node), len(lifter.shape(node.input[0]))
    start, end, _ = slice(given.get("start", 0), given.get("end")).indices(rank)
    lifter.nodes.append(
        onnx.helper.make_node(
            "Shape", [lifter.lead(node.input[0])], node.output, name=node.name,
            start=start + 1, end=max(start, end) + 1,
        )
    )  # fmt: skip


def _recurrent(lifter: Lifter, node: onnx.NodeProto) -> None:
    """A node over one step, whose last state is the next step's first."""
    if not is_forward(node) or lifter.shape(node.input[0])[0] != 1:
        raise LiftError(f"{label(node)} runs over something else than the steps, or backwards")
    states = 2 if node.op_type == "LSTM" else 1
    for at in range(states):
        lifter.state(node, at)
    lifter.reaches(node, node.input[0])
    new = onnx.NodeProto()
    new.CopyFrom(node)
    new.input[0] = lifter.at(node.input[0], 0)
    new.output[0] = node.output[0] or lifter.unique(f"{node.name or 'rnn'}.y")
    lifter.nodes.append(new)
    lifter.put(new.output[0], Lifted(new.output[0], 0))
    # For each step the next h is that step's output, [time, directions, batch, hidden] for all.
    lifter.put(node.output[1], Lifted(new.output[0], LEAD))
    if states == 2:
        lifter.last_only(node.output[2])


def _only_first(lifter: Lifter, node: onnx.NodeProto) -> None:
    if any(lifter.get(name) for name in node.input[1:]):
        raise LiftError(f"{label(node)} has parameters that depend on the step")


RULES: dict[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, _elementwise),
    **{name: _unary for name in UNARY if name not in _BY_CHANNEL},
    **dict.fromkeys(REDUCTIONS, _reduce),
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Transpose": _transpose,
    "Gather": _gather,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Softmax": _along,
    "LogSoftmax": _along,
    "LayerNormalization": _along,
    "RMSNormalization": _along,
    "Expand": _expand,
    "Shape": _shape,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}
