from __future__ import annotations

import pytest
import torch
from helpers.modules import Tagger, TwoBlocks
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from edgernn.errors import ModelError, UsageError
from edgernn.integer import LayerRange, Ranges
from edgernn.training import (
    QuantGRU,
    QuantLinear,
    QuantLSTM,
    observing,
    ranges_of,
    to_float,
    to_quantized,
)


def test_replaces_every_layer_of_a_module_and_leaves_the_module_alone() -> None:
    module = TwoBlocks().eval()
    quantized = to_quantized(module, "int4")
    kinds = [type(part) for part in (quantized.encoder, quantized.decoder, quantized.head)]
    assert kinds == [QuantGRU, QuantLSTM, QuantLinear]
    assert type(module.encoder) is nn.GRU
    ids = torch.randint(11, (3, 20))
    with observing(quantized):
        seen = quantized(ids)["logits"]
    torch.testing.assert_close(seen, module(ids)["logits"])  # what is observed runs in float
    found = ranges_of(quantized)
    assert list(found.layers) == ["encoder.l0", "decoder.l0", "decoder.l1", "head"]
    assert (found.method, found.sequences, found.steps) == ("training", 3, 60)
    assert len(found.of("decoder.l1").largest_cell) == 1
    assert Ranges.from_json(found.to_json(), "here") == found
    again = to_quantized(module, "int4", found)
    assert torch.equal(again(ids)["logits"], quantized(ids)["logits"])
    assert not torch.equal(again(ids)["logits"], seen)


def test_back_to_float_keeps_the_weights_that_were_trained() -> None:
    quantized = to_quantized(Tagger("gru", num_layers=2, bidirectional=True), "int8")
    with torch.no_grad():
        quantized.rnn.weight_ih_l1_reverse += 1
        quantized.head.bias += 1
    back = to_float(quantized)
    assert type(back.rnn) is nn.GRU
    assert type(back.head) is nn.Linear
    assert all(torch.equal(v, quantized.state_dict()[n]) for n, v in back.state_dict().items())
    back.head.bias.data.zero_()
    assert quantized.head.bias.detach().any()


def test_a_layer_in_two_places_stays_one() -> None:
    layer = nn.Linear(3, 3)
    quantized = to_quantized(nn.Sequential(layer, nn.ReLU(), layer), "int8")
    assert quantized[0] is quantized[2]
    assert isinstance(quantized[0], QuantLinear)
    assert type(to_quantized(layer, "int8")) is QuantLinear


def test_observing_restores_modes_and_forgets_what_was_seen_before() -> None:
    module = nn.Sequential(nn.Dropout(0.5), to_quantized(nn.GRU(2, 3), "int8"))
    module[0].eval()
    for size in (3.0, 1.0):
        with observing(module):
            assert not module[1].training
            y = module(size * torch.ones(4, 1, 2))[0]
            assert not y.requires_grad
    assert (module[0].training, module[1].training) == (False, True)
    assert module[1].ranges()[0].high == (2.0, 2.0)  # 1 and a reach of 1


def test_padding_of_packed_sequences_is_not_observed() -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(2, 3, bidirectional=True)
    x = torch.randn(6, 2, 2)
    x[3:, 1] = 100.0
    packed = pack_padded_sequence(x, torch.tensor([6, 3]))
    quantized = to_quantized(lstm, "int8")
    with observing(quantized):
        quantized(packed)
    found = quantized.ranges()[0]
    assert max(found.high) < 5
    rows = torch.cat([x[:, 0], x[:3, 1]])
    assert found.low == tuple(rows.amin(dim=0).tolist())
    with observing(quantized):
        quantized(x[:, :1])
        quantized(x[:3, 1:])
    assert quantized.ranges()[0] == found


def test_ranges_that_do_not_fit_are_refused() -> None:
    one = LayerRange((-1.0,), (1.0,))
    with pytest.raises(ModelError, match="no ranges for layer 'head'"):
        to_quantized(Tagger("gru"), "int8", Ranges({"rnn.l0": one}, "minmax", 1, 1))
    with pytest.raises(UsageError, match="precision 'fp16'"):
        to_quantized(Tagger("gru"), "fp16")
    with pytest.raises(ModelError, match="Dropout has no quantized layer"):
        ranges_of(nn.Dropout())
