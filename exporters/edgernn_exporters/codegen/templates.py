"""Fill in the files under ``template_files/``."""

from __future__ import annotations

import re
from pathlib import Path

_FOLDER = Path(__file__).parent / "template_files"


def fill(template: str, /, **values: object) -> str:
    """Replace each ``@{key}`` of a template file.

    Args:
        template: Path below ``template_files/``, without ``.in``.
        **values: Texts by key.

    Raises:
        KeyError: The template names a key that is not given.
    """
    text = (_FOLDER / f"{template}.in").read_text()
    return re.sub(r"@\{(\w+)\}", lambda match: str(values[match.group(1)]), text)
