from __future__ import annotations

from typing import Any

import pytest

from edgernn_benchmarks.cells import Journal


@pytest.fixture
def journal() -> Journal:
    """Results of two seeds whose numbers can be checked by hand."""
    rows: dict[str, dict[str, Any]] = {}
    for seed in (0, 1):
        for cell, keeps in (("rnn", 0.5), ("lstm", 0.9), ("gru", 1.0)):
            norms = {"h": [[keeps**back * 10.0**seed for back in range(3, -1, -1)]]}
            if cell == "lstm":
                norms["c"] = [[0.4, 0.3, 0.2, 0.0]]
            for moment in ("plain", "trained"):
                rows[f"gradients/{cell}/{moment}/seed{seed}"] = {
                    "cell": cell, "moment": moment, "seed": seed, "steps": 4, "norms": norms,
                }  # fmt: skip
            for steps in (50, 200):
                solved = cell != "rnn" or steps == 50
                rows[f"memory/{cell}/{steps}/seed{seed}"] = {
                    "cell": cell, "steps": steps, "seed": seed,
                    "mse": 0.001 * (seed + 1) if solved else 0.16,
                    "epoch_seconds": [1.0 + seed, 3.0 + seed],
                }  # fmt: skip
    _add_choice(rows)
    settings = {"hidden_size": 32, "gradient_rows": 1, "gradient_steps": 4, "epochs": None}
    session = {"time_utc": "2026-01-02T03:04:05+00:00", "cpu": "a <processor>", "os": "Linux"}
    return Journal(None, settings, [session], rows)


def _add_choice(rows: dict[str, dict[str, Any]]) -> None:
    quality = {"LSTM-64": (0.90, 0.92), "GRU-64": (0.91, 0.93), "GRU-76": (0.91, 0.91)}
    costs = {"LSTM-64": 100, "GRU-64": 75, "GRU-76": 99}
    matches = {"LSTM-64": "", "GRU-64": "hidden size", "GRU-76": "parameters"}
    timed = []
    for label, values in quality.items():
        names = {"task": "keywords", "label": label, "match": matches[label]}
        for seed, value in enumerate(values):
            start = f"choice/keywords/{label}/seed{seed}"
            rows[f"{start}/training"] = {
                **names, "seed": seed, "recurrent_parameters": 1000 * costs[label],
                "epoch_seconds": [2.0, 2.0, 8.0],
            }  # fmt: skip
            for precision in ("float32", "int8"):
                rows[f"{start}/{precision}"] = {
                    **names, "seed": seed, "precision": precision, "metric": "accuracy",
                    "higher_is_better": True, "value": value, "bytes": 1000,
                }  # fmt: skip
        for precision in ("float32", "int8"):
            for target, counted in (("cpu", False), ("cortex-m4", True)):
                timed.append({
                    "label": label, "precision": precision, "target": target, "error": None,
                    "p50_us": None if counted else costs[label] / 10,
                    "flash_bytes": costs[label] if counted else None,
                    "instructions_per_step": float(costs[label]) if counted else None,
                })  # fmt: skip
    timed[3]["error"], timed[3]["flash_bytes"] = "the image does not fit <here>", None
    rows["choice/keywords/timing"] = {"task": "keywords", "scenario": "step", "rows": timed}
