"""Searches over choices whose measurements are computed, so that the best one is known."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn_exporters.quantization.layers import FLOAT
from edgernn_exporters.search.candidates import Limits, choose
from edgernn_exporters.search.explore import Exploration
from edgernn_exporters.search.space import Space

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "scripts" / "search_strategies.py"
Network = runpy.run_path(str(SCRIPT))["Network"]


@given(st.integers(0, 1000), st.integers(1, 2), st.sampled_from([0.0, 0.01, 0.05]))
def test_a_small_space_is_measured_whole_and_once(seed: int, layers: int, drop: float) -> None:
    network, limits = Network(seed, layers), Limits(drop)
    found = Exploration(network.space, network.measure, limits, trials=64, seed=0).run()
    assert sorted(network.asked) == sorted(network.space.all())
    best = choose((network.measure(c, "") for c in network.space.all()), limits)
    chosen = choose(found, limits)
    assert chosen is not None
    assert best is not None
    assert chosen.choice == best.choice


@settings(max_examples=8)
@given(st.integers(0, 1000), st.sampled_from([0, 7, 30]))
def test_a_large_space_is_searched_within_the_budget_without_repeats(
    seed: int, trials: int
) -> None:
    network = Network(seed, layers=5)
    found = Exploration(network.space, network.measure, Limits(0.01), trials, seed=1).run()
    assert len(network.asked) == len(set(network.asked)) == len(found)
    assert len(found) <= 1 + 5 * 4 + trials


@pytest.mark.parametrize("seed", range(4))
def test_the_best_of_3125_choices_is_found_or_nearly(seed: int) -> None:
    network, limits = Network(seed, layers=5), Limits(0.005)
    best = choose((network.measure(c, "") for c in network.space.all()), limits)
    network.asked.clear()
    chosen = choose(
        Exploration(network.space, network.measure, limits, trials=64, seed=0).run(), limits
    )
    assert len(network.asked) <= 85
    assert best is not None
    assert chosen is not None
    assert best.measured is not None
    assert chosen.measured is not None
    assert chosen.measured.flash_bytes <= 1.05 * best.measured.flash_bytes


@pytest.mark.parametrize("limits", [Limits(0.005), Limits(0.0, flash_bytes=30_000, ram_bytes=400)])
def test_the_same_measurements_and_seed_give_the_same_way(limits: Limits) -> None:
    ways = []
    for _ in range(2):
        network = Network(3, layers=5)
        Exploration(network.space, network.measure, limits, trials=24, seed=7).run()
        ways.append(network.asked)
    assert ways[0] == ways[1]


def test_choices_that_fail_do_not_stop_the_search() -> None:
    network = Network(5, layers=5, fails=lambda choice: choice.count("int4") > 1)
    found = Exploration(network.space, network.measure, Limits(0.01), trials=40, seed=0).run()
    assert any(item.measured is None for item in found)
    chosen = choose(found, Limits(0.01))
    assert chosen is not None
    assert chosen.measured is not None


def test_all_choices_may_fail() -> None:
    network = Network(5, layers=5, fails=lambda choice: set(choice) != {FLOAT})
    found = Exploration(network.space, network.measure, Limits(0.01), trials=20, seed=0).run()
    chosen = choose(found, Limits(0.01))
    assert chosen is not None
    assert chosen.is_float


def test_progress_counts_up_to_the_number_of_choices() -> None:
    network, told = Network(1, layers=2), []
    exploration = Exploration(
        network.space, network.measure, Limits(), 64, 0,
        lambda done, total, words: told.append((done, total)),
    )  # fmt: skip
    exploration.run()
    counts = [done for done, _ in told]
    assert counts == sorted(counts)
    assert told[-1] == (25, 25)


def test_fixed_layers_stay_as_they_are() -> None:
    network = Network(2, layers=3)
    space = Space({**network.space.layers, "l1": ("int8",)})
    found = Exploration(space, network.measure, Limits(), trials=100, seed=0).run()
    assert {item.choice[1] for item in found} == {"int8"}
    assert len(found) == 25


def test_a_missing_optuna_says_what_to_install() -> None:
    code = """
import sys
sys.modules["optuna"] = None  # importing it raises ImportError
from edgernn.errors import TargetUnavailable
from edgernn_exporters.search.candidates import Limits
from edgernn_exporters.search.sampling import Sampler
from edgernn_exporters.search.space import Space
try:
    Sampler(Space({"l0": ("int8", "float32")}), Limits(), 0)
except TargetUnavailable as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'edgernn[sweep,cpu]'" in done.stdout


def test_the_search_package_does_not_import_optuna() -> None:
    code = "import sys, edgernn_exporters.search; print('optuna' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
