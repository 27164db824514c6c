"""Whole models of int8, w8a16 and int4 as C: the bits that ONNX Runtime gives."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.graphs import normal
from helpers.models import write_model

import edgernn
from edgernn.sessions import Array
from edgernn_exporters.codegen import compile as generate

PRECISIONS = ["int8", "w8a16", "int4"]
MODELS: dict[str, dict[str, Any]] = {
    "gru": {"cell": "gru", "layers": 2},
    "lstm": {"cell": "lstm", "hidden_size": 33},
    "rnn": {"cell": "rnn"},
    "bidirectional": {"cell": "lstm", "bidirectional": True},
    "ids": {"cell": "gru", "embedding": 11},
}


def inputs(name: str, seed: int, *shape: int) -> Array:
    if name == "ids":
        return np.random.default_rng(seed).integers(0, 11, shape)
    return normal(seed, *shape, 8)


def quantized(name: str, precision: str, folder: Path, **options: Any) -> Path:
    plain = write_model(folder / "plain.onnx", **MODELS[name])
    np.savez(folder / "data.npz", x=inputs(name, 1, 6, 40))
    path = folder / "kw.onnx"
    edgernn.quantize(
        plain, path, precision=precision, calibration=folder / "data.npz", prove=False, **options
    )
    return path


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", MODELS)
def test_models_have_the_bits_of_onnxruntime(name: str, precision: str, tmp_path: Path) -> None:
    path = quantized(name, precision, tmp_path)
    x = inputs(name, 2, 2, 70)
    want = edgernn.load(path, "cpu", threads=1).run({"x": x})["y"]
    for isa in (None, "avx2", "portable"):
        got = edgernn.load(path, "native", isa=isa).run({"x": x})["y"]
        np.testing.assert_array_equal(got, want, err_msg=str(isa))


def test_layers_of_different_precisions(tmp_path: Path) -> None:
    layers = {"sequence_4": "w8a16", "matmul*": "int4"}
    path = quantized("gru", "int8", tmp_path, layers=layers)
    project = generate(path, tmp_path / "c", target="native")
    x = inputs("gru", 3, 1, 50)
    want = edgernn.load(path, "cpu", threads=1).run({"x": x})["y"]
    np.testing.assert_array_equal(edgernn.load(path, "native").run({"x": x})["y"], want)
    assert {state.dtype for state in project.states} == {"int16"}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_self_test_asks_for_the_same_bits(precision: str, tmp_path: Path) -> None:
    path, folder = quantized("lstm", precision, tmp_path), tmp_path / "kw"
    generate(path, folder, complete=True, load=lambda file: edgernn.load(file, "cpu"))
    assert "#define GOLDEN_LIMIT_Y 2e-06" in (folder / "tests" / "golden.h").read_text()
    program = folder / "selftest"
    built = subprocess.run(
        ["gcc", "-std=c99", "-O1", "-ffp-contract=off", "-I", folder, folder / "tests/selftest.c",
         folder / "kw.c", "-o", program], capture_output=True, text=True,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


def test_the_self_test_allows_for_float_layers(tmp_path: Path) -> None:
    path = quantized("gru", "int8", tmp_path, layers={"matmul*": "float32"})
    folder = tmp_path / "c"
    generate(path, folder, complete=True, load=lambda file: edgernn.load(file, "cpu"))
    golden = (folder / "tests" / "golden.h").read_text().splitlines()
    (limit,) = (line.split()[2] for line in golden if line.startswith("#define GOLDEN_LIMIT_Y"))
    assert float(limit) > 1e-3
