"""Metadata read without the graph."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from helpers.models import write_model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from edgernn.metadata import Metadata
from edgernn.model_props import read_metadata

SAME_FOLDER = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SAME_FOLDER
@given(
    st.builds(Metadata, task=st.none() | st.text(), unproven=st.none() | st.text(),
              pair=st.none() | st.dictionaries(st.text(), st.text(max_size=300), min_size=1)),
    st.dictionaries(st.text().filter(lambda key: not key.startswith("edgernn.")), st.text()),
)  # fmt: skip
def test_it_is_what_onnx_reads(tmp_path: Path, metadata: Metadata, others: dict[str, str]) -> None:
    path = write_model(tmp_path / "a.onnx")
    model = onnx.load(path)
    contract = Metadata.from_props({p.key: p.value for p in model.metadata_props}, "a").contract
    helper.set_model_props(model, {**others, **metadata.to_props()})
    onnx.save(model, path)
    assert read_metadata(path) == metadata
    helper.set_model_props(model, {**others, **Metadata(contract).to_props()})
    onnx.save(model, path)
    assert read_metadata(path) == Metadata(contract)


@SAME_FOLDER
@given(st.binary(max_size=200))
def test_other_files_end_in_metadata_or_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    assert read_metadata(path) in (None, Metadata())


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_off_has_no_contract(tmp_path: Path, share: float) -> None:
    path = write_model(tmp_path / "a.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    found = read_metadata(path)
    assert found is None or found.contract is None


def test_a_missing_file_and_a_folder_have_none(tmp_path: Path) -> None:
    assert read_metadata(tmp_path) is None
    assert read_metadata(tmp_path / "no.onnx") is None
