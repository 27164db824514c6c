"""The errors of every package, and the exit code each one ends a command with.

::

    EdgernnError
    ├── UsageError             2  the call itself is wrong: unknown task, missing option
    ├── ModelError             3  the model file is broken, unsafe, or not what was said
    │   ├── ContractError      3  the state contract and the graph disagree
    │   └── CheckpointError    3  the checkpoint is broken or of another architecture
    ├── InputError             3  wrong name, rank, dtype, size or a NaN in the data
    ├── OutputError            3  the result cannot be written where it was asked for
    ├── TargetUnavailable      4  the target is not on this machine; says what to install
    ├── AccuracyGateError      5  two results that must agree do not
    ├── PerformanceGateError   6  a measured limit was exceeded
    └── Interrupted            7  stopped by the user; what was finished is kept

Every message says what was wrong, where, and what to do about it.
"""

from __future__ import annotations


class EdgernnError(Exception):
    """Base of all errors that edgernn raises on purpose."""

    exit_code = 1


class UsageError(EdgernnError):
    """Report a call that cannot be meant as written."""

    exit_code = 2


class ModelError(EdgernnError):
    """Report a model file that is broken, unsafe, or not what it claims to be."""

    exit_code = 3


class ContractError(ModelError):
    """Report a state contract that does not match its graph."""


class CheckpointError(ModelError):
    """Report a checkpoint that is broken or belongs to another architecture."""


class InputError(EdgernnError):
    """Report data that the model cannot take."""

    exit_code = 3


class OutputError(EdgernnError):
    """Report a place where the result cannot be written."""

    exit_code = 3


class TargetUnavailable(EdgernnError):
    """Report a target that this machine does not have."""

    exit_code = 4


class AccuracyGateError(EdgernnError):
    """Report two results that must agree and do not."""

    exit_code = 5


class PerformanceGateError(EdgernnError):
    """Report a measured limit that was exceeded."""

    exit_code = 6


class Interrupted(EdgernnError):
    """Report that the user stopped the work; what was finished is kept."""

    exit_code = 7


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
