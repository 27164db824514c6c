from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgernn.errors import UsageError
from edgernn_runtimes import TARGETS, load, probe


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_its_two_functions_and_a_probe(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    module = TARGETS[name].implementation()
    assert callable(module.load)
    found = probe(name)
    assert found.detail
    assert bool(found.remedy) != found.available
    assert capfd.readouterr().out == ""  # a verb with --json prints nothing else


def test_an_unknown_target_is_a_usage_error() -> None:
    for use in (lambda: load("a.onnx", "tpu"), lambda: probe("tpu")):
        with pytest.raises(UsageError, match="unknown target 'tpu'; the targets are cpu, cuda"):
            use()


def test_an_unknown_option_is_a_usage_error(model: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="cpu has no option device, speed; its options are thr"):
        load(model(), "cpu", device=0, threads=1, speed=9)
    with pytest.raises(UsageError, match="cpu has no option allow_fallback; its options are thr"):
        load(model(), "cpu", allow_fallback=True)
