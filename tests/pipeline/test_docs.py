"""What the documents say is what the code does: their commands and snippets are run here."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import ModuleType

import pytest
import torch
from helpers.cli import Cli

import edgernn
from edgernn import api
from edgernn.errors import UsageError
from edgernn.tasks import TASKS, get_task
from edgernn.tasks.base import DataSource
from edgernn.training import TrainOptions, advised

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(path: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(path.read_text()) if kind == language]


def load_script(name: str) -> ModuleType:
    spec = spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_pages_are_current() -> None:
    build = load_script("build_docs")
    for name, page in (("cli", build.cli_page()), ("api", build.api_page())):
        assert (ROOT / "docs" / f"{name}.md").read_text() == page, (
            f"docs/{name}.md is out of date; run python scripts/build_docs.py"
        )


def test_links_between_documents_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name} links to missing {link}"


def test_files_named_in_documents_exist() -> None:
    pattern = re.compile(
        r"`((?:benchmarks|docs|scripts|toolkit|exporters|runtimes)/[\w/.-]+\.\w+)`"
    )
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for name in pattern.findall(page.read_text()):
            if "VERB" in name:  # a recipe's placeholder
                continue
            assert (ROOT / name).exists(), f"{page.name} names missing {name}"


def run_page(page: Path, folder: Path) -> None:
    """Run a page's commands in order in a folder and a shell; training is cut to one epoch."""
    commands = [command for block in blocks(page, "sh") for command in commands_of(block)]
    assert len(commands) > 5
    for command in commands:
        short = " --epochs 1" if command.startswith("edgernn train") else ""
        done = subprocess.run(
            command + short, shell=True, cwd=folder, capture_output=True, text=True,
            env=environment(),
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def run_snippets(snippets: list[str], folder: Path) -> None:
    """Run Python snippets, each in a process of its own."""
    for snippet in snippets:
        done = subprocess.run(
            [sys.executable, "-c", snippet], cwd=folder, capture_output=True, text=True,
            env=environment(),
        )  # fmt: skip
        assert done.returncode == 0, f"{snippet}\n{done.stderr}"


def commands_of(block: str) -> list[str]:
    lines = block.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("edgernn ")]


def run_here(kind: str, text: str, cli: Cli, *shorter: str) -> None:
    """Run a block in this process and folder, which has PyTorch loaded.

    Trainings are cut short, by one epoch and further options.
    """
    if kind == "python":
        with NamedTemporaryFile("w", suffix=".py", dir=".", delete=False) as file:
            file.write(text)  # a file, because PyTorch may ask for the source of a function
        runpy.run_path(file.name, run_name="__main__")
    for command in commands_of(text) if kind == "sh" else ():
        _, *words = shlex.split(command, comments=True)
        done = cli(*words, *(("--epochs", "1", *shorter) if words[0] == "train" else ()))
        assert done.code == 0, f"{command}\n{done.err}"


def environment() -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_commands_and_snippets_of_the_readme_run(tmp_path: Path) -> None:
    readme = ROOT / "README.md"
    model, *snippets = blocks(readme, "python")
    (tmp_path / "mymodel.py").write_text(model)
    run_page(readme, tmp_path)
    run_snippets(snippets, tmp_path)


def test_the_task_that_contributing_shows_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (text,) = blocks(ROOT / "CONTRIBUTING.md", "python")
    (tmp_path / "parity.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(TASKS, "parity", "parity:TASK")
    task = get_task("parity")
    with pytest.raises(UsageError, match="generates its data"):
        task.splits(DataSource(folder=tmp_path))
    run = edgernn.train("parity", advised(task), TrainOptions(tmp_path / "run"))
    assert run.best is not None
    assert run.best.validation > 0.99  # it learns what it is for
    api.export_run(tmp_path / "run", tmp_path / "parity.onnx")
    assert edgernn.evaluate(tmp_path / "parity.onnx")["accuracy"] > 0.99
    session = edgernn.load(tmp_path / "parity.onnx")
    preprocessing = session.metadata.preprocessing
    assert preprocessing is not None
    given = task.read(task.sample(tmp_path), preprocessing)
    odd = int(given["x"].sum()) % 2
    assert task.answer(session.run(given), preprocessing) == task.labels()[odd]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder of its own, on one thread, and import from there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # a user's Python does not stop at warnings
@pytest.mark.parametrize(
    ("name", "snippets"),
    [("tutorial-int8", 1), ("your-pytorch-model", 3), ("your-onnx-file", 3)],
)
def test_a_page_runs_from_top_to_bottom(here: Path, name: str, snippets: int, cli: Cli) -> None:
    ran = []
    for kind, text in FENCE.findall((ROOT / "docs" / f"{name}.md").read_text()):
        run_here(kind, text, cli)
        ran.append(kind)
    assert ran.count("sh") >= 1
    assert ran.count("python") >= snippets


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["forecast", "health", "language", "memory", "motion", "sentiment", "speech",
             "translate"]
)  # fmt: skip
def test_a_page_of_a_task_runs_on_the_data_that_need_no_download(
    here: Path, name: str, cli: Cli
) -> None:
    found = blocks(ROOT / "docs" / "tasks" / f"{name}.md", "sh")
    text = re.sub(r" --data path/to/\S+", "", "".join(found))
    assert len(commands_of(text)) >= 4
    run_here("sh", text, cli, "--hidden", "8")
