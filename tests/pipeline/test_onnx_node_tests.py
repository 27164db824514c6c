"""The recurrent tests of the onnx package: through import, on target cpu, and as C."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx.backend.test.case.test_case import TestCase

import edgernn
from edgernn.sessions import Session

RECURRENT = ("lstm", "gru", "rnn")


def collected(*modules: str) -> list[Any]:
    """Return the node tests of modules of ``onnx.backend.test.case.node``, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of the package's tests divide by zero
        package = importlib.import_module("onnx.backend.test.case.node")
        for module in modules:
            importlib.import_module(f"onnx.backend.test.case.node.{module}")
    operators = {module.upper() if module in RECURRENT else module.title() for module in modules}
    found = {
        case.name: case
        for case in package._NodeTestCases
        if case.model.graph.node[-1].op_type in operators
    }
    assert found
    return [pytest.param(case, id=name) for name, case in sorted(found.items())]


def written(case: TestCase, folder: Path) -> Path:
    path = folder / f"{case.name}.onnx"
    path.write_bytes(case.model.SerializeToString())
    return path


def check(case: TestCase, session: Session) -> None:
    """Run the data sets of a test; states that the import found begin at zero, as theirs do."""
    names = {spec.name for spec in session.inputs}
    for inputs, expected in case.data_sets:
        given = _named(case.model.graph.input, inputs)
        assert not any(value.any() for name, value in given.items() if name not in names)
        feeds = {name: value for name, value in given.items() if name in names}
        got = session.run(feeds)
        wanted = _named(case.model.graph.output, expected)
        if not wanted.keys() <= got.keys():  # some are states now
            got |= _states(session, feeds)
        for name, want in wanted.items():
            assert got[name].shape == want.shape, name
            np.testing.assert_allclose(got[name], want, case.rtol, 1e-6, err_msg=name)


def _states(session: Session, feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last states by the names of the graph's outputs."""
    contract = session.metadata.contract
    assert contract is not None
    name, place = next((n, p) for n, p in contract.stream.inputs.items() if p.batch is not None)
    assert place.batch is not None
    stream = session.stream(batch=feeds[name].shape[place.batch])
    stream.step(dict(feeds) if len(feeds) > 1 else next(iter(feeds.values())))
    return {state.output: stream.state[state.input] for state in contract.states}


def _named(values: Any, arrays: Any) -> Mapping[str, Any]:
    pairs = zip(values, arrays, strict=True)
    return {value.name: np.asarray(array) for value, array in pairs}


@pytest.mark.parametrize("case", collected(*RECURRENT))
def test_recurrent_nodes_as_they_are_in_c(case: TestCase, tmp_path: Path) -> None:
    check(case, edgernn.load(written(case, tmp_path), "native"))


@pytest.mark.parametrize("case", collected(*RECURRENT))
def test_recurrent_nodes_through_import(case: TestCase, tmp_path: Path) -> None:
    clean = tmp_path / "clean.onnx"
    edgernn.import_onnx(written(case, tmp_path), clean)
    check(case, edgernn.load(clean, "cpu"))
    check(case, edgernn.load(clean, "native"))


@pytest.mark.parametrize("target", ["cpu", "native"])
@pytest.mark.parametrize("case", collected("scan"))
def test_scans(case: TestCase, target: str, tmp_path: Path) -> None:
    check(case, edgernn.load(written(case, tmp_path), target))
    clean = tmp_path / "clean.onnx"
    edgernn.import_onnx(written(case, tmp_path), clean)
    check(case, edgernn.load(clean, target))


def test_all_recurrent_tests_are_there() -> None:
    names = [param.id for param in collected(*RECURRENT)]
    assert {"test_lstm_with_peepholes", "test_gru_batchwise", "test_rnn_seq_length"} <= {*names}
    assert len(names) >= 18
