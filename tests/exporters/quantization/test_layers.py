from __future__ import annotations

import numpy as np
import pytest
from helpers.graphs import make_model, normal, tensor
from onnx import helper

from edgernn.errors import UsageError
from edgernn_exporters.quantization.graph import GraphEditor
from edgernn_exporters.quantization.layers import Choice, KeepError, KeptFloat, is_layer

NAMES = ["encoder.0", "encoder.1", "decoder", "head"]


def chosen(choice: Choice) -> list[str]:
    found = []
    for name in NAMES:
        try:
            found.append(choice.of(name))
        except KeepError as reason:
            found.append(str(reason))
    return found


def test_the_last_pattern_that_fits_counts_and_keep_before_all() -> None:
    choice = Choice("int8", {"encoder*": "int4", "encoder.1": "w8a16", "head": "float32"}, ["dec*"])
    assert chosen(choice) == ["int4", "w8a16", "kept by 'dec*'", "float32 was asked for"]
    other = Choice("int8", {"encoder.1": "w8a16", "encoder*": "int4", "head": "int4"}, ["head"])
    assert chosen(other) == ["int4", "int4", "int8", "kept by 'head'"]
    assert choice.precisions() == {"int8", "int4", "w8a16"}


def test_a_pattern_that_fits_nothing_lists_the_layers() -> None:
    Choice("int8", {"enc*": "int4"}, ["head"]).check(NAMES)
    for choice in (Choice("int8", {"nose": "int4"}, []), Choice("int8", {}, ["nose"])):
        with pytest.raises(UsageError, match=r"no layer is named 'nose'; .* 'encoder.0', 'encod"):
            choice.check(NAMES)
        with pytest.raises(UsageError, match="the layers are none"):
            choice.check([])


def test_a_kept_layer_is_shown_with_its_operator() -> None:
    assert str(KeptFloat("rnn", "GRU", "clip is set")) == "GRU rnn: clip is set"


@pytest.mark.parametrize(
    ("table", "attributes", "other", "expected"),
    [
        (normal(1, 5, 3), {}, None, True),
        (normal(1, 5, 3), {"axis": 0}, helper.make_node("Gather", ["t", "i"], ["z"]), True),
        (normal(1, 5, 3), {"axis": -2}, helper.make_node("Gather", ["t", "i"], ["z"]), True),
        (normal(1, 5, 3), {"axis": 1}, None, False),
        (normal(1, 5, 3), {"axis": -1}, None, False),
        (normal(1, 5), {}, None, False),
        (np.arange(15).reshape(5, 3), {}, None, False),
        (normal(1, 5, 3), {}, helper.make_node("Gather", ["t", "i"], ["z"], axis=1), False),
        (normal(1, 5, 3), {}, helper.make_node("Neg", ["t"], ["z"]), False),
    ],
)
def test_an_embedding_takes_rows_of_a_float_table_only(
    table: object, attributes: dict[str, int], other: object, expected: bool
) -> None:
    node = helper.make_node("Gather", ["t", "i"], ["y"], **attributes)
    nodes = [node] if other is None else [node, other]
    tensors = [tensor("t", table), tensor("i", np.array([0, 1]))]
    graph = GraphEditor(make_model(nodes, {}, {"y": ["a", "b"]}, tensors), 20)
    assert is_layer(graph, next(graph.nodes())) is expected
