"""Look for the choice of precisions: one layer at a time, then all together.

Nothing here knows of files: a choice goes in, what was measured of it comes out. The order of
choices depends only on what was measured and on the seed. So an interrupted search that finds its
measurements stored takes the same way again, without measuring twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from edgernn_exporters.search.candidates import Candidate, Limits, choose
from edgernn_exporters.search.sampling import Sampler
from edgernn_exporters.search.sensitivity import Sensitivity, greedy_path, sensitivities
from edgernn_exporters.search.space import Choice, Space

Measure = Callable[[Choice, str], Candidate]
"""Measures a choice; the second argument is its origin."""

OnProgress = Callable[[int, int, str], None]
"""Told how many choices are measured, how many there will be at most, and what is measured."""

_MOST_REPEATS = 50  # suggestions in a row that were measured before, after which optuna is done


@dataclass
class Exploration:
    """Measure choices, each at most once.

    Attributes:
        space: What can be chosen.
        measure: Measures a choice.
        limits: What the result has to keep.
        trials: How many choices of several layers to measure at most; if there are no more than
            that, all are measured.
        seed: Of optuna's sampler.
        on_progress: See `OnProgress`.
        sampler: Makes what suggests choices.
        found: What was measured, in order.
    """

    space: Space
    measure: Measure
    limits: Limits
    trials: int
    seed: int
    on_progress: OnProgress = lambda done, total, words: None
    sampler: Callable[[Space, Limits, int], Sampler] = Sampler
    found: dict[Choice, Candidate] = field(default_factory=dict)
    _total: int = 0
    _left: int = 0
    _refined: Candidate | None = None

    def run(self) -> list[Candidate]:
        """Measure, and return the candidates in the order in which they were measured."""
        singles = [choice for _, choice in self.space.changes(self.space.base)]
        rest = self.space.size - len(singles) - 1
        self._total = 1 + len(singles) + min(rest, self.trials)
        self._left = self.trials
        self._visit(self.space.base, "one layer")
        for choice in singles:
            self._visit(choice, "one layer")
        if rest <= self.trials:
            for choice in self.space.all():
                self._visit(choice, "every choice")
        else:
            self._search()
        return list(self.found.values())

    def _search(self) -> None:
        for precision in dict.fromkeys(
            p for options in self.space.layers.values() for p in options
        ):
            self._try(self.space.uniform(precision), "uniform")
        alone = sensitivities(self.space, self.found)
        path = greedy_path(self.space, alone)
        for choice in _spread(path, self._left // 3):
            self._try(choice, "greedy")
        sampler, told, repeats = self.sampler(self.space, self.limits, self.seed), 0, 0
        while self._left and repeats < _MOST_REPEATS:
            self._refine(alone)
            for candidate in list(self.found.values())[told:]:
                sampler.add(candidate)
            choice = sampler.suggest()
            repeats = repeats + 1 if choice in self.found else 0
            self._try(choice, "optuna")
            if choice in self.found:
                sampler.tell(self.found[choice])
            told = len(self.found)

    def _refine(self, alone: list[Sensitivity]) -> None:
        """Change the best choice in one layer as long as that finds a better one."""
        saved = {(item.layer, item.precision): item.saved_bytes or 0 for item in alone}
        while self._left:
            best = choose(self.found.values(), self.limits)
            if best is None or best is self._refined:
                return
            self._refined = best
            now = self.space.by_layer(best.choice)
            for layer, choice in self.space.changes(best.choice):
                precision = self.space.by_layer(choice)[layer]
                if saved.get((layer, precision), 0) > saved.get((layer, now[layer]), 0):
                    self._try(choice, "refined")

    def _try(self, choice: Choice, origin: str) -> None:
        if choice not in self.found and self._left:
            self._left -= 1
            self._visit(choice, origin)

    def _visit(self, choice: Choice, origin: str) -> None:
        if choice not in self.found:
            self.on_progress(len(self.found), self._total, origin)
            self.found[choice] = self.measure(choice, origin)
            self.on_progress(len(self.found), self._total, origin)


def _spread(choices: list[Choice], count: int) -> list[Choice]:
    """Take so many choices evenly, the last one among them."""
    count = min(count, len(choices))
    return [choices[(index + 1) * len(choices) // count - 1] for index in range(count)]
