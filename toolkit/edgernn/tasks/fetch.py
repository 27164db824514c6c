"""Download single files of a data set, each known by its SHA-256."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgernn.errors import InputError, OutputError, UsageError
from edgernn.extras import needs
from edgernn.files import sha256_of
from edgernn.tasks.base import DataSource

_TIMEOUT_S = 60


@dataclass(frozen=True)
class RemoteFile:
    """Name one file of a data set.

    Attributes:
        name: Under the folder, such as ``"ETT-small/ETTh1.csv"``.
        url: Where it is published.
        sha256: Of its content.
    """

    name: str
    url: str
    sha256: str


def require_generated(task: str, source: DataSource) -> None:
    """Refuse a source of data for a task that generates its own.

    Raises:
        UsageError: One was named.
    """
    if source != DataSource():
        raise UsageError(
            f"task {task} generates its data; leave --data, --download and --holdout out"
        )


def folder_of(task: str, source: DataSource, files: Sequence[RemoteFile], name: str) -> Path | None:
    """Return where the real data of a task without groups lie, downloaded if that was asked for.

    Args:
        task: Name of the task, for messages.
        source: Where the data comes from.
        files: What to fetch.
        name: Of the data set in the user's cache folder.

    Returns:
        The folder, or None for the data that the task generates.

    Raises:
        InputError, OutputError, TargetUnavailable: As `fetch_files`.
        UsageError: A group was to be held out; there are none.
    """
    if source.holdout is not None:
        raise UsageError(f"{task} has no groups to hold out; leave --holdout out")
    return fetch_files(files, source.folder, name) if source.download else source.folder


def fetch_files(files: Sequence[RemoteFile], folder: Path | None, name: str) -> Path:
    """Return a folder with the verified files, downloading those that are not there.

    A file gets its name when it is complete and its hash is right.

    Args:
        files: What to fetch.
        folder: Where they shall be; None for the user's cache folder.
        name: Of the data set there.

    Raises:
        InputError: A download failed, or is not the file.
        OutputError: The folder cannot be written, or holds another file of that name.
        TargetUnavailable: The package that downloads is not installed.
    """
    with needs("train"):
        import pooch
        import requests
    folder = Path(pooch.os_cache("edgernn")) / name if folder is None else folder
    for file in files:
        path = folder / file.name
        if path.exists():
            if sha256_of(path) != file.sha256:
                raise OutputError(
                    f"{path} is not the published file; move it away, or use it as it is, without "
                    f"--download"
                )
            continue
        try:
            pooch.retrieve(
                file.url,
                known_hash=f"sha256:{file.sha256}",
                fname=path.name,
                path=path.parent,
                downloader=pooch.HTTPDownloader(timeout=_TIMEOUT_S),
            )
        except (requests.RequestException, ValueError) as error:
            raise InputError(
                f"cannot download {file.url}: {error}; check the network, or get the data by "
                f"other means and name its folder with --data"
            ) from None
        except OSError as error:
            raise OutputError(
                f"cannot write to {path.parent}: {error.strerror or error}; choose another --data "
                f"folder"
            ) from None
    return folder
