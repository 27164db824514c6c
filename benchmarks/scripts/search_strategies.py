"""Compare who suggests what a search for precisions measures next (docs/decisions/0013).

On computed networks of 5 layers all 3,125 choices are known. Each strategy gets the same greedy
path, the same changes of the best choice in one layer and the same number of measurements.
Flash: of the chosen file against the smallest that keeps the drop. Front: share of the true
Pareto front's hypervolume in the logarithms of flash and noise.

    python benchmarks/scripts/search_strategies.py --json benchmarks/results/search_strategies.json
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from edgernn.files import check_writable, write_text
from edgernn_benchmarks.environment import capture
from edgernn_exporters.quantization.layers import FLOAT
from edgernn_exporters.search import Candidate, Limits, Measured
from edgernn_exporters.search.candidates import choose
from edgernn_exporters.search.explore import Exploration
from edgernn_exporters.search.sampling import Sampler
from edgernn_exporters.search.space import Choice, Space

BITS = {"int4": 0.5, "int8": 1.0, "w8a16": 1.02, "int8-dynamic": 1.03, FLOAT: 4.0}
NOISE = {"int4": 1.0, "int8": 0.08, "w8a16": 0.004, "int8-dynamic": 0.05, FLOAT: 0.0}
LIMITS = Limits(0.005)


class Network:
    """Layers of random size and sensitivity; neighbours in int4 disturb each other."""

    def __init__(
        self, seed: int, layers: int, fails: Callable[[Choice], bool] = lambda choice: False
    ) -> None:
        rng = np.random.default_rng(seed)
        self.space = Space({f"l{index}": tuple(BITS) for index in range(layers)})
        self._sizes = rng.choice([1000, 4000, 20000, 60000], layers)
        self._scales = 10 ** rng.uniform(-4, -2, layers)
        self._factors = rng.uniform(0.5, 1.5, (layers, len(BITS)))
        self._fails = fails
        self.asked: list[Choice] = []

    def measure(self, choice: Choice, origin: str) -> Candidate:
        """Compute what a choice costs."""
        self.asked.append(choice)
        if self._fails(choice):
            return Candidate(choice, origin, None, "cannot be measured")
        noise, order = 0.0, list(BITS)
        for index, precision in enumerate(choice):
            factor = self._factors[index, order.index(precision)]
            noise += float(self._scales[index] * NOISE[precision] * factor)
            if index and choice[index - 1] == precision == "int4":
                noise += 0.5 * float(np.sqrt(self._scales[index] * self._scales[index - 1]))
        flash = int(sum(size * BITS[p] for size, p in zip(self._sizes, choice, strict=True)))
        drop = round(noise * 2 * 200) / 200
        return Candidate(choice, origin, Measured(0.9 - drop, drop, noise, flash, flash, 500))


class Nsga(Sampler):
    """optuna's genetic sampler."""

    def __init__(self, space: Space, limits: Limits, seed: int) -> None:
        super().__init__(space, limits, seed)
        self._study.sampler = optuna.samplers.NSGAIISampler(seed=seed, population_size=20)


class Random(Sampler):
    """optuna's random sampler."""

    def __init__(self, space: Space, limits: Limits, seed: int) -> None:
        super().__init__(space, limits, seed)
        self._study.sampler = optuna.samplers.RandomSampler(seed=seed)


STRATEGIES = {"TPE": Sampler, "NSGA-II": Nsga, "random": Random}


def hypervolume(candidates: Iterable[Candidate]) -> float:
    points = sorted(
        (math.log10(item.measured.flash_bytes), math.log10(item.measured.noise + 1e-6))
        for item in candidates
        if item.measured is not None
    )
    area, lowest = 0.0, 0.0
    for x, y in points:
        if y < lowest:
            area += (6.0 - x) * (lowest - y)
            lowest = y
    return area


def flash(candidates: Iterable[Candidate]) -> int:
    found = choose(candidates, LIMITS)
    assert found is not None
    assert found.measured is not None
    return found.measured.flash_bytes


def compare(networks: int, layers: int, trials: int) -> list[dict[str, Any]]:
    rows = []
    for seed in range(networks):
        network = Network(seed, layers)
        every = [network.measure(choice, "") for choice in network.space.all()]
        for name, sampler in STRATEGIES.items():
            found = Exploration(
                network.space, network.measure, LIMITS, trials, seed=0, sampler=sampler
            ).run()
            rows.append({
                "network": seed, "strategy": name, "measured": len(found),
                "flash": flash(found) / flash(every),
                "front": hypervolume(found) / hypervolume(every),
            })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=15)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.json is not None:
        check_writable(options.json)
    rows = compare(options.networks, options.layers, options.trials)
    for name in STRATEGIES:
        mine = [row for row in rows if row["strategy"] == name]
        sizes, fronts = [row["flash"] for row in mine], [row["front"] for row in mine]
        print(
            f"{name:8} flash {np.mean(sizes):.4f} (worst {max(sizes):.3f}), front "
            f"{np.mean(fronts):.4f} (worst {min(fronts):.4f})"
        )
    if options.json is not None:
        write_text(
            options.json, json.dumps({"environment": capture(), "rows": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
