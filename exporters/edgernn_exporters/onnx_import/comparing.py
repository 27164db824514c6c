"""Compare what an import gives with what it has to."""

from __future__ import annotations

import numpy as np

from edgernn.errors import AccuracyGateError, first_line
from edgernn.sessions import Array, Arrays

TOLERANCE = 1e-5
NO_GATE = "--no-gate writes the file without a proof"


def kind_of(error: Exception) -> str:
    """Return what another library raised: the type, and the first line of its text if any."""
    name = type(error).__name__
    return f"{name}: {first_line(error)[:200]}" if str(error).strip() else name


class StreamError(AccuracyGateError):
    """A model gives something else in pieces than at once, or nothing shows that it does not."""


class Checker:
    """Compare outputs, and count.

    Attributes:
        cases: Outputs compared.
        max_error: Largest ``max|a - b| / max(1, max|expected|)``.
    """

    def __init__(self) -> None:
        self.cases = 0
        self.max_error = 0.0

    def compare(
        self, label: str, expected: Arrays, got: Arrays, *, in_pieces: bool = False
    ) -> None:
        """Compare what a model gives with what it has to.

        Args:
            label: Names the inputs, for messages.
            expected: Outputs by name.
            got: Outputs of the import; others may be among them.
            in_pieces: True if ``expected`` is what one call gives, and ``got`` what several give.

        Raises:
            StreamError: They differ, and ``in_pieces``.
            AccuracyGateError: They differ, or one is missing.
        """
        for name, want in expected.items():
            if name not in got:
                raise AccuracyGateError(
                    f"output {name!r} of the original is missing in the imported model; this is "
                    f"a defect to report; {NO_GATE}"
                )
            self.cases += 1
            error = _distance(want, got[name])
            if not error <= TOLERANCE and in_pieces:
                raise StreamError(
                    f"output {name!r} of {label} is off by {error:.3g} from that of one call "
                    f"(tolerance {TOLERANCE:.0e})"
                )
            if not error <= TOLERANCE:
                raise AccuracyGateError(
                    f"the imported model differs from the original ({label}): output {name!r} of "
                    f"shape {list(want.shape)} is off by {error:.3g} (tolerance {TOLERANCE:.0e}), "
                    f"so nothing was written"
                )
            self.max_error = max(self.max_error, error)


def _distance(want: Array, have: Array) -> float:
    """Return ``max|a - b| / max(1, max|a|)``; infinite where shapes or special values differ."""
    if want.shape != have.shape:
        return float("inf")
    if want.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(want, have) else float("inf")
    exact, other = want.astype(np.float64), have.astype(np.float64)
    finite = np.isfinite(exact)
    if not np.array_equal(exact[~finite], other[~finite], equal_nan=True):
        return float("inf")
    scale = max(1.0, float(np.abs(exact[finite]).max(initial=0.0)))
    with np.errstate(invalid="ignore"):
        distance = np.abs(exact[finite] - other[finite]).max(initial=0.0)
    return float(distance) / scale if np.isfinite(distance) else float("inf")
