"""Suggest choices by optuna's multi-objective TPE sampler (docs/decisions/0013)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgernn.errors import TargetUnavailable
from edgernn_exporters.search.candidates import Candidate, Limits
from edgernn_exporters.search.space import Choice, Space

if TYPE_CHECKING:
    from optuna.trial import Trial

_FAR = 1e9  # instead of infinity, which optuna's constraints do not take


class Sampler:
    """Learn from measured choices which others may lie on the Pareto front within the limits.

    The study is held in memory only: it is told again what was measured.

    Args:
        space: What can be chosen.
        limits: Become optuna's constraints and objectives.
        seed: The same measurements and seed give the same suggestions.

    Raises:
        TargetUnavailable: optuna is not installed.
    """

    def __init__(self, space: Space, limits: Limits, seed: int) -> None:
        self._optuna = _import_optuna()
        self._space, self._limits = space, limits
        optuna = self._optuna
        self._open = {
            name: optuna.distributions.CategoricalDistribution(options)
            for name, options in space.layers.items()
            if len(options) > 1
        }
        self._trial: Trial | None = None
        objectives = 3 + (limits.ram_bytes is not None) + (limits.latency is not None)
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of each new study
        self._study = optuna.create_study(
            directions=["minimize"] * objectives,
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=1),
        )
        optuna.logging.set_verbosity(level)

    def add(self, candidate: Candidate) -> None:
        """Learn from a choice that was not suggested."""
        by_layer = self._space.by_layer(candidate.choice)
        create, state = self._optuna.trial.create_trial, self._optuna.trial.TrialState
        measured = candidate.measured is not None
        self._study.add_trial(
            create(
                state=state.COMPLETE if measured else state.FAIL,
                values=self._values(candidate) if measured else None,
                params={name: by_layer[name] for name in self._open},
                distributions=self._open,
                constraints=self._constraints(candidate),
            )
        )

    def suggest(self) -> Choice:
        """Return a choice; it may have been measured before. `tell` must follow."""
        self._trial = self._study.ask(self._open)
        return tuple(
            self._trial.params.get(name, options[0]) for name, options in self._space.layers.items()
        )

    def tell(self, candidate: Candidate) -> None:
        """Learn from the choice that was suggested."""
        assert self._trial is not None
        if candidate.measured is None:
            self._study.tell(self._trial, state=self._optuna.trial.TrialState.FAIL)
            return
        for name, value in self._constraints(candidate).items():
            self._trial.set_constraint(name, value)
        self._study.tell(self._trial, self._values(candidate))

    def _values(self, candidate: Candidate) -> list[float]:
        """Return the objectives; the noise is one, because the drop alone is too coarse."""
        assert candidate.measured is not None
        values = (*self._limits.objectives(candidate.measured), -candidate.measured.sqnr_db)
        return [min(value, _FAR) for value in values]

    def _constraints(self, candidate: Candidate) -> dict[str, float]:
        if candidate.measured is None:
            return {}
        excess = self._limits.excess(candidate.measured)
        return {name: min(value, _FAR) for name, value in excess.items()}


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise TargetUnavailable(
            f"package {error.name!r} is missing; install it with: pip install 'edgernn[sweep,cpu]'"
        ) from None
    return optuna
