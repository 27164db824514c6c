"""Sessions of mini models on emulated boards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.mini_projects import MINIS, Mini, write_mini, write_mini_project

from edgernn.c_project import CProject
from edgernn_runtimes.emulated.adapter import load
from edgernn_runtimes.emulated.session import EmulatedSession

Open = Callable[..., EmulatedSession]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep built programs in a folder of this test run."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGERNN_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def opened(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Open]:
    """Return ``opened(mini, board, **options)``; sessions are shared unless ``fresh=True``."""
    folder = tmp_path_factory.mktemp("minis")
    sessions: dict[Any, EmulatedSession] = {}
    count = iter(range(10_000))

    def open_session(
        mini: Mini | str, board: str = "cortex-m4", *, fresh: bool = False, contract: bool = True,
        **options: Any,
    ) -> EmulatedSession:  # fmt: skip
        mini = MINIS[mini] if isinstance(mini, str) else mini
        key = (repr(mini), board, contract, *sorted(options.items()))
        if not fresh and key in sessions:
            return sessions[key]

        def compile(path: Path, project: Path, *, target: str, max_steps: int | None = None,
                    chunk: int | None = None) -> CProject:  # fmt: skip
            chosen = mini if max_steps is None else replace(mini, max_steps=max_steps)
            return write_mini_project(chosen, project, target, states=contract)

        path = write_mini(mini, folder / f"{mini.name}-{next(count)}.onnx", contract=contract)
        session = load(path, board=board, compile=compile, **options)
        sessions[(next(count),) if fresh else key] = session
        return session

    yield open_session
    for session in sessions.values():
        session.close()
