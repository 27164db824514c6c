from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from edgernn.errors import CheckpointError
from edgernn.training import load_weights
from edgernn.training.tensors import from_bytes, read_tensors, to_bytes


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


@given(st.dictionaries(st.text(max_size=40), st.lists(st.integers(0, 3), max_size=3), max_size=8))
def test_round_trip(shapes: dict[str, list[int]]) -> None:
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    tensors.pop("__metadata__", None)  # reserved by the format
    again = from_bytes(to_bytes(tensors), "w")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_header_that_starts_like_a_pickle_is_read(tmp_path: Path) -> None:
    for extra in range(0, 600, 8):  # header lengths of 0x280, 0x380, … begin with a pickle's bytes
        content = to_bytes({"w" * (1 + extra): torch.zeros(1)})
        from_bytes(content, "w")
        if content[:2] == b"\x80\x02":
            return
    pytest.fail("no such header was made")


def test_tensors_that_share_memory_are_saved() -> None:
    whole = torch.arange(6.0)
    again = from_bytes(to_bytes({"a": whole[:4], "b": whole[2:]}), "w")
    assert torch.equal(again["b"], whole[2:])


@pytest.mark.parametrize("name", ["w.pt", "w.bin", "w.safetensors"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickle_is_refused_with_the_way_out(
    tmp_path: Path, module: nn.Module, name: str, zipped: bool
) -> None:
    path = tmp_path / name
    if zipped:
        torch.save(module.state_dict(), path)
    else:
        path.write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(CheckpointError, match=r"weights_only=True.*save_file"):
        load_weights(module, path)


@pytest.mark.parametrize("cut", [0, 4, 9, -1])
def test_truncated_file_is_refused(tmp_path: Path, module: nn.Module, cut: int) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(to_bytes(module.state_dict())[:cut])
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        load_weights(module, path)


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        read_tensors(tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_tensors(tmp_path)


def test_other_architecture_lists_what_differs(tmp_path: Path, module: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    others = {f"other{number}": torch.zeros(1) for number in range(9)}
    save_file({"weight": torch.zeros(5, 3), **others}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError) as caught:
        load_weights(module, tmp_path / "w.safetensors")
    words = str(caught.value)
    assert "belongs to another architecture than Linear" in words
    assert "missing: bias" in words
    assert "unexpected: other0, other1, other2, other3, other4 and 4 more" in words
    assert "weight [5, 3] instead of [2, 3]" in words
    assert all(torch.equal(before[name], module.state_dict()[name]) for name in before)


def test_nan_is_refused_and_infinity_is_not(tmp_path: Path, module: nn.Module) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"weight": torch.full((2, 3), torch.inf), "bias": torch.zeros(2)}, path)
    load_weights(module, path)
    assert torch.isinf(module.weight).all()
    save_file({"weight": torch.zeros(2, 3), "bias": torch.full((2,), torch.nan)}, path)
    with pytest.raises(CheckpointError, match="NaN in: bias"):
        load_weights(module, path)
