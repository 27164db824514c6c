"""Quantized recurrent layers against the numpy definition, and against the float layers' habits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.quant_layers import KINDS, defined, float_layer
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from edgernn.errors import InputError, ModelError, UsageError
from edgernn.integer import INTEGER, LayerRange
from edgernn.training import (
    QuantGRU,
    QuantLSTM,
    QuantRNN,
    load_weights,
    observing,
    to_float,
    to_quantized,
)
from edgernn.training.tensors import to_bytes

SHAPES = st.fixed_dictionaries({
    "inputs": st.integers(1, 9), "hidden": st.integers(1, 9), "layers": st.integers(1, 3),
    "both": st.booleans(), "bias": st.booleans(),
    "gain": st.sampled_from([0.1, 2.0, 20.0]),  # the last saturates pre-activations and cells
})  # fmt: skip
ALL = pytest.mark.parametrize("precision", INTEGER)


def observed(layer: nn.Module, precision: str, *batches: torch.Tensor) -> Any:
    quantized = to_quantized(layer, precision)
    with observing(quantized):
        for batch in batches:
            quantized(batch)
    return quantized


@ALL
@pytest.mark.parametrize("kind", KINDS)
@given(SHAPES, st.integers(1, 12), st.integers(1, 4), st.integers(0, 99))
def test_bits_are_those_of_the_definition(
    precision: str, kind: str, shape: dict[str, Any], steps: int, batch: int, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = float_layer(kind, **shape)
    quantized = observed(layer, precision, torch.randn(5, 2, shape["inputs"]))
    x = 2 * torch.randn(steps, batch, shape["inputs"])  # beyond the ranges, too
    y, states = defined(layer, precision, quantized.ranges(), x.numpy())
    for mode in (True, False):
        quantized.train(mode)
        got, last = quantized(x)
        np.testing.assert_array_equal(got.detach().numpy(), y)
        lasts = last if kind == "lstm" else (last,)
        for have, want in zip(lasts, states, strict=True):
            np.testing.assert_array_equal(have.detach().numpy(), want)


@ALL
@pytest.mark.parametrize("kind", KINDS)
@given(SHAPES, st.lists(st.integers(1, 4), min_size=2, max_size=5), st.integers(0, 99))
def test_chunks_with_the_states_handed_on_are_the_whole(
    precision: str, kind: str, shape: dict[str, Any], chunks: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(sum(chunks), 2, shape["inputs"])
    quantized = observed(float_layer(kind, **{**shape, "both": False}), precision, x).eval()
    with torch.inference_mode():
        whole, last = quantized(x)
        pieces, states = [], None
        for chunk in x.split(chunks):
            piece, states = quantized(chunk, states)
            pieces.append(piece)
    assert torch.equal(torch.cat(pieces), whole)
    assert all(map(torch.equal, states, last))


@pytest.mark.parametrize("kind", KINDS)
@given(SHAPES, st.lists(st.integers(1, 7), min_size=2, max_size=5), st.booleans(),
       st.integers(0, 99))  # fmt: skip
def test_packed_rows_are_what_they_are_alone(
    kind: str, shape: dict[str, Any], lengths: list[int], is_sorted: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    lengths = sorted(lengths, reverse=True) if is_sorted else lengths
    x = torch.randn(max(lengths), len(lengths), shape["inputs"])
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=is_sorted)
    quantized = observed(float_layer(kind, **shape), "int8", x)
    y, last = quantized(packed)
    padded, found = pad_packed_sequence(y)
    assert found.tolist() == lengths
    assert torch.equal(y.batch_sizes, packed.batch_sizes)
    for row, length in enumerate(lengths):
        alone, states = quantized(x[:length, row : row + 1])
        assert torch.equal(padded[:length, row], alone[:, 0])
        for have, want in zip(*((s if kind == "lstm" else (s,)) for s in (last, states)),
                              strict=True):  # fmt: skip
            assert torch.equal(have[:, row], want[:, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_takes_and_returns_the_shapes_of_the_float_layer(kind: str) -> None:
    for batch_first in (False, True):
        layer = float_layer(kind, 3, 5, layers=2, both=True, batch_first=batch_first)
        quantized = observed(layer, "int8", torch.randn(4, 6, 3))
        for shape in ((4, 6, 3), (4, 3)):
            x = torch.randn(*shape)
            want, have = (torch.utils._pytree.tree_leaves(m(x)) for m in (layer, quantized))
            assert [t.shape for t in have] == [t.shape for t in want]
            states = have[1:] if kind == "lstm" else have[1]
            y, _ = quantized(x, tuple(states) if kind == "lstm" else states)
            assert not torch.equal(y, have[0])  # the states are used


def test_finer_precisions_are_closer_to_the_float_layer() -> None:
    torch.manual_seed(0)
    layer, x = float_layer("lstm", 8, 32), torch.randn(30, 4, 8)
    with torch.no_grad():
        want = layer(x)[0]
        error = {p: float((observed(layer, p, x)(x)[0] - want).abs().max()) for p in INTEGER}
    assert error["w8a16"] < error["int8"] < error["int4"] < 0.5
    assert error["w8a16"] < 0.02


def test_new_weights_and_new_ranges_are_used() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 2, 3)
    quantized = observed(nn.GRU(3, 5), "int8", x).eval()
    with torch.inference_mode():
        first = quantized(x)[0]
        assert torch.equal(quantized(x)[0], first)
    quantized.weight_hh_l0.data.mul_(0.5)  # which no version counter notices
    second = quantized(x)[0]
    assert not torch.equal(second, first)
    second.sum().backward()  # what validation had kept can be used in training
    with observing(quantized):
        quantized(3 * x)
    assert not torch.equal(quantized(x)[0], second)


def test_state_survives_a_checkpoint(tmp_path: Any) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 2, 3)
    layer = nn.LSTM(3, 5, num_layers=2, bidirectional=True)
    quantized = observed(layer, "int4", x)
    assert set(layer.state_dict()) < set(quantized.state_dict())
    (tmp_path / "w.safetensors").write_bytes(to_bytes(quantized.state_dict()))
    other = to_quantized(nn.LSTM(3, 5, num_layers=2, bidirectional=True), "int4")
    with pytest.raises(ModelError, match=r"no ranges .*observing"):
        other(x)
    load_weights(other, tmp_path / "w.safetensors")
    assert torch.equal(other(x)[0], quantized(x)[0])
    assert other.ranges() == quantized.ranges()


def test_shares_the_parameters_of_the_float_layer() -> None:
    layer = nn.GRU(3, 5, dropout=0.25, num_layers=2).eval()
    quantized = QuantGRU(layer, "int8")
    assert quantized.weight_hh_l1 is layer.weight_hh_l1
    assert (quantized.dropout, quantized.training) == (0.25, False)
    back = to_float(quantized)
    assert type(back) is nn.GRU
    assert (back.dropout, back.training, back.num_layers) == (0.25, False, 2)
    x = torch.randn(4, 2, 3)
    assert torch.equal(back(x)[0], layer(x)[0])


def test_dropout_between_layers_in_training_only() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 2, 3)
    quantized = observed(nn.GRU(3, 5, num_layers=2, dropout=0.5), "int8", x)
    assert not torch.equal(quantized.train()(x)[0], quantized(x)[0])
    assert torch.equal(quantized.eval()(x)[0], quantized(x)[0])


def test_autocast_changes_nothing() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 2, 3)
    quantized = observed(nn.GRU(3, 5), "int8", x)
    want = quantized(x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(quantized(x)[0], want)


def test_wrong_layers_and_inputs_are_refused() -> None:
    fits = LayerRange((-1.0,), (1.0,), (2.0,))
    with pytest.raises(UsageError, match=r"made from an nn.LSTM, not from a GRU"):
        QuantLSTM(nn.GRU(3, 5))
    with pytest.raises(UsageError, match=r"precision 'int2' .* int8, w8a16, int4"):
        QuantRNN(nn.RNN(3, 5), "int2")
    with pytest.raises(ModelError, match=r"proj_size=2, for which ONNX has no attribute"):
        QuantLSTM(nn.LSTM(3, 5, proj_size=2))
    with pytest.raises(UsageError, match=r"2 layers, but 1 ranges"):
        QuantLSTM(nn.LSTM(3, 5, num_layers=2), ranges=[fits])
    with pytest.raises(UsageError, match=r"4 channels and 1 directions, the layer has 3 and 1"):
        QuantLSTM(nn.LSTM(3, 5), ranges=[LayerRange((0.0,) * 4, (1.0,) * 4, (1.0,))])
    lstm = QuantLSTM(nn.LSTM(3, 5), ranges=[fits])
    for shape in ((4, 2, 4), (0, 2, 3), (3,)):
        with pytest.raises((InputError, ValueError, IndexError)):
            lstm(torch.zeros(shape))
    state = torch.zeros(1, 3, 5)
    with pytest.raises(InputError, match=r"initial state of shape \[1, 3, 5\] instead of"):
        lstm(torch.zeros(4, 2, 3), (state, state))


def test_an_empty_batch_tells_no_range() -> None:
    layer = QuantLSTM(nn.LSTM(2, 3))
    with observing(layer):
        layer(torch.ones(4, 1, 2))
        seen = layer.ranges()
        layer(torch.zeros(4, 0, 2))
    assert layer.ranges() == seen


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [torch.nan, -torch.inf])
def test_values_that_are_not_finite_are_refused(kind: str, bad: float) -> None:
    quantized = observed(float_layer(kind, inputs=2, hidden=3), "int8", torch.randn(4, 1, 2))
    name, x, state = type(quantized).__name__, torch.ones(4, 1, 2), torch.zeros(1, 1, 3)
    broken = state.clone()
    broken[0, 0, 1] = bad
    with pytest.raises(InputError, match=f"{name}: hx holds NaN or infinite values"):
        quantized(x, (state, broken) if kind == "lstm" else broken)
    x[2, 0, 1] = bad
    for _ in range(2):  # also while it observes
        with pytest.raises(InputError, match=f"{name} layer 0: input holds NaN or infinite"):
            quantized(x)
        quantized.observing = True


def test_other_types_than_float32_are_refused() -> None:
    with pytest.raises(ModelError, match=r"QuantGRU: weight_ih_l0 is float64; .*float32"):
        QuantGRU(nn.GRU(2, 3).double())
    quantized = observed(nn.GRU(2, 3), "int8", torch.randn(4, 1, 2))
    with pytest.raises(ModelError, match="weight_ih_l0 is bfloat16"):
        quantized.bfloat16()(torch.ones(4, 1, 2))


def test_a_constant_channel_counts_if_it_moves() -> None:
    x = torch.randn(50, 2, 2)
    x[..., 1] = 3.0
    (found,) = observed(nn.GRU(2, 3), "int8", x).ranges()
    reach = (found.high[0] - found.low[0]) / 2
    assert (found.low[1], found.high[1]) == pytest.approx((3 - reach, 3 + reach))
