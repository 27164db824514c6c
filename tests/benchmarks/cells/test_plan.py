from __future__ import annotations

from pathlib import Path

import pytest

from edgernn.errors import UsageError
from edgernn.tasks import get_task
from edgernn.tasks.base import DataSource
from edgernn_benchmarks.cells import SCENARIOS, Plan, quick_plan
from edgernn_benchmarks.cells.plan import members
from edgernn_benchmarks.cells.sizes import recurrent_parameters
from edgernn_benchmarks.scenarios import parse


@pytest.mark.parametrize("name", SCENARIOS)
def test_an_lstm_stands_beside_two_grus(name: str) -> None:
    lstm, equal, other = members(get_task(name), None)
    assert [member.match for member in (lstm, equal, other)] == ["", "hidden size", "parameters"]
    assert equal.config.hidden_size == lstm.config.hidden_size
    ratio = recurrent_parameters(other.config) / recurrent_parameters(lstm.config)
    assert ratio == pytest.approx(1, abs=0.02)
    assert len({member.label for member in (lstm, equal, other)}) == 3
    assert members(get_task(name), 4)[0].config.hidden_size == 4


def test_a_scenario_fits_its_task() -> None:
    for name, scenario in SCENARIOS.items():
        assert parse(scenario).streams != get_task(name).network.bidirectional


def test_each_seed_holds_another_speaker_out() -> None:
    folder = Path("fsdd")
    plan = Plan(sources={"keywords": DataSource(folder), "forecast": DataSource(folder)})
    held = [plan.source("keywords", seed).holdout for seed in range(7)]
    assert len(set(held[:6])) == 6
    assert held[6] == held[0]
    assert plan.source("forecast", 1) == DataSource(folder)
    assert plan.source("sentiment", 1) == DataSource()
    chosen = Plan(sources={"keywords": DataSource(folder, holdout="theo")})
    assert chosen.source("keywords", 0).holdout == "theo"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"parts": ("speed",)}, "no part 'speed'; choose of gradients, memory, choice"),
        ({"tasks": ("speech",)}, "no task 'speech'; choose of keywords"),
        ({"sources": {"adding": DataSource()}}, "no task with data 'adding'"),
        ({"seeds": 0}, "at least 1"),
    ],
)
def test_what_the_suite_has_not_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Plan(**values)


def test_a_trial_and_the_whole_do_not_share_a_file() -> None:
    assert quick_plan().settings() != Plan().settings()
    assert quick_plan(("memory",)).settings() == quick_plan().settings()
    assert Plan(seeds=5).settings() == Plan().settings()
