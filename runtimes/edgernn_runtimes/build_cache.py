"""Where built programs and libraries are kept between runs."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

_UNUSED_S = 30 * 24 * 3600.0


def cache_folder() -> Path:
    """Return where builds are kept: ``$EDGERNN_CACHE``, else the user's cache folder."""
    if chosen := os.environ.get("EDGERNN_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgernn"


def content_key(folder: Path, texts: Iterable[str], more: Iterable[Path] = ()) -> str:
    """Return a name for what is built of the C files in a folder.

    Args:
        folder: With the ``.c`` and ``.h`` files.
        texts: What else the result depends on: compiler, flags, processor.
        more: Further files.
    """
    digest = hashlib.sha256()
    files = [file for file in sorted(folder.iterdir()) if file.suffix in (".c", ".h")]
    for content in (
        *(text.encode() for text in texts),
        *(file.read_bytes() for file in more),
        *(part for file in files for part in (file.name.encode(), file.read_bytes())),
    ):
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()[:40]


def forget_unused(cache: Path) -> None:
    """Remove what nobody loaded for a month."""
    for file in cache.iterdir():
        try:
            if time.time() - file.stat().st_mtime > _UNUSED_S:
                file.unlink()
        except OSError:  # another process was quicker
            continue
