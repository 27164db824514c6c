"""What `run`, `evaluate` and `compare` say of an emulated target: counts, never times."""

from __future__ import annotations

from typing import Any

from edgernn.cli.options import human_bytes
from edgernn.sessions import Emulated, Session

STEPS = 20
"""Time steps that instructions are counted over."""


def counts_of(session: Session) -> dict[str, Any] | None:
    """Count a model on an emulated core over `STEPS` steps; None on other targets."""
    if not isinstance(session, Emulated):
        return None
    counted = session.measure(STEPS)
    return {
        "instructions_per_step": counted.instructions_per_step,
        "flash_bytes": counted.flash_bytes,
        "static_ram_bytes": counted.static_ram_bytes,
        "peak_stack_bytes": counted.peak_stack_bytes,
    }


def render_counts(target: str, counts: dict[str, Any]) -> str:
    """Render the counts in one line."""
    return (
        f"{target}: {counts['instructions_per_step']:,.0f} instructions (emulated) a step; flash "
        f"{human_bytes(counts['flash_bytes'])}, static RAM "
        f"{human_bytes(counts['static_ram_bytes'])}, stack "
        f"{human_bytes(counts['peak_stack_bytes'])}"
    )
