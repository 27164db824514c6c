"""C identifiers from names in a graph, which may hold anything."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LONGEST = 40
_RESERVED = frozenset(
    """
    auto break case char const continue default do double else enum extern float for goto
    if inline int long register restrict return short signed sizeof static struct switch
    typedef union unsigned void volatile while bool true false asm typeof class new delete
    this template private public protected operator friend virtual namespace using try
    catch throw and or not xor bitand bitor compl and_eq or_eq not_eq xor_eq explicit
    export mutable typename alignas alignof constexpr decltype noexcept nullptr thread_local
    state steps t main linux unix i386 arm mips memcpy memset stdin stdout stderr errno
    a b c h s k j m n q r given whole most next steps_b status
    """.split()  # noqa: SIM905 - a list would be a hundred lines
)
"""Keywords of C and C++, macros of compilers and headers, and what the emitted loops declare."""

_PATTERNS = re.compile(
    r"edgernn.*|scratch_.*|[ijps]\d+|[a-z]_[a-z]"  # ours; loop counters, values of one unit
    r"|u?int(_fast|_least)?\d+_t|u?int(ptr|max)_t|size_t|ptrdiff_t|wchar_t"  # types
    r"|[A-Z0-9_]{2,}"  # macros of any header: INT8_MAX, INPUT, EOF
)
_HEADERS = frozenset(
    """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal
    stdalign stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string strings
    tgmath threads time uchar wchar wctype unistd memory features arduino golden
    """.split()  # noqa: SIM905 - likewise
)
"""Files that an emitted ``NAME.h`` would stand in front of."""

FUNCTIONS = ("init", "reset", "step", "run", "forward", "state")
"""What the emitted file calls ``NAME_…`` itself."""


def identifier(name: str) -> str:
    """Turn any text into a C identifier of at most 40 characters.

    Example:
        >>> identifier("rnn.h_l0")
        'rnn_h_l0'
    """
    text = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:_LONGEST]
    if not text or text[0].isdigit() or text in _RESERVED or _PATTERNS.fullmatch(text):
        text = f"v_{text}"[:_LONGEST]
    return text


def prefix(name: str) -> str:
    """Turn any text into the prefix of an emitted file's symbols, and the name of the file.

    Example:
        >>> prefix("string")
        'v_string'
    """
    text = identifier(name)
    return f"v_{text}"[:_LONGEST] if text.lower() in _HEADERS else text


class Names:
    """Hands out identifiers, each once.

    Args:
        taken: Identifiers that are in use already.
        prefix: What no identifier may begin with, because the file's own symbols do.
    """

    def __init__(self, taken: Iterable[str] = (), prefix: str = "") -> None:
        self._taken = {name.lower() for name in taken}
        self._prefix = f"{prefix}_".lower() if prefix else ""

    def unique(self, name: str) -> str:
        """Return an identifier that was not handed out before; differences in case count not."""
        base = identifier(name)
        if self._prefix and base.lower().startswith(self._prefix):
            base = f"v_{base}"[:_LONGEST]
        candidate, number = base, 1
        while candidate.lower() in self._taken:
            number += 1
            suffix = f"_{number}"
            candidate = base[: _LONGEST - len(suffix)] + suffix
        self._taken.add(candidate.lower())
        return candidate


def printable(text: str) -> str:
    """Return text that may stand in a C comment: no end of comment, no other odd characters."""
    return re.sub(r"[^A-Za-z0-9_.,:;()\[\]<>=+ -]", "?", text)[:120]
