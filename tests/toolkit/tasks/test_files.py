"""What tasks read and write beside their data: tables, scales, texts, subwords."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgernn.errors import InputError, ModelError
from edgernn.tasks.base import END
from edgernn.tasks.files import find_file, read_text
from edgernn.tasks.scaling import Scale
from edgernn.tasks.tables import read_csv, read_dates, write_csv
from edgernn.tasks.translate import decode, generated, learned, numbered


def test_columns_are_found_by_name_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("date,b, a\n2016-07-01,1,2\nnot a date,3,4.5\n")
    np.testing.assert_array_equal(read_csv(path, ("a", "b")), [[2, 1], [4.5, 3]])
    written = write_csv(path, ("a", "b"), np.array([[1.5, -2e-7]]))
    np.testing.assert_array_equal(read_csv(written, ("b",)), [[-2e-7]])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b\n1,2\n3\n", "line 3: not a finite number in each of a, b"),
        ("a,b\n1,x\n", "line 2"),
        ("a,b\n1,nan\n", "line 2"),
        ("a,c\n1,2\n", r"no column b; .* must name the columns a, b"),
        ("", "no column a, b"),
        ("a,b\n", "no line below the names"),
    ],
)
def test_a_bad_table_is_refused_by_its_line(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match=expected):
        read_csv(tmp_path / "a.csv", ("a", "b"))


@given(st.integers(0, 99))
def test_a_scale_survives_json_and_is_undone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((50, 3)) * [1, 1e4, 1e-3] + [0, -5, 7]
    scale = Scale.of(("a", "b", "c"), values)
    again = Scale.read(json.loads(json.dumps(scale.to_json())), 3)
    scaled = again.apply(values)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-2)
    np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-4)
    np.testing.assert_allclose(again.undo(scaled), values, rtol=1e-5, atol=1e-5)


def test_a_constant_variable_has_a_scale() -> None:
    scaled = Scale.of(("a",), np.full((4, 1), 7.0)).apply(np.full((4, 1), 7.0))
    np.testing.assert_array_equal(scaled, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"mean": [0.0]},
        {"deviation": [1.0, 0.0]},
        {"mean": [0.0, float("nan")]},
        {"names": 3},
    ],
)
def test_a_broken_scale_is_refused(change: dict[str, object]) -> None:
    good = {"names": ["a", "b"], "mean": [0.0, 0.0], "deviation": [1.0, 1.0]}
    Scale.read(good, 2)
    with pytest.raises(ModelError, match="2 variables"):
        Scale.read({**good, **change}, 2)


def test_files_are_found_in_order_or_named_themselves(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("b")
    assert find_file(tmp_path, ("a.txt", "b.txt"), "") == tmp_path / "b.txt"
    assert find_file(tmp_path / "b.txt", ("a.txt",), "") == tmp_path / "b.txt"
    with pytest.raises(InputError, match=r"holds no a\.txt and no c\.txt; look elsewhere"):
        find_file(tmp_path, ("a.txt", "c.txt"), "look elsewhere")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match=r"b\.txt cannot be read as text: .*UTF-8"):
        read_text(tmp_path / "b.txt")


@pytest.fixture(scope="module")
def subwords() -> dict[str, str]:
    text = learned(target for _, target in generated(200, "train"))
    return {"kind": "subwords", "source": text, "target": text}


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(exclude_characters="<", exclude_categories=("Cs",)), max_size=30))
def test_subwords_are_joined_to_what_was_written(subwords: dict[str, str], text: str) -> None:
    from tokenizers import Tokenizer

    symbols = np.append(numbered(text.strip(), Tokenizer.from_str(subwords["target"])), END)
    assert decode(symbols[None], subwords) == [text.strip()]


def test_dates_are_read_as_they_were_written(tmp_path: Path) -> None:
    dates = [datetime(2016, 7, 1, 23), datetime(2016, 7, 2)]
    path = write_csv(tmp_path / "a.csv", ("a",), np.array([[1.5], [2.0]]), dates)
    assert read_dates(path) == dates
    np.testing.assert_array_equal(read_csv(path, ("a",)), [[1.5], [2]])


@pytest.mark.parametrize("text", ["a\n1\n", "date,a\nyesterday,1\n", "date,a\n,1\n"])
def test_lines_without_a_date_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InputError, match="give every line a date such as 2016-07-01"):
        read_dates(tmp_path / "a.csv")
