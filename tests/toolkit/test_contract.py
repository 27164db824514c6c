from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn.contract import Axes, Contract, StateSpec, StreamSpec, TensorSpec, require_stream
from edgernn.errors import ContractError, InputError

AXIS = st.none() | st.integers(0, 3)
AXES = st.dictionaries(st.text(max_size=5), st.builds(Axes, AXIS, AXIS), max_size=3)
STATES = st.builds(
    StateSpec, st.text(), st.text(), st.integers(0, 3), st.sampled_from(["float32", "int16"]),
    st.text(), st.none() | st.floats(0, 1),
)  # fmt: skip
CONTRACTS = st.builds(
    Contract, st.lists(STATES, max_size=3).map(tuple), st.builds(
        StreamSpec, st.booleans(), AXES, AXES, st.none() | st.text(max_size=5)
    ),
)  # fmt: skip
STATE = StateSpec("h", "hn", batch_axis=1)
GOOD = Contract((STATE,), StreamSpec(True, {"x": Axes(0, 1)}, {"y": Axes(0, 1)}))
INPUTS = {"x": TensorSpec("x", "float32", ("batch", "time", 4)),
          "h": TensorSpec("h", "float32", (1, "batch", 6))}  # fmt: skip
OUTPUTS = {"y": TensorSpec("y", "float32", ("batch", "time", 2)),
           "hn": TensorSpec("hn", "float32", (1, "batch", 6))}  # fmt: skip
LENGTHS = TensorSpec("n", "int64", ("batch",))


def state(**changes: Any) -> Contract:
    return replace(GOOD, states=(replace(STATE, **changes),))


def stream(**changes: Any) -> Contract:
    return replace(GOOD, stream=replace(GOOD.stream, **changes))


@given(CONTRACTS)
def test_json_and_back(contract: Contract) -> None:
    values = json.loads(json.dumps(contract.to_json()))
    assert Contract.from_json(*values, where="a") == contract


def test_files_of_earlier_versions_have_no_lengths_and_are_read_and_written_alike() -> None:
    states, axes = GOOD.to_json()
    assert set(axes) == {"causal", "inputs", "outputs"}
    assert Contract.from_json(states, axes, where="a").stream.lengths is None


def with_lengths(n: tuple[int | None, int | None] = (0, None), time: int | None = 1) -> Contract:
    axes = {"x": Axes(0, time), "n": Axes(*n)}
    return stream(inputs=axes, lengths="n", causal=False)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_lengths_that_fit_pass(dtype: str) -> None:
    with_lengths().check({**INPUTS, "n": replace(LENGTHS, dtype=dtype)}, OUTPUTS, "a.onnx")


@pytest.mark.parametrize(
    ("contract", "spec", "expected"),
    [
        (replace(with_lengths(), stream=replace(with_lengths().stream, lengths="k")), LENGTHS,
         "'k' are none of the inputs"),
        (replace(with_lengths(), stream=replace(with_lengths().stream, lengths="h")), LENGTHS,
         "'h' are none of the inputs"),
        (with_lengths(), replace(LENGTHS, dtype="float32"), r"n float32 \[batch\] must be int32"),
        (with_lengths(), replace(LENGTHS, shape=("batch", 1)), "must be int32 or int64"),
        (with_lengths((None, None)), LENGTHS, "one for each row"),
        (with_lengths((None, 0)), LENGTHS, "one for each row"),
        (with_lengths(time=None), LENGTHS, "no input with a time axis"),
    ],
)  # fmt: skip
def test_lengths_that_do_not_fit_are_refused(
    contract: Contract, spec: TensorSpec, expected: str
) -> None:
    with pytest.raises(ContractError, match=rf"a\.onnx: .*{expected}.*; export"):
        contract.check({**INPUTS, "n": spec}, OUTPUTS, "a.onnx")


def test_a_tensor_is_shown_in_one_line() -> None:
    assert str(INPUTS["x"]) == "x float32 [batch, time, 4]"


def test_a_contract_that_fits_passes() -> None:
    GOOD.check(INPUTS, OUTPUTS, "a.onnx")
    replace(GOOD, stream=replace(GOOD.stream, outputs={"y": Axes(0, None)})).check(
        INPUTS, OUTPUTS, "a.onnx"
    )


@pytest.mark.parametrize(
    ("contract", "expected"),
    [
        (state(input="k"), "names input 'k', which the graph does not have"),
        (state(output="k"), "names output 'k', which the graph does not have"),
        (state(output="y"), "must agree in shape"),
        (state(dtype="int16"), "the dtype int16 of the contract"),
        (state(batch_axis=3), "batch_axis 3 of state 'h' is outside its rank 3"),
        (state(batch_axis=-1), "batch_axis -1"),
        (state(batch_axis=0), "may vary in no axis but batch axis 0"),
        (replace(GOOD, states=(STATE, STATE)), "twice"),
        (replace(GOOD, states=()), r"inputs \['x'\] are not the graph's \['h', 'x'\]"),
        (stream(inputs={}), r"inputs \[\] are not the graph's \['x'\]"),
        (stream(outputs={"z": Axes(0, 1)}), r"outputs \['z'\] are not"),
        (stream(inputs={"x": Axes(0, 3)}), "axis of input 'x' at 3, but its rank is 3"),
        (stream(outputs={"y": Axes(-1, 1)}), "axis of output 'y' at -1"),
    ],
)
def test_a_contract_that_does_not_fit_is_refused(contract: Contract, expected: str) -> None:
    with pytest.raises(ContractError, match=rf"a\.onnx: .*{expected}.*; export"):
        contract.check(INPUTS, OUTPUTS, "a.onnx")


@pytest.mark.parametrize(
    ("key", "value"),
    [("input", 3), ("output", None), ("batch_axis", "1"), ("batch_axis", True), ("dtype", 4),
     ("init", 0), ("scale", "1"), ("extra", 1)],
)  # fmt: skip
def test_states_of_the_wrong_type_are_refused(key: str, value: Any) -> None:
    states, axes = GOOD.to_json()
    states[0][key] = value
    with pytest.raises(ContractError, match=r"a\.onnx: unreadable state contract .*export"):
        Contract.from_json(states, axes, "a.onnx")


@pytest.mark.parametrize("states", [None, 3, "ab", [None], [[]], [{}], {"h": "hn"}])
def test_states_that_are_no_list_of_entries_are_refused(states: Any) -> None:
    with pytest.raises(ContractError, match="unreadable"):
        Contract.from_json(states, GOOD.to_json()[1], "a")


@pytest.mark.parametrize(
    "change",
    [{"causal": 1}, {"lengths": 1}, {"lengths": ["n"]}, {"inputs": None},
     {"inputs": {"x": {"batch": 0}}}, {"outputs": {"y": None}},
     {"inputs": {"x": {"batch": "0", "time": 1}}}, {"outputs": {"y": {"batch": 0.5, "time": 1}}},
     {"inputs": {"x": {"batch": False, "time": 1}}}],
)  # fmt: skip
def test_streams_of_the_wrong_type_are_refused(change: dict[str, Any]) -> None:
    states, axes = GOOD.to_json()
    with pytest.raises(ContractError, match="unreadable"):
        Contract.from_json(states, {**axes, **change}, "a")
    for value in (None, [], "x"):
        with pytest.raises(ContractError, match="unreadable"):
            Contract.from_json(states, value, "a")


def test_inputs_without_a_batch_axis_are_one_sequence() -> None:
    alone = Contract((), StreamSpec(True, {"x": Axes(None, 0), "side": Axes(None, None)}))
    assert require_stream(alone, "m.onnx", 1) is alone
    with pytest.raises(InputError, match=r"m.onnx: .* one sequence, .* not a batch of 2"):
        require_stream(alone, "m.onnx", 2)
    several = Contract((), StreamSpec(True, {"x": Axes(0, 1), "side": Axes(None, None)}))
    assert require_stream(several, "m.onnx", 2) is several
