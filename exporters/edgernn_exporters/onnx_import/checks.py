"""Check a foreign model before anything computes with it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import onnx
from onnx import numpy_helper

from edgernn.errors import ModelError
from edgernn_exporters.onnx_import.limits import MAX_NODES
from edgernn_exporters.onnx_import.tensors import bits_of
from edgernn_exporters.onnx_import.walking import (
    described,
    graphs_in,
    graphs_of,
    nodes_in,
    nodes_of,
)
from edgernn_exporters.onnx_nodes import STANDARD, is_standard, subgraphs

Shape = Sequence[int | str | None]
Shapes = Mapping[str, Shape]

_DOMAINS = (*STANDARD, "ai.onnx.ml")
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_DIRECTIONS = {b"forward": 1, b"reverse": 1, b"bidirectional": 2}
_SHOWN = 3


def check_bodies(model: onnx.ModelProto) -> None:
    """Check that the graphs in If, Loop and Scan nodes take and give what the nodes do.

    Raises:
        ModelError: The numbers differ; names the node.
    """
    for node in nodes_of(model):
        if not is_standard(node, "If", "Loop", "Scan"):
            continue
        given = {entry.name: entry for entry in node.attribute}
        if any(entry.ref_attr_name for entry in node.attribute):
            continue  # in a function, whose caller gives the value
        bodies = [given[name].g for name in ("then_branch", "else_branch", "body") if name in given]
        fits = len(bodies) == (2 if node.op_type == "If" else 1)
        for body in bodies:
            takes, gives, results = len(body.input), len(body.output), len(node.output)
            if node.op_type == "If":
                fits = fits and takes == 0 and gives == results
            elif node.op_type == "Loop":
                states = len(node.input) - 2
                fits = fits and takes == states + 2 and gives == results + 1 and results >= states
            else:
                fits = fits and _fits_scan(node, given, takes) and gives == results
        if not fits:
            raise ModelError(
                f"{described(node)} and the graphs in it differ in how many inputs and outputs "
                f"they have; the file is damaged, export it again"
            )


def _fits_scan(node: onnx.NodeProto, given: Mapping[str, onnx.AttributeProto], takes: int) -> bool:
    sequences = given["num_scan_inputs"].i if "num_scan_inputs" in given else 0
    states = takes - sequences
    stacked = len(node.output) - states
    sizes = [(name, len(given[name].ints)) for name in given if name.startswith("scan_")]
    return (
        # before opset 9, lengths came first
        len(node.input) - takes in (0, 1)
        and sequences > 0 <= min(states, stacked)
        and all(size == (sequences if "input" in name else stacked) for name, size in sizes)
    )


def check_operators(model: onnx.ModelProto) -> None:
    """Check that all operators are standard ones of the opset that the file imports.

    Raises:
        ModelError: There is no graph, the opset is missing, given twice or unknown, a function
            calls itself or grows without bound, or operators are unknown; names all of them.
    """
    if not model.graph.node:
        raise ModelError("an ONNX file without a graph; export it again")
    versions = _versions(model.opset_import, "the file")
    functions = {_key(function): function for function in model.functions}
    used = [(node, versions) for node in nodes_in(model.graph.node)]
    for function in model.functions:
        own = _versions(function.opset_import, f"function {function.name!r}")
        used += [(node, own) for node in nodes_in(function.node)]
    unknown: dict[str, list[str]] = {}
    for node, imported in used:
        if _call(node) not in functions and not _is_known(node, imported):
            domain = f" of domain {node.domain!r}" if node.domain not in STANDARD else ""
            unknown.setdefault(f"{node.op_type}{domain}", []).append(described(node))
    if unknown:
        raise ModelError(f"{_listed(unknown, versions)}")
    _check_growth(model, functions)


def _versions(imports: Iterable[onnx.OperatorSetIdProto], where: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in imports:
        domain = "" if entry.domain in STANDARD else entry.domain
        if found.setdefault(domain, entry.version) != entry.version:
            raise ModelError(
                f"{where} imports two versions, {found[domain]} and {entry.version}, of the "
                f"operators of domain {domain!r}; export it again"
            )
    newest = onnx.defs.onnx_opset_version()
    if found.get("", 1) > newest:
        raise ModelError(
            f"{where} imports opset {found['']}, and {newest} is the newest that onnx "
            f"{onnx.__version__} knows; export it with opset {newest} or older, or update onnx"
        )
    return found


def _is_known(node: onnx.NodeProto, imported: Mapping[str, int]) -> bool:
    if node.domain not in _DOMAINS:
        return False
    domain = "" if node.domain in STANDARD else node.domain
    if domain not in imported:
        raise ModelError(
            f"{described(node)} is of an operator set that the file does not import (domain "
            f"{domain!r}), so its meaning is open; export the model again"
        )
    try:
        return not onnx.defs.get_schema(node.op_type, imported[domain], domain).deprecated
    except onnx.defs.SchemaError:
        return False


def _listed(unknown: Mapping[str, list[str]], versions: Mapping[str, int]) -> str:
    parts = []
    for operator, nodes in unknown.items():
        more = f" and {len(nodes) - _SHOWN} more" if len(nodes) > _SHOWN else ""
        parts.append(f"{operator} ({', '.join(nodes[:_SHOWN])}{more})")
    return (
        f"operators that are no standard ONNX of opset {versions.get('', 0)}: {'; '.join(parts)}; "
        f"export the model without optimization for one runtime and without custom operators, or "
        f"write them as model-local functions of standard operators"
    )


def _key(function: onnx.FunctionProto) -> tuple[str, str, str]:
    return (function.domain, function.name, function.overload)


def _call(node: onnx.NodeProto) -> tuple[str, str, str]:
    return (node.domain, node.op_type, node.overload)


def _check_growth(
    model: onnx.ModelProto, functions: Mapping[tuple[str, str, str], onnx.FunctionProto]
) -> None:
    """Count the nodes that inlining would make, without making them."""
    if len(functions) < len(model.functions):
        raise ModelError("a model-local function is defined twice; export the model again")
    sizes: dict[tuple[str, str, str], int] = {}
    open_calls: set[tuple[str, str, str]] = set()

    def size(key: tuple[str, str, str]) -> int:
        if key in open_calls:
            raise ModelError(f"function {key[1]!r} calls itself; export the model again")
        if key not in sizes:
            open_calls.add(key)
            sizes[key] = total(functions[key].node)
            open_calls.discard(key)
        return sizes[key]

    def total(nodes: Iterable[onnx.NodeProto]) -> int:
        count = 0
        for node in nodes:
            count += size(_call(node)) if _call(node) in functions else 1
            count += sum(total(graph.node) for graph in subgraphs(node))
        return count

    for key in functions:
        size(key)
    count = total(model.graph.node)
    if count > MAX_NODES:
        raise ModelError(
            f"the graph has {count:,} nodes with its functions inlined, and {MAX_NODES:,} are "
            f"allowed; such a file is not meant for devices, export the model without unrolling"
        )


def check_values(graph: onnx.GraphProto, budget: int) -> None:
    """Check the sizes of all values that the graph declares or that were inferred.

    Args:
        graph: With inferred shapes.
        budget: Bytes that one value may have, dynamic axes counted as 1.

    Raises:
        ModelError: A size is negative, or a value is too large; names it.
    """
    for inner in graphs_in(graph):
        for value in (*inner.input, *inner.value_info, *inner.output):
            kind = value.type.tensor_type
            dims = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in kind.shape.dim]
            if any(size < 0 for size in dims):
                raise ModelError(
                    f"value {value.name!r} has shape {dims}; the file is damaged, export it again"
                )
            if not dims or kind.elem_type in (0, onnx.TensorProto.STRING):
                continue
            size = math.prod(dims) * bits_of(kind.elem_type, value.name) // 8
            if size > budget:
                raise ModelError(
                    f"value {value.name!r} of shape {dims} takes {size:,} bytes, more than the "
                    f"{budget:,} that are allowed; if you trust the file, allow more with "
                    f"--max-tensor"
                )


def check_recurrent(model: onnx.ModelProto, shapes: Shapes) -> None:
    """Check weights, states and lengths of all LSTM, GRU and RNN nodes against their attributes.

    Args:
        model: Any model.
        shapes: Shapes of values as far as they are known; those of initializers are added.

    Raises:
        ModelError: A shape does not fit, or a constant length is negative or too large; names the
            node.
    """
    tensors = {t.name: t for graph in graphs_of(model) for t in graph.initializer}
    known = {**shapes, **{name: list(tensor.dims) for name, tensor in tensors.items()}}
    for node in nodes_of(model):
        if is_standard(node, *_GATES):
            _check_node(node, known, tensors)


def _check_node(
    node: onnx.NodeProto, shapes: Shapes, tensors: Mapping[str, onnx.TensorProto]
) -> None:
    given = {entry.name: entry for entry in node.attribute}
    direction = given["direction"].s if "direction" in given else b"forward"
    layout = given["layout"].i if "layout" in given else 0
    if direction not in _DIRECTIONS or layout not in (0, 1):
        raise ModelError(
            f"{described(node)} has direction {direction.decode(errors='replace')!r} and layout "
            f"{layout}, which ONNX does not define; export the model again"
        )
    names = dict(enumerate(node.input))
    x = _dims(names.get(0), shapes)
    r = _dims(names.get(2), shapes)
    hidden = given["hidden_size"].i if "hidden_size" in given else (r[-1] if r else None)
    if not isinstance(hidden, int) or hidden < 1:
        raise ModelError(
            f"{described(node)} has no hidden_size of 1 or more ({hidden}); export the model again"
        )
    if x is not None and 0 in x:  # ONNX Runtime ends the whole process on it
        raise ModelError(
            f"{described(node)}: input X ({names[0]!r}) has shape {list(x)}, which holds nothing; "
            f"export the model with sizes of 1 or more"
        )
    rows, directions = _GATES[node.op_type] * hidden, _DIRECTIONS[direction]
    batch = x[1 - layout] if x is not None and len(x) == 3 else None
    state = [directions, batch, hidden] if layout == 0 else [batch, directions, hidden]
    expected: dict[int, tuple[str, list[int | str | None]]] = {
        0: ("input X", [None, None, None]),
        1: ("weight W", [directions, rows, x[2] if x is not None and len(x) == 3 else None]),
        2: ("weight R", [directions, rows, hidden]),
        3: ("bias B", [directions, 2 * rows]),
        4: ("sequence_lens", [batch]),
        5: ("initial_h", state),
        6: ("initial_c", state),
        7: ("peephole P", [directions, 3 * hidden]),
    }
    for place, (label, wanted) in expected.items():
        have = _dims(names.get(place), shapes)
        if have is not None and not _fits(have, wanted):
            shown = ", ".join("any" if size is None else str(size) for size in wanted)
            raise ModelError(
                f"{described(node)}: {label} ({names[place]!r}) has shape {list(have)}, but "
                f"hidden_size {hidden} and direction {direction.decode()} need [{shown}]; the "
                f"file is damaged or was built wrongly, export it again"
            )
    _check_lengths(node, tensors.get(names.get(4) or ""), x[layout] if x else None)


def _check_lengths(
    node: onnx.NodeProto, tensor: onnx.TensorProto | None, steps: int | str | None
) -> None:
    if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return
    for row, length in enumerate(numpy_helper.to_array(tensor).reshape(-1)):
        if length < 0 or (isinstance(steps, int) and length > steps):
            raise ModelError(
                f"{described(node)}: sequence_lens is {int(length)} for row {row}, but the input "
                f"has {steps} time steps; lengths are 0 to that"
            )


def _dims(name: str | None, shapes: Shapes) -> Shape | None:
    return shapes.get(name) if name else None


def _fits(have: Shape, wanted: Sequence[int | str | None]) -> bool:
    return len(have) == len(wanted) and all(
        size == want
        for size, want in zip(have, wanted, strict=True)
        if isinstance(size, int) and isinstance(want, int)
    )
