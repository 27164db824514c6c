"""Packed sequences, exported as padded ones with the lengths of their rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers.graphs import normal
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from edgernn.contract import Axes
from edgernn.errors import ContractError, ModelError
from edgernn_exporters.codegen import compile as generate
from edgernn_exporters.pytorch.export import Exported, export
from edgernn_exporters.pytorch.outputs import flatten_outputs
from edgernn_runtimes import load

from .conftest import open_cpu

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")

X, LENGTHS = torch.zeros(3, 9, 5), torch.tensor([9, 4, 2])


class Packed(nn.Module):
    """Two recurrent layers over a packed sequence, and what ``between`` does to it."""

    def __init__(self, forward: Callable[[Any, Tensor, Tensor], Any], **options: Any) -> None:
        super().__init__()
        options.setdefault("batch_first", True)
        self.rnn = nn.LSTM(5, 6, bidirectional=True, **options)
        width = 2 * (self.rnn.proj_size or 6)
        self.norm, self.mix = nn.LayerNorm(width), nn.Linear(width, 4)
        self.drop = nn.Dropout(0.4)
        self.top = nn.GRU(4, 3, bidirectional=True)
        self._forward = forward

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        return self._forward(self, x, lengths)


def plain(module: Any, x: Tensor, lengths: Tensor, *, ordered: bool = False) -> Any:
    first = module.rnn.batch_first
    packed = pack_padded_sequence(x, lengths.cpu(), batch_first=first, enforce_sorted=ordered)
    packed, (h, c) = module.rnn(packed)
    y, _ = pad_packed_sequence(packed, batch_first=first)
    # What was packed and what was padded are tensors as any other.
    return {"y": y.flip(-1), "h": h, "c": c, "in": x.mean(-1), "out": y.mean(-1)}


def between(module: Any, x: Tensor, lengths: Tensor) -> Any:
    """Work on ``data``, padding values other than zeros, and lengths as they come back."""
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    packed, _ = module.rnn(packed)
    data = module.mix(module.drop(torch.relu(module.norm(packed.data)))) * 2 + module.mix.bias
    packed = PackedSequence(data, *packed[1:])
    packed, last = module.top(packed)
    packed = packed._replace(data=torch.sigmoid(packed.data))
    y, n = pad_packed_sequence(packed, batch_first=True, padding_value=-1.5)
    return {"y": y, "last": last, "n": n, "mean": y.sum(1) / n[:, None]}


def total(module: Any, x: Tensor, lengths: Tensor) -> Any:
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, _ = pad_packed_sequence(packed, batch_first=True, total_length=x.shape[1])
    return {"y": y, "z": module.rnn(packed)[1][0]}


class FromMask(nn.Module):
    """Lengths counted from a mask, as a list."""

    def __init__(self, *, as_list: bool = True) -> None:
        super().__init__()
        self.rnn = nn.GRU(5, 6, bidirectional=True, batch_first=True)
        self.as_list = as_list

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        lengths = mask.sum(1)
        packed = pack_padded_sequence(
            x, lengths.tolist() if self.as_list else lengths, batch_first=True, enforce_sorted=False
        )
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]


class FromTokens(nn.Module):
    """Lengths counted from tokens that are no padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 5, padding_idx=0)
        self.rnn = nn.GRU(5, 6, bidirectional=True, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            self.embedding(ids), (ids != 0).sum(1), batch_first=True, enforce_sorted=False
        )
        return self.rnn(packed)[1]


def check(module: nn.Module, exported: Exported, inputs: dict[str, np.ndarray]) -> None:
    with torch.no_grad():
        names, wanted = flatten_outputs(module(*map(torch.from_numpy, inputs.values())))
    got = load(exported.path, "cpu").run(inputs)
    for name, want in zip(names, wanted, strict=True):
        np.testing.assert_allclose(got[name], want.numpy(), atol=2e-6, err_msg=name)


def drawn(batch: int, steps: int, *, first: bool = True, ordered: bool = False) -> Any:
    rng = np.random.default_rng(steps)
    lengths = rng.integers(1, steps + 1, batch)
    lengths[rng.integers(batch)] = steps
    x = normal(steps, *((batch, steps) if first else (steps, batch)), 5)
    return {"x": x, "lengths": -np.sort(-lengths) if ordered else lengths}


@pytest.mark.parametrize(
    ("forward", "options", "ordered"),
    [
        (plain, {}, False), (partial(plain, ordered=True), {"num_layers": 2}, True),
        (plain, {"batch_first": False}, False), (plain, {"proj_size": 4, "num_layers": 2}, False),
        (between, {}, False), (between, {"proj_size": 4}, False), (total, {}, False),
    ],
    ids=["plain", "ordered", "time-first", "projected", "between", "between-projected", "total"],
)  # fmt: skip
def test_rows_of_any_lengths_agree(
    tmp_path: Path, forward: Any, options: dict[str, Any], ordered: bool
) -> None:
    torch.manual_seed(0)
    module = Packed(forward, **options).eval()
    first = module.rnn.batch_first
    example = (X if first else X.transpose(0, 1), LENGTHS)
    exported = export(module, example, tmp_path / "a.onnx", load=open_cpu)
    contract = exported.metadata.contract
    assert contract is not None
    assert exported.gate is not None
    assert contract.stream.lengths == "lengths"
    assert not contract.stream.causal
    assert contract.stream.inputs["lengths"] == Axes(0, None)
    onnx.checker.check_model(onnx.load(exported.path), full_check=True)
    for batch, steps in ((1, 1), (5, 23), (3, 130)):
        check(module, exported, drawn(batch, steps, first=first, ordered=ordered))
    with pytest.raises(ContractError, match="not causal"):
        load(exported.path, "cpu").stream()


def test_recurrent_layers_take_the_lengths_and_nothing_is_sorted(tmp_path: Path) -> None:
    module = Packed(plain, num_layers=2).eval()
    export(module, (X, LENGTHS), tmp_path / "a.onnx", load=None)
    nodes = onnx.load(tmp_path / "a.onnx").graph.node
    assert [node.op_type for node in nodes if node.op_type == "LSTM"] == ["LSTM"] * 2
    assert len({node.input[4] for node in nodes if node.op_type == "LSTM"}) == 1
    unwanted = {"TopK", "Gather", "Where", "Shape", "NonZero", "Identity"}
    assert not {node.op_type for node in nodes} & unwanted


def test_a_row_of_length_zero_gives_zeros(tmp_path: Path) -> None:
    for options in ({}, {"proj_size": 4}):
        module = Packed(plain, **options).eval()
        exported = export(module, (X, LENGTHS), tmp_path / "a.onnx", load=None)
        got = load(exported.path, "cpu").run(
            {"x": normal(1, 3, 9, 5), "lengths": np.array([4, 0, 9])}
        )
        assert not got["y"][1].any()
        assert not got["h"][:, 1].any()
        assert not got["c"][:, 1].any()
        assert got["c"][:, 0].all()


@pytest.mark.parametrize("as_list", [False, True])
def test_lengths_may_be_counted_from_a_mask(tmp_path: Path, as_list: bool) -> None:
    torch.manual_seed(0)
    module = FromMask(as_list=as_list).eval()
    example = (X, torch.arange(9) < LENGTHS[:, None])
    exported = export(module, example, tmp_path / "a.onnx", load=open_cpu)
    contract = exported.metadata.contract
    assert contract is not None
    assert contract.stream.lengths is None
    assert not contract.stream.causal
    inputs = drawn(5, 23)
    mask = np.arange(23) < inputs["lengths"][:, None]
    with torch.no_grad():
        want = module(torch.from_numpy(inputs["x"]), torch.from_numpy(mask)).numpy()
    got = load(exported.path, "cpu").run({"x": inputs["x"], "mask": mask})["y"]
    np.testing.assert_allclose(got, want, atol=2e-6)


@pytest.mark.parametrize("padded", [False, True])
def test_lengths_may_be_counted_from_tokens(tmp_path: Path, padded: bool) -> None:
    torch.manual_seed(0)
    module = FromTokens().eval()
    ids = torch.arange(1, 10).repeat(3, 1)
    if padded:
        ids[torch.arange(9) >= LENGTHS[:, None]] = 0
    exported = export(module, (ids,), tmp_path / "a.onnx", load=open_cpu)
    other = np.array([[3, 4, 5, 0], [1, 2, 3, 4], [9, 0, 0, 0]])
    with torch.no_grad():
        want = module(torch.from_numpy(other)).numpy()
    got = load(exported.path, "cpu").run({"ids": other})["y"]
    np.testing.assert_allclose(got, want, atol=2e-6)


def test_generated_c_computes_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for options in ({}, {"proj_size": 4}):
        module = Packed(plain, **options).eval()
        exported = export(module, (X, LENGTHS), tmp_path / "a.onnx", load=None)
        native = load(exported.path, "native", compile=generate)
        for steps in (4, 1):
            inputs = {"x": normal(3, 1, 9, 5), "lengths": np.array([steps])}
            want = load(exported.path, "cpu").run(inputs)
            for name, value in native.run(inputs).items():
                np.testing.assert_allclose(value, want[name], atol=2e-5)


def test_packing_is_as_it_was_afterwards(tmp_path: Path) -> None:
    module = Packed(plain).eval()
    export(module, (X, LENGTHS), tmp_path / "a.onnx", load=None)
    packed = pack_padded_sequence(X, LENGTHS, batch_first=True)
    assert packed.data.shape == (15, 5)
    assert pad_packed_sequence(packed)[0].shape == (9, 3, 5)
    assert pack_padded_sequence.__code__.co_filename.endswith("rnn.py")


# What is refused


def _reduced(module: Any, x: Tensor, lengths: Tensor) -> Any:
    packed = module.rnn(pack_padded_sequence(x, lengths, batch_first=True))[0]
    return packed.data.mean(0)


def _sized(module: Any, x: Tensor, lengths: Tensor) -> Any:
    packed = pack_padded_sequence(x, lengths, batch_first=True)
    return module.rnn(packed)[1][0] / packed.batch_sizes[0]


def _counted(module: Any, x: Tensor, lengths: Tensor) -> Any:
    packed = pack_padded_sequence(x, lengths, batch_first=True)
    return module.rnn(packed)[1][0] * packed.data.shape[0]


def _returned(module: Any, x: Tensor, lengths: Tensor) -> Any:
    return module.rnn(pack_padded_sequence(x, lengths, batch_first=True))


def _fixed_total(module: Any, x: Tensor, lengths: Tensor) -> Any:
    packed = module.rnn(pack_padded_sequence(x, lengths, batch_first=True))[0]
    return pad_packed_sequence(packed, batch_first=True, total_length=500)[0]


def _listed(module: Any, x: Tensor, lengths: Tensor) -> Any:
    packed = pack_padded_sequence(x, [int(n) for n in lengths.tolist()], batch_first=True)
    return pad_packed_sequence(module.rnn(packed)[0])[0]


def _own_list(module: Any, x: Tensor, lengths: Tensor) -> Any:
    packed = pack_padded_sequence(x, [x.shape[1]] * x.shape[0], batch_first=True)
    return pad_packed_sequence(module.rnn(packed)[0])[0]


class Normed(nn.Module):
    """Batch normalization of ``data``, by a layer inside the module."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.norm = nn.GRU(5, 6, batch_first=True), nn.BatchNorm1d(6)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = self.rnn(pack_padded_sequence(x, lengths, batch_first=True))[0]
        packed = packed._replace(data=self.norm(packed.data))
        return pad_packed_sequence(packed, batch_first=True)[0]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (Packed(_reduced), "forward applies mean to the data of a PackedSequence.*pad it first"),
        (Packed(_sized), "applies __getitem__ to the batch_sizes.*use the lengths"),
        (Packed(_counted), r"applies \.shape to the data of a PackedSequence"),
        (Normed(), r"layer 'norm' \(BatchNorm1d\) applies .* to the data .*pad it first"),
        (Packed(_returned), r"returns a PackedSequence.*pad_packed_sequence\(\.\.\.\)\[0\]"),
        (Packed(_fixed_total), "total_length=500, a fixed length; leave it out"),
        (Packed(_listed), r"tolist\(\) of a tensor is used as numbers.*as it is"),
        (Packed(_own_list), "lengths as a list.*give them as a tensor"),
    ],
    ids=["mean", "batch-sizes", "shape", "batch-norm", "returned", "total", "tolist", "list"],
)
def test_what_packed_sequences_cannot_do_is_named(
    tmp_path: Path, module: nn.Module, expected: str
) -> None:
    with pytest.raises(ModelError, match=expected) as caught:
        export(module, (X, LENGTHS), tmp_path / "a.onnx", load=None)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
