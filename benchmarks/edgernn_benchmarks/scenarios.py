"""How a model is called while it is measured: step by step, in chunks, or as whole sequences."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgernn.errors import UsageError

KINDS = ("step", "chunk", "sequence")
MAX_STEPS = 1_000_000
MAX_BATCH = 65_536
FORMS = (
    "step (one live stream, one time step a call), chunk:N (a live stream, N steps a call), "
    "sequence:N (whole runs of N steps); each may end in xB for a batch of B, as in sequence:100x8"
)
_PATTERN = re.compile(r"(step|chunk|sequence)(?::(\d{1,9}))?(?:x(\d{1,9}))?", re.ASCII)


@dataclass(frozen=True)
class Scenario:
    """Describe one way of calling a model.

    Attributes:
        kind: ``"step"`` and ``"chunk"`` go through ``session.stream().step``, ``"sequence"``
            through ``session.run``.
        steps: Time steps a call; 1 for ``"step"``.
        batch: Sequences a call, in lockstep.
    """

    kind: str
    steps: int = 1
    batch: int = 1

    @property
    def streams(self) -> bool:
        """Whether state is carried from call to call."""
        return self.kind != "sequence"

    def __str__(self) -> str:
        """Render the text that `parse` reads, such as ``sequence:100x8``."""
        steps = "" if self.kind == "step" else f":{self.steps}"
        return self.kind + steps + (f"x{self.batch}" if self.batch != 1 else "")

    def in_words(self) -> str:
        """Say what one call is, for reports."""
        steps = "one time step" if self.steps == 1 else f"{self.steps} time steps"
        how = {
            "step": f"{steps} a call on a live stream",
            "chunk": f"{steps} a call on a live stream",
            "sequence": f"whole sequences of {steps}",
        }[self.kind]
        return how + (f", {self.batch} streams at once" if self.batch != 1 else "")


def parse(text: str, *, batch: int = 1) -> Scenario:
    """Read a scenario.

    Args:
        text: ``step``, ``chunk:10``, ``sequence:100``, ``sequence:100x8`` …
        batch: Batch where the text names none.

    Raises:
        UsageError: The text is none of the forms, or a number is out of range.

    Example:
        >>> parse("sequence:100x8")
        Scenario(kind='sequence', steps=100, batch=8)
    """
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise UsageError(f"unknown scenario {text!r}; the forms are {FORMS}")
    kind, steps, rows = found.groups()
    if (kind == "step") != (steps is None):
        wrong = "step takes no number" if kind == "step" else f"{kind} needs its number of steps"
        raise UsageError(f"scenario {text!r}: {wrong}; the forms are {FORMS}")
    scenario = Scenario(kind, int(steps or 1), int(rows or batch))
    if not (1 <= scenario.steps <= MAX_STEPS and 1 <= scenario.batch <= MAX_BATCH):
        raise UsageError(
            f"scenario {text!r}: steps must be 1 to {MAX_STEPS} and the batch 1 to {MAX_BATCH}"
        )
    return scenario
