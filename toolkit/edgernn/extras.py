"""Packages that only some verbs need, installed as extras."""

from __future__ import annotations

from edgernn.errors import TargetUnavailable


class needs:  # noqa: N801 - used like a function
    """Turn a missing package of an extra into an error that says how to install it."""

    def __init__(self, extra: str) -> None:
        self._extra = extra

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, ImportError):
            raise TargetUnavailable(
                f"package {error.name!r} is missing; install it with: "
                f"pip install 'edgernn[{self._extra},cpu]'"
            ) from None
