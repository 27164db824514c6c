from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgernn.errors import InputError, OutputError
from edgernn.npz import read_npz, write_npz

KINDS = st.sampled_from(["float32", "float64", "int64", "int8", "bool"])
VALUES = KINDS.flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0)))
NAMES = st.text("abc._-/", min_size=1, max_size=8).filter(lambda name: not name.startswith("/"))


@given(st.dictionaries(NAMES | st.just("file"), VALUES, max_size=4))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, np.ndarray]
) -> None:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    write_npz(path, values)
    found = read_npz(path)
    assert set(found) == set(values)
    for name, value in values.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_numpy_reads_it_too(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", {"y": np.arange(6).reshape(2, 3)[:, ::2]})
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["y"], [[0, 2], [3, 5]])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text", b"\x93NUMPY"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match="not an npz of plain arrays"):
        read_npz(tmp_path / "a.npz")


def test_a_single_array_and_pickles_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    np.savez(tmp_path / "b.npz", x=np.array([{}], dtype=object))
    for name in ("a.npz", "b.npz"):
        with pytest.raises(InputError, match="not an npz of plain arrays"):
            read_npz(tmp_path / name)


def test_missing_file_and_folder_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_npz(tmp_path / "no.npz")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_npz(tmp_path / "file" / "a.npz", {})
