"""The link of a decoder to its encoder."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers.toy_pairs import DECODER, ENCODER, FIRST, LINK, MEMORY, UNITS, Encoder, toy_pair
from hypothesis import given
from hypothesis import strategies as st

from edgernn.contract import Axes, StateSpec, TensorSpec
from edgernn.errors import ContractError, InputError
from edgernn.pairs import PairLink, Side

NAMES = st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3)
TOKEN = st.none() | st.integers(0, 99)


@given(st.builds(PairLink, st.text(), st.text(), st.text(), NAMES, NAMES, TOKEN, TOKEN))
def test_json_and_back(link: PairLink) -> None:
    assert PairLink.from_json(json.loads(json.dumps(link.to_json())), "a") == link


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "a.onnx: names no encoder"),
        ({}, "unreadable link"),
        ({**LINK.to_json(), "more": 1}, "unreadable link"),
        ({**LINK.to_json(), "token": 1}, "a name is not a text"),
        ({**LINK.to_json(), "states": {"h": None}}, "a name is not a text"),
        ({**LINK.to_json(), "states": "h"}, "unreadable link"),
        ({**LINK.to_json(), "start": True}, "a token is not a number from 0 on"),
        ({**LINK.to_json(), "end": -1}, "a token is not a number from 0 on"),
    ],
)
def test_links_that_cannot_be_read_are_refused(value: Any, expected: str) -> None:
    with pytest.raises(ContractError, match=expected):
        PairLink.from_json(value, "a.onnx")


DECODER_SIDE = Side(
    "decoder.onnx", (TensorSpec("token", "int64", ("batch",)), MEMORY),
    (TensorSpec("logits", "float32", ("batch", 4)),),
    (TensorSpec("h", "float32", (1, "batch", UNITS)),), DECODER,
)  # fmt: skip
ENCODER_SIDE = Side("encoder.onnx", Encoder.inputs, Encoder.outputs, (), ENCODER)


def test_a_link_that_fits_passes() -> None:
    LINK.check(ENCODER_SIDE, DECODER_SIDE)
    column = replace(DECODER_SIDE.inputs[0], shape=("batch", 1), dtype="int32")
    LINK.check(ENCODER_SIDE, replace(DECODER_SIDE, inputs=(column, MEMORY)))
    replace(LINK, start=3, end=3).check(ENCODER_SIDE, DECODER_SIDE)


@pytest.mark.parametrize(
    ("link", "encoder", "decoder", "expected"),
    [
        ({"token": "x"}, {}, {}, r"feeds \['memory', 'x'\].* takes \['memory', 'token'\]"),
        ({"memory": {}}, {}, {}, r"feeds \['token'\]"),
        ({"logits": "y"}, {}, {}, "reads 'y'"),
        ({"states": {"c": "first"}}, {}, {}, r"starts \['c'\], which are no states"),
        ({"states": {"h": "last"}}, {}, {}, "takes 'h' from output 'last' of encoder.onnx"),
        ({"memory": {"memory": "all"}}, {}, {}, "takes 'memory' from output 'all'"),
        ({}, {}, {"inputs": (TensorSpec("token", "float32", ("batch",)), MEMORY)}, "must be int32"),
        ({}, {}, {"inputs": (TensorSpec("token", "int64", ("batch", 2)), MEMORY)}, "one token of"),
        ({}, {"outputs": (MEMORY, replace(FIRST, shape=(2, "batch", UNITS)))}, {},
         "output first .* does not fit h"),
        ({}, {"outputs": (MEMORY, replace(FIRST, shape=("batch", UNITS)))}, {}, "does not fit h"),
        ({}, {"outputs": (replace(MEMORY, dtype="float16"), FIRST)}, {}, "does not fit memory"),
        ({"states": {"h": "memory"}}, {}, {}, "output memory .* does not fit h"),
        ({"start": 4}, {}, {}, "start is token 4, but 'logits' are of 4 tokens; .* from 0 to 3"),
        ({"start": None, "end": 99}, {}, {}, "end is token 99, but 'logits' are of 4 tokens"),
    ],
)  # fmt: skip
def test_links_that_do_not_fit_are_refused(
    link: dict[str, Any], encoder: dict[str, Any], decoder: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ContractError, match=f"{expected}.*"):
        replace(LINK, **link).check(
            replace(ENCODER_SIDE, **encoder), replace(DECODER_SIDE, **decoder)
        )


def test_another_batch_axis_is_refused() -> None:
    outputs = {"memory": Axes(1, 0), "first": Axes(1, None)}
    contract = replace(ENCODER, stream=replace(ENCODER.stream, outputs=outputs))
    with pytest.raises(ContractError, match="batch axes must agree"):
        LINK.check(replace(ENCODER_SIDE, contract=contract), DECODER_SIDE)


def test_integer_states_start_at_the_nearest_integers() -> None:
    pair, decoder = toy_pair()
    state = StateSpec("h", "h.next", 1, dtype="int16", scale=2.0**-15)
    pair._side = replace(pair._side, contract=replace(DECODER, states=(state,)))
    x = np.full((2, 3, UNITS), 0.25, np.float32)
    x[1] = 4.0  # beyond what the integers reach
    live = pair.decode({"x": x}, copies=2)
    (h,) = live._stream.state["h"]
    np.testing.assert_array_equal(h, np.repeat([[8192] * UNITS, [32767] * UNITS], 2, axis=0))
    assert decoder.batches == [4]


def test_an_encoder_without_a_batch_is_refused() -> None:
    pair, _ = toy_pair()
    stream = replace(ENCODER.stream, inputs={"x": Axes(None, 1)})
    pair.encoder.metadata = replace(Encoder.metadata, contract=replace(ENCODER, stream=stream))
    with pytest.raises(InputError, match="no batch axis"):
        pair.decode({"x": np.zeros((1, 3, UNITS), np.float32)})
