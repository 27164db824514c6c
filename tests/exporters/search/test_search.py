"""Searches on real models and the shipped keyword corpus."""

from __future__ import annotations

import json
from functools import partial
from itertools import product
from pathlib import Path

import pytest
from helpers.fitted import write_keyword_model

import edgernn
from edgernn.errors import (
    AccuracyGateError,
    InputError,
    Interrupted,
    ModelError,
    PerformanceGateError,
    UsageError,
)
from edgernn.integer import Ranges
from edgernn_exporters.inspection import inspect
from edgernn_exporters.quantization import quantize
from edgernn_exporters.search import Cost, Judge, Limits, SearchResult, search
from edgernn_runtimes import load

open_cpu = partial(load, target="cpu", threads=1)
PRECISIONS = ("int4", "int8", "int8-dynamic")
LAYERS = ("sequence_1", "matmul_5")


@pytest.fixture(scope="session")
def judge(keywords: Path, judge_of) -> Judge:
    return judge_of(keywords)


@pytest.fixture(scope="session")
def searched(
    keywords: Path, ranges: Ranges, judge: Judge, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SearchResult, Path]:
    path = tmp_path_factory.mktemp("searched") / "auto.onnx"
    result = search(
        keywords, path, judge, limits=Limits(0.02), ranges=ranges, load=open_cpu,
        precisions=PRECISIONS,
    )  # fmt: skip
    return result, path


def by_choice(result: SearchResult) -> dict[tuple[str, ...], float]:
    return {item.choice: item.measured.flash_bytes for item in result.candidates if item.measured}


def test_every_choice_of_a_small_model_is_measured_once(
    searched: tuple[SearchResult, Path],
) -> None:
    result, path = searched
    assert tuple(result.layers) == LAYERS
    assert sorted(item.choice for item in result.candidates) == sorted(
        product((*PRECISIONS, "float32"), repeat=2)
    )
    lines = path.with_name("auto.onnx.search.jsonl").read_text().splitlines()
    assert len(lines) == 16


def test_the_file_is_the_chosen_one(searched: tuple[SearchResult, Path], keywords: Path) -> None:
    result, path = searched
    chosen = result.require_chosen()
    metadata = inspect(path).metadata
    assert dict(metadata.layers) == result.space.by_layer(chosen.choice)
    assert metadata.task == "keywords"
    measured = edgernn.evaluate(path, split="validation")["accuracy"]
    assert chosen.measured is not None
    assert measured == chosen.measured.metric
    float_one = edgernn.evaluate(keywords, split="validation")["accuracy"]
    assert float_one - measured <= 0.02
    smaller = [
        item for item in result.candidates
        if item.measured and item.measured.flash_bytes < chosen.measured.flash_bytes
    ]  # fmt: skip
    assert all(item.measured and item.measured.drop > 0.02 for item in smaller)


def test_sensitivities_are_of_one_layer_with_the_other_in_float(
    searched: tuple[SearchResult, Path], keywords: Path, ranges: Ranges, judge: Judge,
    tmp_path: Path,
) -> None:  # fmt: skip
    result, _ = searched
    found = {(item.layer, item.precision): item for item in result.sensitivities}
    assert set(found) == set(product(LAYERS, PRECISIONS))
    for layer, precision in found:
        quantize(
            keywords, tmp_path / "q.onnx", precision=precision, layers={layer: precision},
            keep=[name for name in LAYERS if name != layer], ranges=ranges, load=None,
        )  # fmt: skip
        judged = judge(open_cpu(tmp_path / "q.onnx"))
        assert found[layer, precision].drop == judged.drop
        assert found[layer, precision].noise == pytest.approx(judged.noise)
    assert found["sequence_1", "int4"].noise > found["sequence_1", "int8"].noise
    assert found["sequence_1", "int4"].saved_bytes > found["sequence_1", "int8"].saved_bytes > 0


def test_limits_are_respected(
    searched: tuple[SearchResult, Path], keywords: Path, ranges: Ranges, judge: Judge
) -> None:
    """Limits between two choices; the measurements are those of the first search."""
    result, path = searched
    sizes = sorted(set(by_choice(result).values()))
    limit = int(sizes[len(sizes) // 2])
    rams = sorted({i.measured.ram_bytes for i in result.candidates if i.measured})
    again = search(
        keywords, path, judge, limits=Limits(1.0, flash_bytes=limit, ram_bytes=rams[-2]),
        ranges=ranges, load=open_cpu, precisions=PRECISIONS,
    )  # fmt: skip
    chosen = again.require_chosen()
    assert chosen.measured is not None
    assert chosen.measured.flash_bytes <= limit
    assert chosen.measured.ram_bytes <= rams[-2]
    assert all(
        item.measured.flash_bytes >= chosen.measured.flash_bytes or item.measured.ram_bytes
        > rams[-2] for item in again.candidates if item.measured
    )  # fmt: skip


def test_a_second_search_measures_nothing_again(
    searched: tuple[SearchResult, Path], keywords: Path, ranges: Ranges, judge: Judge
) -> None:
    result, path = searched
    opened: list[Path] = []

    def counting(file: Path) -> edgernn.Session:
        opened.append(file)
        return open_cpu(file)

    journal = path.with_name("auto.onnx.search.jsonl")
    before = journal.read_bytes()
    again = search(
        keywords, path, judge, limits=Limits(0.02), ranges=ranges, load=counting,
        precisions=PRECISIONS,
    )  # fmt: skip
    assert again == result
    assert (result.reused, again.reused) == (0, 16)
    assert journal.read_bytes() == before
    assert len(opened) == 1  # the proof of the file that is written


def test_another_data_or_model_is_measured_anew(
    keywords: Path, ranges: Ranges, judge: Judge, judge_of, tmp_path: Path
) -> None:
    path = tmp_path / "a.onnx"
    how = {"limits": Limits(1.0), "load": open_cpu, "precisions": ("int8-dynamic",), "trials": 2}
    search(keywords, path, judge, ranges=ranges, **how)
    lines = len(path.with_name("a.onnx.search.jsonl").read_text().splitlines())
    other = write_keyword_model(tmp_path / "other.onnx", seed=1)
    search(other, path, judge_of(other), ranges=ranges, **how)
    assert len(path.with_name("a.onnx.search.jsonl").read_text().splitlines()) == 2 * lines


def test_a_drop_that_nothing_keeps_is_an_accuracy_failure(
    keywords: Path, ranges: Ranges, judge: Judge, tmp_path: Path
) -> None:
    path = tmp_path / "a.onnx"
    result = search(
        keywords, path, judge, limits=Limits(-0.9), ranges=ranges, load=open_cpu,
        precisions=("int8-dynamic",),
    )  # fmt: skip
    assert result.chosen is None
    assert not path.exists()
    with pytest.raises(AccuracyGateError, match=r"drop .*allowed -90 %") as failed:
        result.require_chosen()
    assert "nearest" in str(failed.value)


@pytest.mark.parametrize(
    ("limits", "words"),
    [(Limits(1.0, flash_bytes=100), r"flash \d.* \(allowed 100 B\)"),
     (Limits(1.0, ram_bytes=10), r"RAM \d.* \(allowed 10 B\)"),
     (Limits(-0.9, flash_bytes=100), r"flash \d.* \(allowed 100 B\)")],
)  # fmt: skip
def test_a_size_that_nothing_keeps_is_a_performance_failure(
    keywords: Path, ranges: Ranges, judge: Judge, tmp_path: Path, limits: Limits, words: str
) -> None:
    result = search(
        keywords, tmp_path / "a.onnx", judge, limits=limits, ranges=ranges, load=open_cpu,
        precisions=("int8-dynamic",),
    )  # fmt: skip
    with pytest.raises(PerformanceGateError, match=words):
        result.require_chosen()
    assert not (tmp_path / "a.onnx").exists()


def test_the_latency_decides_where_it_is_limited(
    keywords: Path, ranges: Ranges, judge: Judge, tmp_path: Path
) -> None:
    """The cost is the file's size here, so that it is the same in every run."""
    cost = Cost(lambda path: float(path.stat().st_size), "us")
    how = {"ranges": ranges, "load": open_cpu, "precisions": ("int8", "int8-dynamic")}
    free = search(keywords, tmp_path / "a.onnx", judge, limits=Limits(1.0), cost=cost, **how)
    costs = sorted({i.measured.latency for i in free.candidates if i.measured and not i.is_float})
    limits = Limits(1.0, latency=costs[0])
    result = search(keywords, tmp_path / "a.onnx", judge, limits=limits, cost=cost, **how)
    chosen = result.require_chosen()
    assert chosen.measured is not None
    assert chosen.measured.latency == costs[0]
    with pytest.raises(UsageError, match="target"):
        search(keywords, tmp_path / "a.onnx", judge, limits=limits, **how)


def test_what_cannot_be_measured_on_the_target_exceeds_its_limit(
    keywords: Path, ranges: Ranges, judge: Judge, tmp_path: Path
) -> None:
    def refuse(path: Path) -> float:
        raise ModelError("no kernel")

    result = search(
        keywords, tmp_path / "a.onnx", judge, limits=Limits(1.0, latency=5.0), ranges=ranges,
        load=open_cpu, cost=Cost(refuse, "us"), precisions=("int8-dynamic",),
    )  # fmt: skip
    with pytest.raises(PerformanceGateError, match="step unknown"):
        result.require_chosen()


def test_layers_can_be_kept_and_fixed(
    keywords: Path, ranges: Ranges, judge: Judge, tmp_path: Path
) -> None:
    result = search(
        keywords, tmp_path / "a.onnx", judge, limits=Limits(1.0), ranges=ranges, load=open_cpu,
        precisions=("int8",), layers={"seq*": "w8a16"}, keep=["mat*"],
    )  # fmt: skip
    assert [item.choice for item in result.candidates] == [("w8a16", "float32")]
    assert result.require_chosen().choice == ("w8a16", "float32")
    assert dict(inspect(tmp_path / "a.onnx").metadata.layers) == {
        "sequence_1": "w8a16", "matmul_5": "float32",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "words"),
    [({"precisions": ("int7",)}, "unknown precision int7"),
     ({"precisions": ()}, "at least one precision"),
     ({"keep": ["nothing*"]}, "no layer is named 'nothing"),
     ({"layers": {"nothing": "int8"}}, "no layer is named 'nothing'"),
     ({"keep": ["*"]}, "every layer is kept float")],
)  # fmt: skip
def test_wrong_options_are_refused(
    keywords: Path, ranges: Ranges, judge: Judge, tmp_path: Path, options: dict, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        search(
            keywords, tmp_path / "a.onnx", judge, limits=Limits(), ranges=ranges, load=open_cpu,
            **options,
        )  # fmt: skip


def test_an_interrupt_keeps_what_was_measured(
    keywords: Path, ranges: Ranges, judge: Judge, tmp_path: Path,
    searched: tuple[SearchResult, Path],
) -> None:  # fmt: skip
    path = tmp_path / "a.onnx"
    opened = 0

    def stopping(file: Path) -> edgernn.Session:
        nonlocal opened
        opened += 1
        if opened == 6:
            raise KeyboardInterrupt
        return open_cpu(file)

    how = {"limits": Limits(0.02), "ranges": ranges, "precisions": PRECISIONS}
    with pytest.raises(Interrupted, match=r"5 choices measured.*run the same command again"):
        search(keywords, path, judge, load=stopping, **how)
    assert not path.exists()
    assert len(path.with_name("a.onnx.search.jsonl").read_text().splitlines()) == 5
    opened = 10
    again = search(keywords, path, judge, load=stopping, **how)
    assert (again, again.reused) == (searched[0], 5)
    assert opened == 10 + 11 + 1


def test_an_interrupt_at_the_first_measurement_is_told_by_the_search(
    keywords: Path, ranges: Ranges, judge: Judge, tmp_path: Path
) -> None:
    def stopped(path: Path) -> float:
        raise Interrupted("stopped with 0 of 1 rows measured")  # what a benchmark makes of Ctrl-C

    with pytest.raises(Interrupted, match="stopped with no choices measured; run the same command"):
        search(
            keywords, tmp_path / "a.onnx", judge, limits=Limits(), ranges=ranges, load=open_cpu,
            cost=Cost(stopped, "us"), precisions=PRECISIONS,
        )  # fmt: skip


def test_float_is_a_choice_and_the_file_a_copy(
    keywords: Path, ranges: Ranges, judge: Judge, tmp_path: Path
) -> None:
    """Four bits lose accuracy; what loses nothing is the float model."""
    result = search(
        keywords, tmp_path / "a.onnx", judge, limits=Limits(0.0), ranges=ranges, load=open_cpu,
        precisions=("int4",),
    )  # fmt: skip
    assert set(result.require_chosen().choice) == {"float32"}
    assert (tmp_path / "a.onnx").read_bytes() == keywords.read_bytes()


def test_the_json_form_reads_back(searched: tuple[SearchResult, Path]) -> None:
    result, _ = searched
    text = json.dumps(result.to_json(), allow_nan=False)
    assert SearchResult.from_json(json.loads(text)) == result


@pytest.mark.parametrize(
    "change",
    [{"schema": "other"}, {"version": 99}, {"layers": 3}, {"candidates": [{}]},
     {"reference": {"metric": "x"}}, {"limits": {"colour": 1}}, {"examples": "many"}],
)  # fmt: skip
def test_a_malformed_result_is_refused(
    searched: tuple[SearchResult, Path], change: dict[str, object]
) -> None:
    with pytest.raises(InputError, match="result"):
        SearchResult.from_json({**searched[0].to_json(), **change})
