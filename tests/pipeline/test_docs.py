"""What the documents say is what the code does: their commands and snippets are run here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

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


@pytest.mark.slow
def test_commands_and_snippets_of_the_readme_run(tmp_path: Path) -> None:
    """Run the README's commands in order in an empty folder; training is cut to one epoch."""
    readme = ROOT / "README.md"
    commands = [
        line
        for block in blocks(readme, "sh")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("edgernn ")
    ]
    assert len(commands) > 5
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    (tmp_path / "mymodel.py").write_text(blocks(readme, "python")[0])
    for command in commands:
        short = " --epochs 1" if command.startswith("edgernn train") else ""
        done = subprocess.run(
            command + short,
            shell=True,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=environment,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    for snippet in blocks(readme, "python")[1:]:
        done = subprocess.run(
            [sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True,
            env=environment,
        )  # fmt: skip
        assert done.returncode == 0, f"{snippet}\n{done.stderr}"
