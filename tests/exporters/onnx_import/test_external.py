"""Data in other files are read from the model's folder only, and only what was declared."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import onnx
import pytest
from helpers.foreign import imported, lstm_model
from onnx import TensorProto

from edgernn.errors import ModelError
from edgernn_exporters.onnx_files import read_model
from edgernn_exporters.onnx_import.reading import read


def split(folder: Path, location: str = "weights.bin", **entries: str) -> Path:
    """Write a model whose W lies in another file, at offset 64 if nothing else is said."""
    model = lstm_model()
    weight = model.graph.initializer[0]
    content = bytes(64) + weight.raw_data
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    given = {"location": location, "offset": "64", "length": str(len(content) - 64), **entries}
    for key, text in given.items():
        weight.external_data.add(key=key, value=text)
    (folder / "weights.bin").write_bytes(content)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith("tensor 'W' lies in another file: ")
    assert "\n" not in text
    return text


def test_it_becomes_one_file(tmp_path: Path) -> None:
    path = split(tmp_path)
    found = read(path)
    assert found.model == lstm_model()
    result = imported(path)
    assert result.proof.cases
    assert result.source_bytes == path.stat().st_size + (tmp_path / "weights.bin").stat().st_size
    (tmp_path / "weights.bin").unlink()
    model, _ = read_model(result.path)
    assert all(t.data_location == TensorProto.DEFAULT for t in model.graph.initializer)


def test_other_verbs_point_to_import(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="bring both into one file with edgernn import"):
        read_model(split(tmp_path))


def test_length_and_offset_may_be_left_out(tmp_path: Path) -> None:
    model = lstm_model()
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, size_threshold=0,
              location="weights")  # fmt: skip
    assert read(tmp_path / "model.onnx").model == lstm_model()
    path = split(tmp_path)
    changed = onnx.load(path, load_external_data=False)
    entries = changed.graph.initializer[0].external_data
    kept = [entry for entry in entries if entry.key == "location"]
    del entries[:]
    entries.extend(kept)
    path.write_bytes(changed.SerializeToString())
    content = (tmp_path / "weights.bin").read_bytes()
    (tmp_path / "weights.bin").write_bytes(content[64:])
    assert read(path).model == lstm_model()


@pytest.mark.parametrize(
    "location",
    ["../weights.bin", "/etc/passwd", "a/../../weights.bin", "", "a//b", "..\\weights.bin",
     "C:\\weights.bin", "weights.bin/", "missing.bin", "."],
)  # fmt: skip
def test_places_outside_of_the_folder(location: str, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    path = split(tmp_path / "inner", location)
    (tmp_path / "weights.bin").write_bytes(bytes(1000))
    assert "put the data beside the model as an ordinary file" in refused(path)


def test_links_are_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "weights.bin").write_bytes(bytes(1000))
    path = split(folder, "link.bin")
    (folder / "link.bin").symlink_to(secret / "weights.bin")
    assert "'link.bin' is a symbolic link" in refused(path)
    path = split(folder, "sub/weights.bin")
    (folder / "sub").symlink_to(secret)
    assert "'sub' is a symbolic link" in refused(path)
    path = split(folder, "within.bin")
    (folder / "within.bin").symlink_to("weights.bin")
    assert "symbolic link" in refused(path)
    path = split(folder, "hard.bin")
    os.link(secret / "weights.bin", folder / "hard.bin")
    assert "a hard link" in refused(path)


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refused(split(tmp_path, "pipe"))
    (tmp_path / "folder").mkdir()
    assert "not a regular file" in refused(split(tmp_path, "folder"))


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"offset": "-1"}, "its offset is '-1', not a number of bytes"),
        ({"offset": "1e3"}, "its offset is '1e3'"),
        ({"offset": "65"}, "has 576 bytes, but bytes 65 to 577 are asked for"),
        ({"offset": str(1 << 62)}, "are asked for"),
        ({"offset": "9" * 40}, "not a number of bytes"),
        ({"length": "-512"}, "its length is '-512'"),
        ({"length": "511"}, "length 511 is not the 512 bytes of shape [1, 32, 4]"),
        ({"length": str(1 << 50)}, "is not the 512 bytes"),
        ({"__class__": "x"}, "the key '__class__', which is not one of the format"),
        ({"basepath": "/"}, "the key 'basepath'"),
        ({"checksum": "0" * 40}, "is not the file that was saved"),
    ],
)
def test_entries_that_are_wrong(entries: dict[str, str], text: str, tmp_path: Path) -> None:
    assert text in refused(split(tmp_path, **entries))


def test_a_checksum_that_fits(tmp_path: Path) -> None:
    split(tmp_path)
    digest = hashlib.sha1((tmp_path / "weights.bin").read_bytes()).hexdigest()
    assert read(split(tmp_path, checksum=digest)).model == lstm_model()


def test_a_key_given_twice(tmp_path: Path) -> None:
    path = split(tmp_path)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    path.write_bytes(model.SerializeToString())
    assert "the key 'location', twice" in refused(path)


def test_a_shape_bomb_in_another_file(tmp_path: Path) -> None:
    path = split(tmp_path)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].dims[:] = [1 << 20, 1 << 20, 1 << 20]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="with tensor 'W' the constants of the file come to"):
        read(path)
