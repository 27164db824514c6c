"""Write files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgernn.errors import OutputError


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds.

    The content is flushed to the disk before the rename, and the folder after it. If the block
    raises, the temporary file is removed and an older ``path`` stays as it was.

    Raises:
        OutputError: The folder cannot be made or written to, the disk is full, or ``path`` is a
            folder, a device or a pipe.

    Example:
        >>> with replacing("model.onnx") as temporary:
        ...     temporary.write_bytes(b"...")
    """
    target = Path(os.path.realpath(path))  # a link stays a link, to the new content
    temporary = target.with_name(_temporary_name(target))
    try:
        _require_file(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise OutputError(_explain(target, error)) from None
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(target)
        _flush(target.parent)
    except OSError as error:
        if error.errno in _WRITE_FAULTS:
            raise OutputError(_explain(target, error)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | os.PathLike[str], *, marker: str) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; rename it to ``path`` if the block succeeds.

    If the block raises, the temporary folder is removed and an older ``path`` stays as it was.

    Args:
        path: Folder to write.
        marker: File that an older folder must hold to be replaced.

    Raises:
        OutputError: The folder cannot be written, or holds something without the marker.

    Example:
        >>> with replacing_folder("kw", marker="manifest.json") as temporary:
        ...     (temporary / "manifest.json").write_text("{}")
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file; name a folder to write")
    if target.is_dir() and any(target.iterdir()) and not (target / marker).is_file():
        raise OutputError(
            f"{target} holds other files and would be lost; choose an empty or a new folder"
        )
    temporary = target.with_name(_temporary_name(target))
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise OutputError(_explain(target, error)) from None
    try:
        yield temporary
        if target.exists():
            old = target.with_name(_temporary_name(target))
            target.rename(old)
            temporary.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            temporary.rename(target)
        _flush(target.parent)
    except OSError as error:
        if error.errno in _WRITE_FAULTS:
            raise OutputError(_explain(target, error)) from None
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check that `replacing` could write ``path`` now, to find out before a long measurement.

    Nothing is left behind; folders that are missing are not made yet.

    Raises:
        OutputError: As `replacing` raises it.

    Example:
        >>> check_writable("results/new/report.json")
    """
    target = Path(os.path.realpath(path))
    try:
        _require_file(target)
        folder = target.parent
        while not folder.exists():
            folder = folder.parent
        probe = folder / _temporary_name(target)
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise OutputError(_explain(target, error)) from None


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace ``path`` by a file with this content, in one step (see `replacing`)."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Replace ``path`` by a UTF-8 file with this content, in one step (see `replacing`)."""
    write_bytes(path, content.encode())


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_WRITE_FAULTS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO,
}  # fmt: skip


def _temporary_name(target: Path) -> str:
    return f".{target.name}.{secrets.token_hex(4)}.tmp"


def _require_file(target: Path) -> None:
    if target.is_dir():
        raise OutputError(f"{target} is a folder; name a file to write")
    if target.exists() and not target.is_file():  # the rename would replace /dev/null itself
        raise OutputError(f"{target} is a device or a pipe; name a file to write")


def _explain(target: Path, error: OSError) -> str:
    reason = (error.strerror or str(error)).lower()
    return f"cannot write {target}: {reason}; choose another place or free it, then run again"


def _flush(path: Path) -> None:
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError:  # Windows cannot open a folder
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
