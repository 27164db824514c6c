"""Which input tells the lengths of rows, lengths that are drawn, and who gets calls of packing."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from edgernn_exporters.pytorch.axes import BATCH, TIME
from edgernn_exporters.pytorch.interception import FullLengths, PackCall, intercepting
from edgernn_exporters.pytorch.lengths import LengthsInput, find_lengths

X_DIMS = (BATCH, TIME, None)
LENGTHS = torch.tensor([3, 6, 2])
VALID = torch.arange(6) < LENGTHS[:, None]
TOKENS = torch.where(VALID, 7, 4)


def found(tensor: Tensor, dims: tuple[str | None, ...], *more: Tensor) -> Any:
    call = PackCall(LENGTHS, 6, descending=False)
    tensors = [torch.zeros(3, 6, 2), tensor, *more]
    return find_lengths([call], tensors, [X_DIMS, dims, *[(BATCH,)] * len(more)])


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_lengths_are_found(dtype: torch.dtype) -> None:
    assert found(LENGTHS.to(dtype), (BATCH,)) == (LengthsInput(1, "lengths", (0, 1), False),)


def test_of_two_inputs_that_are_equal_by_chance_the_same_tensor_counts() -> None:
    assert found(LENGTHS.clone(), (BATCH,), LENGTHS)[0].index == 2
    assert found(LENGTHS, (BATCH,), LENGTHS.clone())[0].index == 1


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
@pytest.mark.parametrize("turned", [False, True])
def test_a_mask_is_found(dtype: torch.dtype, turned: bool) -> None:
    mask, dims = VALID.to(dtype), (BATCH, TIME)
    result = found(mask.T, dims[::-1]) if turned else found(mask, dims)
    assert result == (LengthsInput(1, "mask", (0, 1), False),)


def test_padding_is_found() -> None:
    assert found(~VALID, (BATCH, TIME)) == (LengthsInput(1, "padding", (0, 1), False, 1),)
    assert found(TOKENS, (BATCH, TIME)) == (LengthsInput(1, "padding", (0, 1), False, 4),)


def test_what_tells_nothing_is_no_lengths() -> None:
    assert found(LENGTHS + 1, (BATCH,)) == ()
    assert found(LENGTHS.float(), (BATCH,)) == ()
    assert found(LENGTHS, (None,)) == ()


@given(st.integers(1, 9), st.integers(1, 40), st.booleans(), st.integers(0, 5),
       st.sampled_from(["lengths", "mask", "padding", "inverted"]), st.booleans())  # fmt: skip
def test_drawn_lengths_are_valid_and_the_longest_row_is_full(
    rows: int, steps: int, descending: bool, seed: int, kind: Any, turned: bool
) -> None:
    example = {
        "lengths": np.ones(rows, np.int32), "mask": np.ones((rows, steps), bool),
        "padding": np.full((rows, steps), 4), "inverted": np.zeros((rows, steps), bool),
    }[kind]  # fmt: skip
    pad = {"mask": 0, "padding": 4, "inverted": 1, "lengths": 0}[kind]
    dims: tuple[str | None, ...] = (BATCH, TIME)[: example.ndim]
    if turned:
        example, dims = example.T, dims[::-1]
    arrays = [np.zeros((rows, steps, 2), np.float32), example]
    form = "padding" if kind == "inverted" else kind
    told = LengthsInput(1, form, (0, 1), descending, pad)
    told.draw(np.random.default_rng(seed), arrays, dims)
    got = arrays[1]
    assert (got.shape, got.dtype) == (example.shape, example.dtype)
    lengths = got
    if kind != "lengths":
        valid = (got if dims[0] == BATCH else got.T) != pad
        lengths = valid.sum(1)
        assert (valid == (np.arange(steps) < lengths[:, None])).all()
    assert lengths.min() >= 1
    assert lengths.max() == steps
    assert not descending or (np.diff(lengths) <= 0).all()


def test_a_module_that_is_tried_packs_at_full_length() -> None:
    x, handler = torch.randn(3, 6, 2), FullLengths()
    with intercepting(handler):
        packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
        padded, lengths = pad_packed_sequence(packed, batch_first=True)
    assert torch.equal(padded, x)
    assert lengths.tolist() == [6, 6, 6]
    (call,) = handler.calls
    assert torch.equal(call.lengths, LENGTHS)
    assert (call.steps, call.descending) == (6, False)


def test_other_threads_pack_as_ever() -> None:
    sizes: list[int] = []

    def pack() -> None:
        x = torch.zeros(3, 6, 2)
        sizes.append(len(pack_padded_sequence(x, LENGTHS, True, enforce_sorted=False).data))

    with intercepting(FullLengths()), intercepting(FullLengths()):
        thread = threading.Thread(target=pack)
        thread.start()
        thread.join()
        pack()
    pack()
    assert sizes == [11, 18, 11]
