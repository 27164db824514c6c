from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from helpers.models import ModelPair, write_model

from edgernn.errors import ModelError
from edgernn.files import sha256_of
from edgernn_benchmarks.models import describe, labels, reference_of

UNREADABLE = Path("/proc/self/mem")


def test_describe(models: ModelPair) -> None:
    plain, small = describe([models.plain, models.small])
    assert (plain.label, plain.size_bytes) == ("kw.onnx", models.plain.stat().st_size)
    assert small.metadata.parent == plain.sha256 == sha256_of(models.plain)
    assert plain.error is None


def test_the_parent_is_the_reference_wherever_it_stands(models: ModelPair, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other.onnx", seed=5)
    found = describe([other, models.small, models.plain])
    assert reference_of(found).label == "kw.onnx"
    assert reference_of(found[:2]).label == "other.onnx"


def test_labels_are_short_and_differ() -> None:
    paths = [Path("/a/x/m.onnx"), Path("/a/y/m.onnx"), Path("/a/y/n.onnx")]
    assert labels(paths) == ["x/m.onnx", "y/m.onnx", "y/n.onnx"]
    assert labels(paths[1:]) == ["m.onnx", "n.onnx"]


def test_a_missing_file_is_an_error_and_a_broken_one_is_described(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        describe([tmp_path / "none.onnx"])
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\xff" * 50)
    found = describe([broken])[0]
    assert found.size_bytes == 50
    assert "not a readable ONNX file" in (found.error or "")


def test_an_empty_file_holds_no_graph(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    assert "holds no graph" in (describe([tmp_path / "empty.onnx"])[0].error or "")


@pytest.mark.skipif(not UNREADABLE.exists(), reason="only Linux has such a file, root or not")
def test_an_unreadable_file_is_a_model_error() -> None:
    with pytest.raises(ModelError, match=r"/proc/self/mem: cannot be read: .*; name a readable"):
        describe([UNREADABLE])


def test_external_data_counts(models: ModelPair, tmp_path: Path) -> None:
    model = onnx.load(models.plain)
    path = tmp_path / "big.onnx"
    onnx.save(model, path, save_as_external_data=True, location="big.data", size_threshold=0)
    total = path.stat().st_size + (tmp_path / "big.data").stat().st_size
    assert describe([path])[0].size_bytes == total
