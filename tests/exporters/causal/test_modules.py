"""PyTorch modules with causal front ends stream on every target, in float and in integers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.causal_modules import TCN, Keywords, Spectral, TokenShift
from helpers.graphs import normal
from helpers.modules import Convolved, Pooled
from torch import nn

import edgernn
from edgernn.errors import ModelError
from edgernn.sessions import Arrays, Session
from edgernn.streaming import run_in_chunks
from edgernn_exporters.pytorch.export import Exported, export
from edgernn_runtimes import load

open_cpu = partial(load, target="cpu", threads=1)

MODULES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "tcn": (TCN, (5,)),
    "keywords": (Keywords, (5,)),
    "spectral": (Spectral, (1, 8)),
    "token-shift": (TokenShift, (5,)),
}
CACHES = {
    "tcn": {f"blocks.{i}.conv{j}.cache": [8, 2 * (i + 1)] for i in (0, 1) for j in (1, 2)},
    "keywords": {
        "depthwise.conv.cache": [5, 3], "front.conv.cache": [8, 4], "pool.cache": [8, 1]
    },
    "spectral": {"conv1.cache": [1, 2, 8], "conv2.cache": [4, 1, 4]},
    "token-shift": {"shift.cache": [1, 5], "sum.cache": [1, 5], "sub.cache": [1, 5],
                    "pad.begun.cache": [1, 1]},
}  # fmt: skip
Made = Callable[[str], Exported]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return what exports a module, through the gate, the first time it is asked for."""
    folder = tmp_path_factory.mktemp("causal")
    done: dict[str, Exported] = {}

    def make(name: str) -> Exported:
        if name not in done:
            torch.manual_seed(0)
            module, _ = MODULES[name]
            path = folder / f"{name}.onnx"
            done[name] = export(module(), (torch.from_numpy(sample(name, 2, 9)),), path,
                                load=open_cpu)  # fmt: skip
        return done[name]

    return make


def sample(name: str, batch: int, steps: int, seed: int = 0) -> np.ndarray:
    *channels, features = MODULES[name][1]
    return normal(seed, batch, *channels, steps, features)


def streamed(session: Session, x: np.ndarray, chunks: tuple[int, ...]) -> Arrays:
    """Check that chunks and the whole agree, after a reset, too; return the whole."""
    whole = session.run({"x": x})
    for chunk in chunks:
        pieces = run_in_chunks(session, {"x": x}, chunk)
        for key, value in whole.items():
            np.testing.assert_allclose(pieces[key], value, atol=2e-6)
    return whole


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_caches_are_states_by_the_names_of_the_layers(made: Made, name: str) -> None:
    done = made(name)
    assert done.gate is not None
    assert done.gate.max_error < 1e-5
    assert done.metadata.contract is not None
    sizes = {spec.name: spec.shape for spec in open_cpu(done.path).states}
    caches = {
        state.input: [size for axis, size in enumerate(sizes[state.input])
                      if axis != state.batch_axis]
        for state in done.metadata.contract.states
        if state.input.endswith("cache")
    }  # fmt: skip
    assert caches == CACHES[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_generated_code_streams_like_the_cpu(made: Made, name: str) -> None:
    path, x = made(name).path, sample(name, 1, 33, seed=1)
    expected = streamed(open_cpu(path), x, (1, 4))
    session = edgernn.load(path, target="native")
    for key, value in streamed(session, x, (1, 2, 3, 16, 32)).items():
        np.testing.assert_allclose(value, expected[key], atol=2e-6)
    axis = 2 if x.ndim == 4 else 1
    stream = session.stream()
    first = stream.step({"x": np.take(x, range(5), axis)})
    stream.step({"x": np.take(x, range(5, 9), axis)})
    stream.reset()
    again = stream.step({"x": np.take(x, range(5), axis)})
    np.testing.assert_equal(again, first)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8-dynamic", "int8", "w8a16"])
@pytest.mark.parametrize("name", MODULES)
def test_quantized_models_keep_their_caches(
    made: Made, name: str, precision: str, tmp_path: Path
) -> None:
    source, x = made(name), sample(name, 1, 40, seed=1)
    calibration = tmp_path / "calibration.npz"
    np.savez(calibration, x=sample(name, 8, 60, seed=2))
    options = {} if precision == "int8-dynamic" else {"calibration": calibration}
    path = tmp_path / "q.onnx"
    done = edgernn.quantize(source.path, path, precision=precision, **options)
    assert source.metadata.contract is not None
    assert done.metadata.contract is not None
    kinds = {state.input: state.dtype for state in done.metadata.contract.states}
    assert list(kinds) == [state.input for state in source.metadata.contract.states]
    assert {kinds[cache] for cache in CACHES[name]} == {"float32"}
    expected = streamed(open_cpu(path), x, (1, 7))
    exact = open_cpu(source.path).run({"x": x})
    for key, value in expected.items():
        assert np.abs(value - exact[key]).max() < 0.2
    for key, value in streamed(edgernn.load(path, target="native"), x, (1, 5)).items():
        np.testing.assert_allclose(value, expected[key], atol=2e-6)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (Convolved((1, 1)), r"node 'conv' \(Conv\) .*looks 1 time step ahead.*causal=False"),
        (Convolved((0, 0)), r"node 'conv' \(Conv\) .*looks 2 time steps ahead.*causal=False"),
        (Pooled(), r"\(ReduceMean\) needs all time steps at once.*--not-causal"),
    ],
)
def test_what_looks_ahead_is_refused_by_its_name(
    module: nn.Module, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    with pytest.raises(ModelError, match=expected):
        export(module, (torch.zeros(1, 10, 5),), path, load=open_cpu)
    assert not path.exists()


def test_a_module_for_whole_sequences_gets_no_caches(tmp_path: Path) -> None:
    done = export(Convolved((2, 0)), (torch.zeros(1, 10, 5),), tmp_path / "m.onnx", load=None,
                  causal=False)  # fmt: skip
    assert done.metadata.contract is not None
    assert [state.input for state in done.metadata.contract.states] == ["rnn.h_l0"]
