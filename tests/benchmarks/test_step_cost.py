from __future__ import annotations

import pytest
from helpers.models import ModelPair

from edgernn.errors import ModelError, UsageError
from edgernn_benchmarks.step_cost import step_cost
from edgernn_runtimes import probe

M4 = probe("cortex-m4")


def test_nothing_is_measured_where_nothing_is_limited() -> None:
    assert step_cost("native") is None
    assert step_cost("cortex-m4") is None


def test_the_time_of_a_step_on_a_host(models: ModelPair) -> None:
    cost = step_cost("cpu", max_latency_us=50.0)
    assert cost is not None
    assert cost.unit == "us"
    assert cost.of(models.plain) > 0


@pytest.mark.skipif(not M4.available, reason=M4.detail)
def test_the_instructions_of_a_step_on_an_emulated_core(models: ModelPair) -> None:
    cost = step_cost("cortex-m4", max_instructions=10_000)
    assert cost is not None
    assert cost.unit == "instructions"
    counts = {cost.of(models.plain) for _ in range(2)}
    assert len(counts) == 1
    assert 1_000 < counts.pop() < 100_000


@pytest.mark.parametrize(
    ("target", "limits", "words"),
    [("cortex-m4", {"max_latency_us": 5.0}, "says nothing of time"),
     ("native", {"max_instructions": 5}, "counted on emulated targets"),
     ("toaster", {}, "unknown target 'toaster'")],
)  # fmt: skip
def test_a_limit_has_to_fit_the_target(target: str, limits: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        step_cost(target, **limits)


def test_a_model_that_does_not_run_there_is_an_error(tmp_path) -> None:
    cost = step_cost("cpu", max_latency_us=50.0)
    assert cost is not None
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError):
        cost.of(tmp_path / "broken.onnx")
