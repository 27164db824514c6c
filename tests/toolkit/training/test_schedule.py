from __future__ import annotations

import pytest
import torch

from edgernn.training.schedule import average_decay, learning_rate, seed_of


def test_learning_rate_is_the_one_cycle_of_torch() -> None:
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=1.0)
    steps = 41
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
    for step in range(steps):
        done = step / (steps - 1)
        # Theirs peaks at step 0.3 * steps - 1, ours at 0.3 of the way.
        assert learning_rate(done, 0.01) == pytest.approx(theirs.get_last_lr()[0], abs=7e-4)
        optimizer.step()
        if step < steps - 1:
            theirs.step()
    assert learning_rate(0.3, 0.01) == pytest.approx(0.01)
    assert learning_rate(1.2, 0.01) == learning_rate(1.0, 0.01) == pytest.approx(0.01 / 25e4)


def test_average_forgets_the_initial_weights_fast() -> None:
    assert average_decay(0, 0.999) == pytest.approx(0.1)
    assert average_decay(10**6, 0.999) == 0.999


def test_seeds_differ_by_seed_epoch_and_process() -> None:
    seeds = {seed_of(s, e, p) for s in range(4) for e in range(4) for p in range(4)}
    assert len(seeds) == 64
    assert all(0 <= seed < 2**63 for seed in seeds)
