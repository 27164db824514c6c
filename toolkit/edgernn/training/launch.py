"""Start the CPU processes that ``accelerate launch --cpu --num_processes N`` leaves out.

accelerate (1.15 and before, huggingface/accelerate issue 2741) starts one process then, whatever N
is, unless ``mpirun`` starts it. The first training in that process starts the others: each runs the
same command from its beginning, as under any launcher, with the ranks in its environment.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped] # accelerate depends on it; it ships no types
from accelerate.commands.launch import launch_command_parser
from accelerate.state import PartialState

_LAUNCHERS = ("launch", "launch.py", "accelerate-launch", "accelerate.commands.launch")
_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
_GRACE_S = 10.0
_others: list[subprocess.Popen[bytes]] = []


def start_missing_processes() -> None:
    """Start the other processes, if the launcher was asked for several and started this one only.

    This process becomes the main one. It waits for the others when it exits, and ends them if they
    do not.
    """
    left_alone = (
        os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
        and "MASTER_PORT" in os.environ  # accelerate sets it for several processes only
        and not any(name in os.environ for name in _RANKS)
        and not PartialState._shared_state  # set up before us, as one process: too late
    )
    parent = psutil.Process().parent() if left_alone else None
    processes = 1 if parent is None else processes_asked(parent.cmdline())
    if processes < 2:
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    common |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    command = [sys.executable, *sys.orig_argv[1:]]
    for rank in range(1, processes):
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        _others.append(subprocess.Popen(command, env={**os.environ, **common, **ranks}))
    atexit.register(end_other_processes, _GRACE_S)
    os.environ.update({**common, "RANK": "0", "LOCAL_RANK": "0"})


def processes_asked(command: Sequence[str]) -> int:
    """Return how many processes on one machine a command line asks accelerate for.

    Example:
        >>> processes_asked(["accelerate", "launch", "--cpu", "--num_processes=2", "train.py"])
        2
        >>> processes_asked(["bash"])
        1
    """
    for index, word in enumerate(command):
        if Path(word).name in _LAUNCHERS:
            asked = launch_command_parser().parse_args(list(command[index + 1 :]))
            return int(asked.num_processes or 1) if (asked.num_machines or 1) == 1 else 1
    return 1


def end_other_processes(grace_s: float) -> None:
    """End the processes that this one started; only this one writes, so nothing is lost.

    Args:
        grace_s: Time that each has to end by itself.
    """
    for process in _others:
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.terminate()
