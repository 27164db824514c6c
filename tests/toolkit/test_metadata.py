from __future__ import annotations

from types import MappingProxyType

import pytest

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec
from edgernn.errors import ContractError
from edgernn.metadata import Metadata

CONTRACT = Contract((StateSpec("h", "hn", 1),), StreamSpec(True, {"x": Axes(0, 1)}, {}))
FULL = Metadata(
    CONTRACT, task="keywords", preprocessing={"kind": "logmel", "bands": 40}, parent="ab",
    precision="int8-dynamic", tools={"torch": "2"}, gate={"cases": 3, "max_error": 1e-7},
    unproven="exported with --no-gate", pair={"token": "token", "states": {"h": "memory"}},
)  # fmt: skip


@pytest.mark.parametrize("metadata", [Metadata(), FULL, Metadata(contract=CONTRACT)])
def test_props_and_back(metadata: Metadata) -> None:
    assert Metadata.from_props(metadata.to_props(), "a") == metadata


def test_values_are_sorted_json_under_our_prefix_and_mappings_are_taken() -> None:
    props = Metadata(preprocessing=MappingProxyType({"b": 1, "a": 2})).to_props()
    assert props == {
        "edgernn.precision": '"float32"', "edgernn.preprocessing": '{"a":2,"b":1}'
    }  # fmt: skip


def test_keys_of_others_are_ignored() -> None:
    props = {"author": "{", "edgernn": "x", "edgernn.later": "[1]"}
    assert Metadata.from_props(props, "a") == Metadata()


@pytest.mark.parametrize(
    ("props", "expected"),
    [
        ({"edgernn.task": "{"}, "'edgernn.task' is not JSON"),
        ({"edgernn.task": "[" * 100_000}, "'edgernn.task' is not JSON"),
        ({"edgernn.state": "[]"}, "belong together"),
        ({"edgernn.stream": "{}"}, "belong together"),
        ({"edgernn.task": "3"}, "'edgernn.task' is 3, not of type str"),
        ({"edgernn.precision": "[]"}, "not of type str"),
        ({"edgernn.tools": "[]"}, "not of type dict"),
        ({"edgernn.unproven": "true"}, "'edgernn.unproven' is True, not of type str"),
        ({"edgernn.pair": '"a.onnx"'}, "not of type dict"),
        ({"edgernn.preprocessing": '"logmel"'}, "not of type dict"),
        ({"edgernn.state": "7", "edgernn.stream": "7"}, "unreadable state contract"),
    ],
)
def test_unreadable_metadata_is_a_contract_error(props: dict[str, str], expected: str) -> None:
    with pytest.raises(ContractError, match=rf"a\.onnx: .*{expected}.*export the model again"):
        Metadata.from_props(props, "a.onnx")


def test_null_is_what_is_missing() -> None:
    assert Metadata.from_props({"edgernn.precision": "null"}, "a").precision == "float32"


def test_files_of_earlier_versions_are_proven_and_no_pair() -> None:
    found = Metadata.from_props({"edgernn.precision": '"float32"'}, "a")
    assert (found.unproven, found.pair) == (None, None)
