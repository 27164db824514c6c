from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from edgernn.errors import OutputError
from edgernn.files import replacing, sha256_of, write_bytes, write_text


def test_content_is_replaced_in_one_step_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    write_text(path, "grün")
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert [item.name for item in path.parent.iterdir()] == ["a.txt"]
    assert sha256_of(path) == hashlib.sha256(b"second").hexdigest()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_interrupted_write_leaves_the_old_file(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def interrupted() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            assert path.read_text() == "old"
            raise error

    with pytest.raises(error):
        interrupted()
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_full_disk_is_an_output_error(tmp_path: Path, number: int) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(OutputError, match=r"cannot write .*a\.txt: .*then run again") as caught:  # noqa: SIM117
        with replacing(path):
            raise OSError(number, os.strerror(number))
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"


def test_other_errors_of_the_system_pass_through(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.txt"):
        (tmp_path / "nothing").read_text()


@pytest.mark.parametrize("place", [".", "", "folder", "file/a.txt", "x" * 300])
def test_places_that_cannot_be_written_are_output_errors(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("old")
    with pytest.raises(OutputError, match=r"name a file|cannot write"):
        write_text(tmp_path / place, "new")
    assert (tmp_path / "file").read_text() == "old"


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(OutputError, match="/dev/null is a device or a pipe"):
        write_text("/dev/null", "new")
    assert not Path("/dev/null").is_file()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
