"""The report page in a real browser, at desktop and phone width, in light and dark."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import ModelPair
from helpers.search_results import search_result

from edgernn import api
from edgernn_benchmarks import Report
from edgernn_benchmarks.environment import capture
from edgernn_benchmarks.report_drift import to_html as drift_page
from edgernn_benchmarks.report_format import duration, number
from edgernn_benchmarks.report_search import to_html as search_page
from edgernn_exporters.search import Limits

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
]  # fmt: skip
PROBE = """<!doctype html><body style="margin:0"><iframe id="f" src="report.html"
style="width:{width}px;height:{height}px;border:0"></iframe><pre id="out"></pre><script>
document.getElementById("f").addEventListener("load", () => {{
  const page = document.getElementById("f").contentDocument, over = [];
  const limit = page.documentElement.clientWidth + 1;
  for (const node of page.querySelectorAll("main *"))
    if (node.getBoundingClientRect().right > limit) over.push(node.outerHTML.slice(0, 80));
  for (const svg of page.querySelectorAll("figure > svg")) {{
    const outer = svg.getBoundingClientRect();
    for (const text of svg.querySelectorAll("text")) {{
      const box = text.getBoundingClientRect();
      if (box.right > outer.right + 1 || box.left < outer.left - 1)
        over.push("text outside: " + text.textContent);
    }}
  }}
  document.getElementById("out").textContent = JSON.stringify({{
    over, scroll: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    text: page.body.innerText, buttons: page.querySelectorAll("th button").length,
    background: getComputedStyle(page.body).backgroundColor}});
}});</script>"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


def browse(tmp_path: Path, page: Path, *flags: str) -> str:
    assert CHROMIUM is not None
    # Chromium puts its crash reports below HOME; the profile is new and empty.
    done = subprocess.run(
        [CHROMIUM, *FLAGS, "--allow-file-access-from-files", *flags,
         f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    shutil.rmtree(tmp_path / "profile", ignore_errors=True)
    return done.stdout


def look(tmp_path: Path, html: str, *, width: int, dark: bool = False) -> dict[str, Any]:
    """Return what a page shows in a window of some width, and what lies outside of it."""
    (tmp_path / "report.html").write_text(html, encoding="utf-8")
    probe = tmp_path / "probe.html"
    probe.write_text(PROBE.format(width=width, height=4000), encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    dom = browse(tmp_path, probe, "--window-size=1400,900", scheme, "--dump-dom")
    found = re.search(r'<pre id="out">(.*?)</pre>', dom, re.DOTALL)
    assert found is not None
    seen: dict[str, Any] = json.loads(unescape(found[1]))
    return seen


def crowded(report: Report) -> Report:
    """Nine models with long names and much the same numbers, without accuracy."""
    sources = [row for row in report.measured if row.scenario == "step"]
    names = [f"a_rather_long_name_of_model_{index}.int8.onnx" for index in range(9)]
    rows = [
        replace(
            sources[index % 2], model=name if index % 2 else f"m{index}.onnx",
            reference=index == 0, accuracy=None, metrics={}, max_abs_error=index * 1e-3,
            model_bytes=10_000 * (index + 1) ** 2,
            p50_us=(sources[0].p50_us or 1) * (1 + index / 10),
        )
        for index, name in enumerate(names)
    ]  # fmt: skip
    missing = [row for row in report.rows if not row.available]
    return replace(report, rows=(*rows, *missing), partial=True)


def mixed(report: Report) -> Report:
    """Every column: an emulated target, and an engine whose outputs are wrong."""
    source = next(row for row in report.measured if row.scenario == "step")
    counted = replace(
        source, target="cortex-m55", reference=False, samples_ns=(), turns=(), p50_us=None,
        p90_us=None, p99_us=None, p999_us=None, throughput_steps_per_s=None,
        real_time_factor=None, peak_memory_bytes=None, cold_start_ms=None,
        instructions_per_step=1_234_567.0, flash_bytes=123_456, static_ram_bytes=65_432,
        stack_bytes=1_234,
    )  # fmt: skip
    wrong = replace(
        source, target="peer:onnxruntime-int8", reference=False, wrong_outputs=True,
        notes=("wrong outputs: y is off by 0.239, where 0.00100 is allowed",),
    )  # fmt: skip
    return replace(report, rows=(*report.rows[:1], counted, wrong, *report.rows[1:]))


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(
    ("dark", "change"), [(False, None), (True, crowded), (False, mixed)], ids=["few", "many", "all"]
)
def test_numbers_are_shown_and_nothing_overflows(
    report: Report,
    tmp_path: Path,
    width: int,
    dark: bool,
    change: Callable[[Report], Report] | None,
) -> None:
    report = change(report) if change else report
    seen = look(tmp_path, report.to_html(), width=width, dark=dark)
    assert seen["over"] == []
    assert seen["scroll"] == 0
    for row in report.measured:
        assert (duration(row.p50_us) if row.samples_ns else "1,234,567") in seen["text"]
        assert row.model in seen["text"]
    assert seen["buttons"] > 5  # the script ran under the page's own security policy
    levels = [int(part) for part in re.findall(r"\d+", seen["background"])[:3]]
    assert (max(levels) < 60) == dark


@pytest.mark.parametrize("width", [390, 1280])
def test_a_drift_page_shows_the_verdict_and_nothing_overflows(
    models: ModelPair, tmp_path: Path, width: int
) -> None:
    x = np.random.default_rng(0).standard_normal((1, 300, 8)).astype(np.float32)
    drift = api.drift(models.plain, models.small, {"x": x}, steps=3000)
    names = ("a_rather_long_name_of_model.onnx on cpu", "a_rather_long_name.int8.onnx on native")
    seen = look(tmp_path, drift_page(drift, names, capture()), width=width)
    assert seen["over"] == []
    assert seen["scroll"] == 0
    assert "The error is bounded." in seen["text"]
    assert "3,000 time steps; the input of 300 repeated" in seen["text"]
    assert number(max(drift.outputs["y"].largest)) in seen["text"]


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(
    ("limits", "layers"),
    [(Limits(0.05, flash_bytes=3000), ("rnn", "head")), (Limits(0.05, flash_bytes=1), ("rnn",)),
     (Limits(0.05), ("a_rather_long_name_of/some/layer_0/rnn", "b" * 40, "c"))],
)  # fmt: skip
def test_a_search_page_shows_the_choice_and_nothing_overflows(
    tmp_path: Path, limits: Limits, layers: tuple[str, ...], width: int
) -> None:
    result = search_result(limits, layers)
    seen = look(tmp_path, search_page(result), width=width)
    assert seen["over"] == []
    assert seen["scroll"] == 0
    assert seen["buttons"] > 5
    assert ("Nothing written" in seen["text"]) == (result.chosen is None)


def test_screenshot_is_not_blank(report: Report, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(report.to_html(), encoding="utf-8")
    picture = tmp_path / "report.png"
    browse(tmp_path, page, "--window-size=1280,1600", f"--screenshot={picture}")
    data = picture.read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (1280, 1600)
    chunks, at = b"", 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            chunks += data[at + 8 : at + 8 + length]
        at += 12 + length
    assert len(set(zlib.decompress(chunks))) > 50
