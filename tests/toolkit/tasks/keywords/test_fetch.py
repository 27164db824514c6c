"""Downloading from a server on this machine: complete, corrupted, hostile, interrupted."""

import http.server
import io
import threading
import zipfile
from pathlib import Path

import pytest

from edgernn.errors import InputError, OutputError
from edgernn.tasks.keywords.fetch import FSDD, Origin, digest, fetch

pytest.importorskip("pooch", reason="downloading needs pooch (extra: train)")

FILES = {
    f"{digit}_{name}_{take}.wav": b"RIFF %d %d" % (digit, take)
    for digit in range(10)
    for name in ("ann", "bob")
    for take in range(2)
}


def archive(files, prefix="free-spoken-digit-dataset-26eb/recordings/"):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("free-spoken-digit-dataset-26eb/README.md", "read me")
        for name, content in files.items():
            file.writestr(prefix + name, content)
    return buffer.getvalue()


@pytest.fixture
def serve():
    """Serve bytes on loopback; returns the address and the list of requests."""
    servers = []

    def start(content, status=200):
        requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/archive.zip", requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def wanted(tmp_path):
    """Compute the digest of the files."""
    folder = tmp_path / "wanted"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    return digest(folder.iterdir())


def left_behind(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_downloads_verifies_and_keeps(tmp_path, serve, wanted):
    url, requests = serve(archive(FILES))
    origin = Origin(url=url, digest=wanted)
    folder = fetch(tmp_path / "data", origin)
    assert left_behind(folder) == ["recordings"]
    found = {path.name: path.read_bytes() for path in (folder / "recordings").iterdir()}
    assert found == FILES
    assert fetch(tmp_path / "data", origin) == folder
    assert len(requests) == 1


def test_uses_the_cache_folder_when_none_is_given(tmp_path, serve, wanted, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    url, _ = serve(archive(FILES))
    folder = fetch(None, Origin(url=url, digest=wanted))
    assert (folder / "recordings").is_dir()


@pytest.mark.parametrize("damage", ["changed", "missing", "added"])
def test_refuses_other_recordings(tmp_path, serve, wanted, damage):
    files = dict(FILES)
    if damage == "changed":
        files["0_ann_0.wav"] += b"!"
    elif damage == "missing":
        del files["0_ann_0.wav"]
    else:
        files["0_eve_0.wav"] = b"RIFF"
    url, _ = serve(archive(files))
    with pytest.raises(InputError, match=r"not the dataset.*--data"):
        fetch(tmp_path / "data", Origin(url=url, digest=wanted))
    assert left_behind(tmp_path / "data") == []


@pytest.mark.parametrize("kind", ["truncated", "text", "flipped"])
def test_refuses_a_broken_archive(tmp_path, serve, wanted, kind):
    content = archive(FILES)
    if kind == "truncated":
        content = content[: len(content) // 2]
    elif kind == "text":
        content = b"<html>please log in</html>"
    else:
        at = content.index(b"RIFF 7")
        content = content[:at] + b"X" + content[at + 1 :]
    url, _ = serve(content)
    with pytest.raises(InputError, match="not a usable archive"):
        fetch(tmp_path / "data", Origin(url=url, digest=wanted))
    assert left_behind(tmp_path / "data") == []


def test_extracts_no_other_names(tmp_path, serve, wanted):
    hostile = {"../../evil.wav": b"x", "0_ann_0.sh": b"x", "deep/0_ann_1.wav": b"x"}
    url, _ = serve(archive({**hostile, **FILES}))
    folder = fetch(tmp_path / "data", Origin(url=url, digest=wanted))
    assert {path.name for path in (folder / "recordings").iterdir()} == set(FILES)
    assert not list(tmp_path.rglob("evil.wav"))


def test_limits_what_it_extracts(tmp_path, serve, wanted):
    bomb = {**FILES, "0_ann_0.wav": bytes(5000)}
    url, _ = serve(archive(bomb))
    with pytest.raises(InputError, match="over 4000 bytes"):
        fetch(tmp_path / "data", Origin(url=url, digest=wanted, max_file_bytes=4000))
    with pytest.raises(InputError, match="over 39 recordings"):
        fetch(tmp_path / "data", Origin(url=url, digest=wanted, max_files=39))
    with pytest.raises(InputError, match="over 100 bytes"):
        fetch(tmp_path / "data", Origin(url=url, digest=wanted, max_archive_bytes=100))
    assert left_behind(tmp_path / "data") == []


def test_says_what_the_server_said(tmp_path, serve, wanted):
    url, _ = serve(b"gone", status=404)
    with pytest.raises(InputError, match=r"cannot download .*404.*network"):
        fetch(tmp_path / "data", Origin(url=url, digest=wanted))
    with pytest.raises(InputError, match="cannot download"):
        fetch(tmp_path / "data", Origin(url="http://127.0.0.1:9/none.zip", digest=wanted))
    assert left_behind(tmp_path / "data") == []


def test_leaves_other_recordings_alone(tmp_path, serve, wanted):
    url, requests = serve(archive(FILES))
    mine = tmp_path / "data" / "recordings" / "0_me_0.wav"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(OutputError, match="not the complete dataset"):
        fetch(tmp_path / "data", Origin(url=url, digest=wanted))
    assert mine.read_bytes() == b"mine"
    assert not requests


def test_a_folder_that_cannot_be_made(tmp_path, wanted):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        fetch(tmp_path / "file" / "data", Origin(url="http://127.0.0.1:9/", digest=wanted))


def test_the_real_dataset_has_the_stated_digest(fsdd):
    assert digest(Path(fsdd / "recordings").glob("*.wav")) == FSDD.digest
