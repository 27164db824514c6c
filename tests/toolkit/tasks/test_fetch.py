"""Single files by their SHA-256, from a server on this machine."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgernn.errors import InputError, OutputError, UsageError
from edgernn.tasks.base import DataSource
from edgernn.tasks.fetch import RemoteFile, fetch_files, folder_of

pytest.importorskip("pooch", reason="downloading needs pooch (extra: train)")

CONTENT = {"/a.csv": b"1,2\n", "/b.txt": b"words"}


@pytest.fixture
def asked() -> Iterator[list[str]]:
    """Serve CONTENT; the first entry is the address, the others are what was asked for."""
    log: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            log.append(self.path)
            content = CONTENT.get(self.path)
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        log.append(f"http://127.0.0.1:{server.server_port}")
        yield log
        server.shutdown()


def remote(asked: list[str], name: str, content: bytes | None = None) -> RemoteFile:
    wanted = CONTENT[f"/{name}"] if content is None else content
    digest = hashlib.sha256(wanted).hexdigest()
    return RemoteFile(f"in/{name}", f"{asked[0]}/{name}", digest)


def test_files_are_fetched_once(asked: list[str], tmp_path: Path) -> None:
    files = [remote(asked, "a.csv"), remote(asked, "b.txt")]
    source = DataSource(folder=tmp_path, download=True)
    for _ in range(2):
        assert folder_of("some", source, files, "set") == tmp_path
    assert asked[1:] == ["/a.csv", "/b.txt"]
    assert (tmp_path / "in" / "a.csv").read_bytes() == CONTENT["/a.csv"]


def test_another_content_gets_no_name(asked: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cannot download .*by other means"):
        fetch_files([remote(asked, "a.csv", b"something else")], tmp_path, "set")
    assert not list(tmp_path.rglob("*.csv"))


def test_a_file_that_is_there_and_another_is_kept(asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    mine = tmp_path / "in" / "a.csv"
    mine.write_text("my own")
    with pytest.raises(OutputError, match=r"a\.csv is not the published file"):
        fetch_files([remote(asked, "a.csv")], tmp_path, "set")
    assert mine.read_text() == "my own"
    assert asked[1:] == []


def test_what_cannot_be_reached_or_written_is_said(asked: list[str], tmp_path: Path) -> None:
    gone = RemoteFile("in/c.csv", f"{asked[0]}/c.csv", "0" * 64)
    with pytest.raises(InputError, match=r"cannot download .*c\.csv: 404"):
        fetch_files([gone], tmp_path, "set")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write to"):
        fetch_files([remote(asked, "a.csv")], tmp_path / "file", "set")


def test_nothing_is_fetched_unasked_and_no_group_held_out(asked: list[str], tmp_path: Path) -> None:
    files = [remote(asked, "a.csv")]
    assert folder_of("some", DataSource(), files, "set") is None
    assert folder_of("some", DataSource(folder=tmp_path), files, "set") == tmp_path
    with pytest.raises(UsageError, match="some has no groups to hold out"):
        folder_of("some", DataSource(holdout="theo"), files, "set")
    assert asked[1:] == []
