from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest
from helpers.cli import runner

from edgernn_benchmarks.cells import Journal, page_of_cells, to_html, to_markdown
from edgernn_benchmarks.cells.plots import gradients_svg, memory_svg

ROOT = Path(__file__).parents[3]


def test_the_page_holds_everything_and_escapes_it(journal: Journal) -> None:
    page = to_html(journal)
    assert "a &lt;processor&gt;" in page
    assert "LSTM-64 on cortex-m4, int8: the image does not fit &lt;here&gt;" in page
    assert "91.00 % accuracy (90.00 % to 92.00 %)" in page
    assert page.count("<svg") == 3  # two moments of gradients, and the adding problem
    assert "The claim holds." in page
    assert "A trial" not in page
    journal.settings = {**journal.settings, "epochs": 1}
    assert "the trainings were cut short" in to_html(journal)


def test_a_page_of_nothing_is_a_page() -> None:
    assert "<svg" not in to_html(Journal(None, {}, [{}], {}))
    assert to_markdown(Journal(None, {}, [{}], {})) == "\n"


@pytest.mark.parametrize("moment", ["plain", "trained"])
def test_a_plot_has_a_curve_for_each_state(journal: Journal, moment: str) -> None:
    root = ElementTree.fromstring(gradients_svg(journal, moment))
    curves = root.findall("polyline")
    assert len(curves) == 4
    for curve in curves:
        heights = [float(pair.split(",")[1]) for pair in curve.attrib["points"].split()]
        assert all(16 <= height <= 250 for height in heights)
    assert gradients_svg(journal, "initial") == ""


def test_the_adding_plot_has_a_point_for_each_run(journal: Journal) -> None:
    root = ElementTree.fromstring(memory_svg(journal))
    assert len(root.findall("circle")) == 12
    assert len(root.findall("polyline")) == 3


def test_markdown_tables_have_as_many_cells_in_each_row(journal: Journal) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", to_markdown(journal), re.MULTILINE)
    assert len(tables) == 2
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert "| GRU-64 int8 |" in tables[1]


def test_the_page_is_made_again_from_the_file(
    journal: Journal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cells.json"
    path.write_text(json.dumps(journal.to_json()))
    assert page_of_cells(path) == to_html(journal)
    assert page_of_cells(tmp_path / "none.json") is None
    done = runner(capsys)("report", path, "-o", tmp_path / "cells.html")
    assert done.code == 0, done.err
    assert (tmp_path / "cells.html").read_text() == to_html(journal)
    refused = runner(capsys)("report", path, "--markdown", tmp_path / "cells.md")
    assert (refused.code, "leave --markdown out" in refused.err) == (2, True)


def draw(results: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Run the script; return the names of the plots that it wrote."""
    names = runpy.run_path(str(ROOT / "scripts" / "cells_plots.py"))
    monkeypatch.setattr("sys.argv", ["cells_plots.py", str(results)])
    monkeypatch.setitem(names["main"].__globals__, "IMAGES", folder)
    names["main"]()
    return {plot.name for plot in folder.glob("*.svg")}


def test_the_plots_of_the_document_are_those_of_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = draw(ROOT / "benchmarks" / "results" / "cells.json", tmp_path, monkeypatch)
    shown = ROOT / "docs" / "images"
    assert drawn == {plot.name for plot in shown.glob("cells-*.svg")}
    for name in drawn:
        assert (tmp_path / name).read_text() == (shown / name).read_text()


def test_the_script_draws_what_was_measured(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cells.json"
    path.write_text(json.dumps(journal.to_json()))
    drawn = draw(path, tmp_path, monkeypatch)
    assert drawn == {f"cells-{name}.svg" for name in ("gradients-plain", "gradients-trained",
                                                      "memory")}  # fmt: skip
    for name in drawn:
        assert ElementTree.parse(tmp_path / name).getroot().tag == "{http://www.w3.org/2000/svg}svg"
