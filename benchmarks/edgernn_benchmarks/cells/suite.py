"""Run the parts of the suite, one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edgernn_benchmarks import environment
from edgernn_benchmarks.cells.choice import measure_choice
from edgernn_benchmarks.cells.journal import Journal, open_journal
from edgernn_benchmarks.cells.memory import measure_gradients, measure_memory
from edgernn_benchmarks.cells.plan import Plan, Verbs
from edgernn_benchmarks.opening import check_targets

Measure = Callable[[Plan, Verbs, Journal, Path, Callable[[str], object]], None]
MEASURES: Mapping[str, Measure] = {
    "gradients": measure_gradients,
    "memory": measure_memory,
    "choice": measure_choice,
}


def run_suite(
    plan: Plan,
    verbs: Verbs,
    path: Path,
    work: Path,
    *,
    say: Callable[[str], object] = lambda key: None,
) -> Journal:
    """Measure what the file does not hold yet.

    Args:
        plan: What to measure.
        verbs: The steps that need PyTorch.
        path: JSON file of the results, written after each; an earlier one is continued.
        work: Folder for trainings and models; finished ones in it are used again.
        say: Told the key of what is looked at next.

    Returns:
        All results in the file.

    Raises:
        UsageError: The file or a training holds results of other settings, or a target is not
            known.
        InputError: The file holds something else, or data cannot be read.
        OutputError: A file cannot be written.
        Interrupted: The user stopped a training; what was measured is kept, and so are the
            finished epochs.
    """
    check_targets(plan.targets)
    journal = open_journal(path, plan.settings(), environment.capture(plan.targets))
    for part in plan.parts:
        MEASURES[part](plan, verbs, journal, work, say)
    return journal
