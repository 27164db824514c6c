"""Download the Free Spoken Digit Dataset (CC BY-SA 4.0) and prove that it is complete.

GitHub makes its archives on request and does not promise their bytes, so the check is on what
is inside: one SHA-256 over the sorted names and SHA-256 sums of all recordings.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgernn.errors import InputError, OutputError, UsageError

COMMIT = "26eb9aaf76e81b692f806f9140c2d2777410d7a1"

_NAME = re.compile(r"[0-9]_[a-z]+_[0-9]{1,2}\.wav")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Origin:
    """Say where the dataset is, and how to recognise it.

    Attributes:
        url: A zip archive with ``.../recordings/DIGIT_SPEAKER_INDEX.wav``.
        digest: :func:`digest` of the recordings.
        max_file_bytes: Largest recording that is extracted.
        max_files: Most recordings that are extracted.
        max_archive_bytes: Largest archive that is opened.
    """

    url: str = f"https://github.com/Jakobovski/free-spoken-digit-dataset/archive/{COMMIT}.zip"
    digest: str = "dbd573d7cafe79c4b49f65718115e1304e24e067fa39eff18a660dc6cb9c360f"
    max_file_bytes: int = 200_000
    max_files: int = 3000
    max_archive_bytes: int = 100_000_000


FSDD = Origin()


def fetch(folder: Path | None = None, origin: Origin = FSDD) -> Path:
    """Return a folder with the verified recordings, downloading them where they are not there.

    The recordings appear in one step: an interrupted or corrupted download leaves nothing.

    Args:
        folder: Where the folder ``recordings`` shall be; None for the user's cache folder.
        origin: What to download.

    Raises:
        InputError: The download failed, or is not the dataset.
        OutputError: The folder cannot be written, or holds other recordings.
        UsageError: The package that downloads is not installed.
    """
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise UsageError(
            f"downloading needs the package {error.name}: pip install 'edgernn[train]'"
        ) from error
    if folder is None:
        folder = Path(pooch.os_cache("edgernn")) / f"fsdd-{origin.digest[:12]}"
    recordings = folder / "recordings"
    if recordings.exists():
        if digest(recordings.glob("*.wav")) == origin.digest:
            return folder
        raise OutputError(
            f"{recordings} exists and is not the complete dataset; move it away, "
            "or use it as it is, without --download"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".download-", dir=folder))
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder}: {error.strerror or error}; choose another --data folder"
        ) from error
    try:
        archive = _download(origin, work)
        _extract(archive, work / "recordings", origin)
        found = digest((work / "recordings").glob("*.wav"))
        if found != origin.digest:
            raise InputError(
                f"what {origin.url} sent is not the dataset: the recordings have the digest "
                f"{found}, expected {origin.digest}; try again, or get the dataset by other "
                "means and name its folder with --data"
            )
        (work / "recordings").rename(recordings)
    except OSError as error:
        if recordings.exists() and digest(recordings.glob("*.wav")) == origin.digest:
            return folder  # Another process was faster.
        raise OutputError(
            f"cannot write to {folder}: {error.strerror or error}; free some space there"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def digest(paths: Iterable[Path]) -> str:
    """Return one SHA-256 over the sorted lines ``NAME SHA256`` of the files.

    A file that is not a plain file counts as empty.
    """
    total = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        content = path.read_bytes() if path.is_file() else b""
        total.update(f"{path.name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()


def _download(origin: Origin, folder: Path) -> Path:
    """Fetch the archive into the folder."""
    import pooch
    import requests

    downloader = pooch.HTTPDownloader(timeout=60)
    path = folder / "archive.zip"
    try:
        with path.open("wb") as file:
            downloader(origin.url, file, None)
    except (requests.RequestException, ValueError) as error:
        raise InputError(
            f"cannot download {origin.url}: {error}; check the network, or get the dataset by "
            "other means and name its folder with --data"
        ) from error
    return path


def _extract(archive: Path, folder: Path, origin: Origin) -> None:
    """Extract the recordings, and nothing else, by names that we make ourselves.

    Raises:
        InputError: The archive is broken, or larger than the dataset.
    """
    broken = f"what {origin.url} sent is not a usable archive"
    if archive.stat().st_size > origin.max_archive_bytes:
        raise InputError(f"{broken}: it is over {origin.max_archive_bytes} bytes; try again later")
    folder.mkdir()
    try:
        with zipfile.ZipFile(archive) as file:
            members = [info for info in file.infolist() if _is_recording(info.filename)]
            if len(members) > origin.max_files:
                raise InputError(f"{broken}: it has over {origin.max_files} recordings; try again")
            for info in members:
                # The stated size may lie: read at most one byte more than allowed.
                with file.open(info) as source:
                    content = source.read(origin.max_file_bytes + 1)
                if len(content) > origin.max_file_bytes:
                    raise InputError(
                        f"{broken}: {info.filename} is over {origin.max_file_bytes} bytes"
                        "; try again later"
                    )
                (folder / PurePosixPath(info.filename).name).write_bytes(content)
    # zipfile raises NotImplementedError for a compression that it does not know.
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{broken}: {error}; try again") from error


def _is_recording(name: str) -> bool:
    """Tell whether a member is ``ANY/recordings/DIGIT_SPEAKER_INDEX.wav``."""
    path = PurePosixPath(name)
    return path.parent.name == "recordings" and _NAME.fullmatch(path.name) is not None
