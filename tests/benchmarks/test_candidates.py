from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import edgernn_runtimes
from edgernn.contract import TensorSpec
from edgernn.errors import InputError
from edgernn.metadata import Metadata
from edgernn.sessions import Array, Arrays, Session
from edgernn_benchmarks.candidates import Candidate, check_peer, job_for
from edgernn_benchmarks.inputs import DRAWS
from edgernn_benchmarks.models import ModelFile
from edgernn_benchmarks.peers.engine import FLOAT, INT8
from edgernn_benchmarks.scenarios import parse

X = [{"x": np.zeros((1, 3, 2), np.float32)}]


@dataclass
class Fixed:
    found: Arrays
    inputs: tuple[TensorSpec, ...] = ()
    metadata: Metadata = field(default_factory=Metadata)

    def run(self, inputs: Mapping[str, Array]) -> Arrays:
        return self.found


def checked(target: str, expected: Array, given: Arrays) -> Candidate:
    session = cast(Session, Fixed(given))
    candidate = Candidate(cast(ModelFile, None), target, session)
    check_peer(candidate, X, {"y": expected})
    return candidate


@pytest.mark.parametrize(
    ("target", "off", "wrong"),
    [
        ("peer:torch", 0.0009, False),
        ("peer:torch", 0.0011, True),
        ("peer:onnxruntime-int8", 0.19, False),
        ("peer:onnxruntime-int8", 0.21, True),
        ("peer:torch", np.nan, True),
        ("peer:torch", np.inf, True),
    ],
)
def test_tolerances(target: str, off: float, wrong: bool) -> None:
    right = np.array([0.0, 2.0])
    found = checked(target, right, {"y": right + np.array([off, 0.0])})
    assert found.wrong == wrong
    assert [note.startswith("wrong outputs: y is off by ") for note in found.notes] == [
        True
    ] * wrong


def test_tolerance_grows_with_large_values() -> None:
    assert FLOAT.allowed(1.0) == 1e-3
    assert FLOAT.allowed(1e4) == pytest.approx(0.1)
    assert INT8.allowed(0.5) == pytest.approx(0.05)


@pytest.mark.parametrize("given", [{"y": np.zeros(3)}, {"z": np.zeros(2)}])
def test_other_outputs_are_wrong(given: dict[str, Any]) -> None:
    found = checked("peer:torch", np.zeros(2), given)
    assert found.wrong
    assert "different outputs" in found.notes[0] or "has shapes" in found.notes[0]


def test_a_reference_that_is_not_finite_proves_nothing() -> None:
    found = checked("peer:torch", np.array([np.nan]), {"y": np.zeros(1)})
    assert not found.wrong
    assert found.notes == ["outputs not checked: target cpu returns NaN or infinity"]


def test_several_steps_of_a_model_without_a_time_axis_are_refused(decoder: Path) -> None:
    session = edgernn_runtimes.load(decoder)
    for scenario in ("sequence:20", "chunk:2x3"):
        with pytest.raises(
            InputError, match=f"of scenario {scenario}; measure it with scenario st"
        ):
            job_for(session, parse(scenario), seed=0, sizes={"source": 5})


def test_a_stream_without_a_time_axis_gets_other_inputs(decoder: Path) -> None:
    session = edgernn_runtimes.load(decoder)
    job = job_for(session, parse("stepx2"), seed=0, sizes={"source": 5})
    assert len({piece["memory"].tobytes() for piece in job.arguments}) == DRAWS
    assert job.arguments[0]["token"].shape == (2,)
    assert len(job.run(3)) == 3
