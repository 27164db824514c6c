"""The driver of the kernels in every build."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.kernels import BUILDS, DRIVER, KERNELS, STRICT, Build, Program, compile_c


@pytest.fixture(scope="session")
def drivers() -> dict[str, Path]:
    """Drivers that were built, by the name of the build."""
    return {}


@pytest.fixture(scope="module", params=BUILDS, ids=lambda build: build.name)
def program(
    request: pytest.FixtureRequest,
    drivers: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Program]:
    build: Build = request.param
    if reason := build.missing():
        pytest.skip(reason)
    if build.name not in drivers:
        path = tmp_path_factory.mktemp("driver") / "driver"
        flags = ["-O3", "-ffp-contract=off", *build.flags, *build.layout.flags(), f"-I{KERNELS}"]
        compile_c(build.compiler, *STRICT, *flags, str(DRIVER), "-o", str(path))
        drivers[build.name] = path
    running = Program(build, drivers[build.name])
    yield running
    running.close()
