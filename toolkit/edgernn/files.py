"""Write files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
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
def replacing_folder(
    path: str | os.PathLike[str], *, ours: Callable[[Path], Collection[str] | None]
) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; bring its files to ``path`` if the block succeeds.

    If the block raises, the temporary folder is removed and an older ``path`` stays as it was. In
    a folder that was written before, its files are replaced one by one, those that are not written
    any more are removed, and whatever else lies there is not touched.

    Args:
        path: Folder to write.
        ours: Given a folder, returns which files in it were written before; None if it is not
            one of ours.

    Raises:
        OutputError: The folder cannot be written, or holds something else.

    Example:
        >>> with replacing_folder("kw", ours=lambda folder: None) as temporary:
        ...     (temporary / "kw.h").write_text("...")
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target} is a file; name a folder to write")
    old = ours(target) if target.is_dir() and any(target.iterdir()) else ()
    if old is None:
        raise OutputError(
            f"{target} holds other files; choose an empty or a new folder, so that none is lost"
        )
    temporary = target.with_name(_temporary_name(target))
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise OutputError(_explain(target, error)) from None
    try:
        yield temporary
        if target.exists():
            _merge(temporary, target, old)
        else:
            temporary.rename(target)
        _flush(target.parent)
    except OSError as error:
        if error.errno in _WRITE_FAULTS:
            raise OutputError(_explain(target, error)) from None
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _merge(source: Path, target: Path, old: Collection[str]) -> None:
    new = {str(file.relative_to(source)) for file in source.rglob("*") if file.is_file()}
    for name in sorted(new):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).replace(target / name)
    for name in sorted(set(old) - new):
        if ".." not in Path(name).parts and not Path(name).is_absolute():
            (target / name).unlink(missing_ok=True)


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
