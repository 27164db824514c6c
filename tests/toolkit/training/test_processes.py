from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgernn.errors import CheckpointError
from edgernn.tasks.base import Batch
from edgernn.training import RunInfo, load_run
from edgernn.training.processes import share_of


@given(st.integers(1, 9), st.integers(1, 5))
def test_shares_make_up_the_mean_over_the_batch(rows: int, processes: int) -> None:
    values = np.arange(1, rows + 1)
    batch = Batch(np.zeros((rows, 2, 1), np.float32), values, values)
    averaged, seen = 0.0, []
    for index in range(processes):
        process = SimpleNamespace(
            process_index=index, num_processes=processes, device=torch.device("cpu")
        )
        x, lengths, targets, weights = share_of(batch, process)  # type: ignore[arg-type] # three attributes are all it needs
        assert len(x) == len(lengths) == len(targets) == len(weights) >= 1
        averaged += float((targets * weights).sum()) / processes
        seen += targets[weights > 0].tolist()
    assert averaged == pytest.approx(values.mean())
    assert sorted(seen) == values.tolist()


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path, train_turns: Callable[..., RunInfo]) -> None:
    # 101 rows in batches of 25: the shares are uneven, and the last batch leaves one process none.
    changes: dict[str, Any] = {"size": 101, "epochs": 4, "dropout": 0.0, "ema_decay": 0.9}
    one = train_turns(tmp_path / "one", **changes)
    launch = ["-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    done = start(launch, tmp_path / "two", changes, {})
    out, err = done.communicate(timeout=200)
    assert done.returncode == 0, err
    assert sorted(out.split()) == ["0", "1", "done", "done"]
    assert err.count("epoch 4/4") == 1  # only the main process reports
    model, two = load_run(tmp_path / "two")
    expected, _ = load_run(tmp_path / "one")
    assert (one.processes, two.processes) == (1, 2)
    with pytest.raises(CheckpointError, match="processes is 2 there, 1 here"):
        train_turns(tmp_path / "two", **changes, options={"resume": True})
    assert two.stopped == one.stopped
    for mine, theirs in zip(two.history, one.history, strict=True):
        assert mine.train_loss == pytest.approx(theirs.train_loss, abs=1e-4)
        assert mine.validation == theirs.validation
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected.state_dict()[name], rtol=0, atol=1e-4)


@pytest.mark.slow
def test_error_of_the_main_process_ends_all(tmp_path: Path, finished: RunInfo) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    # As torchrun sets them.
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    processes = [
        start([], finished.folder, {}, {**common, "RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    for process in processes:
        _, err = process.communicate(timeout=200)
        assert process.returncode == 2, err
        assert "already holds a run" in err
        assert "Traceback" not in err


def start(
    launch: list[str], folder: Path, options: dict[str, Any], environment: dict[str, str]
) -> subprocess.Popen[str]:
    program = Path(__file__).with_name("turns.py")
    return subprocess.Popen(
        [sys.executable, *launch, program, folder, json.dumps(options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )
