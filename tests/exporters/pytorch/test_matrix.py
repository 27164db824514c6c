"""Every kind of recurrent layer, with every option, over 1000 steps.

One configuration is one layer (or stack of layers) in a block of its own. An export takes seconds,
so a module holds many blocks; each has outputs of its own, which are compared on their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from edgernn.streaming import run_in_chunks
from edgernn_exporters.pytorch.export import export
from edgernn_runtimes import load

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported"),
]

INPUTS, HIDDEN, PROJECTED = 3, 4, 2
BATCH, STEPS = 3, 1000
TOLERANCE = 1e-5
GROUP = 12
CELLS = ("lstm", "projected", "gru", "tanh", "relu")
STATES = ("omitted", "zeros", "learned", "given")
Outputs = dict[str, np.ndarray]


@dataclass(frozen=True)
class Config:
    """One configuration; its id is the name of its outputs."""

    cell: str
    layers: int
    both: bool
    bias: bool
    batch_first: bool
    state: str
    packed: bool

    def __str__(self) -> str:
        words = [self.cell, f"{self.layers}x", "both" if self.both else "one"]
        words += ["bias" if self.bias else "nobias", "BT" if self.batch_first else "TB"]
        return "-".join([*words, self.state, "packed" if self.packed else "padded"])

    def layer(self) -> nn.RNNBase:
        options: dict[str, Any] = {
            "num_layers": self.layers, "bidirectional": self.both, "bias": self.bias,
            "batch_first": self.batch_first, "dropout": 0.3 if self.layers > 1 else 0.0,
        }  # fmt: skip
        if self.cell in ("lstm", "projected"):
            size = PROJECTED if self.cell == "projected" else 0
            return nn.LSTM(INPUTS, HIDDEN, proj_size=size, **options)
        if self.cell == "gru":
            return nn.GRU(INPUTS, HIDDEN, **options)
        return nn.RNN(INPUTS, HIDDEN, nonlinearity=self.cell, **options)


def enumerated() -> Iterator[Config]:
    """Yield half of all combinations of one and two layers, so that all pairs of options occur.

    Of those with two layers every third gets three.
    """
    flags = (False, True)
    factors = (CELLS, (1, 2), flags, flags, flags, STATES, flags)
    for places in product(*(range(len(factor)) for factor in factors)):
        if sum(places) % 2 == 0:
            cell, layers, *rest = (f[p] for f, p in zip(factors, places, strict=True))
            yield Config(cell, 3 if layers == 2 and sum(places) % 3 == 0 else layers, *rest)


CONFIGS = list(enumerated())


def groups() -> list[list[Config]]:
    """Put configurations together that can run in the same way: in steps, whole, or packed."""
    found = []
    for both, packed in product((False, True), (False, True)):
        alike = [c for c in CONFIGS if (c.both, c.packed) == (both, packed)]
        found += [alike[start : start + GROUP] for start in range(0, len(alike), GROUP)]
    return found


GROUPS = groups()


class Block(nn.Module):
    """One configuration, from ``x [B, T, I]`` to ``[B, T, D*H]`` and the last state."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.rnn = config, config.layer()
        sizes = [self.rnn.proj_size or HIDDEN, HIDDEN]
        depth = config.layers * (2 if config.both else 1)
        self.shapes = [(depth, size) for size in sizes[: 2 if self.rnn.mode == "LSTM" else 1]]
        if config.state == "learned":
            self.first = nn.ParameterList(0.5 * torch.randn(d, 1, s) for d, s in self.shapes)

    def start(self, x: Tensor, given: list[Tensor]) -> Any:
        batch = x.shape[0]
        if self.config.state == "omitted":
            return None
        if self.config.state == "learned":
            given = [value.expand(-1, batch, -1).contiguous() for value in self.first]
        elif self.config.state == "zeros":
            given = [x.new_zeros(depth, batch, size) for depth, size in self.shapes]
        return given[0] if len(given) == 1 else tuple(given)

    def forward(self, x: Tensor, given: list[Tensor], pack: Any) -> tuple[Tensor, list[Tensor]]:
        first, hx = self.config.batch_first, self.start(x, given)
        sequence: Any = x if first else x.transpose(0, 1)
        if pack is not None:
            sequence = pack_padded_sequence(sequence, *pack[:1], first, pack[1])
        y, last = self.rnn(sequence, hx)
        if pack is not None:
            y, _ = pad_packed_sequence(y, first)
        return y if first else y.transpose(0, 1), [last] if isinstance(last, Tensor) else list(last)


class Blocks(nn.Module):
    """Several configurations side by side."""

    def __init__(self, configs: list[Config], *, ordered: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(map(Block, configs))
        self.ordered = ordered

    def forward(
        self, x: Tensor, states: dict[str, Tensor], lengths: Tensor | None = None
    ) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        pack = None if lengths is None else (lengths, self.ordered)
        for block in self.blocks:
            name = str(block.config)
            given = [states[n] for n in (f"{name}.h", f"{name}.c") if n in states]
            y, last = block(x, given, pack)
            found[name] = y
            found |= {f"{name}.{letter}n": value for letter, value in zip("hc", last, strict=False)}
        return found

    def example(self, batch: int, steps: int) -> tuple[Any, ...]:
        rng = np.random.default_rng(steps)
        x = torch.from_numpy(rng.standard_normal((batch, steps, INPUTS)).astype(np.float32))
        states = {
            f"{block.config}.{letter}": torch.zeros(depth, batch, size)
            for block in self.blocks
            if block.config.state == "given"
            for letter, (depth, size) in zip("hc", block.shapes, strict=False)
        }
        if not self.blocks[0].config.packed:
            return x, states
        lengths = rng.integers(1, steps + 1, batch)
        lengths[0] = steps
        return x, states, torch.from_numpy(-np.sort(-lengths) if self.ordered else lengths)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[tuple[str, Outputs]]]:
    """Return what exports a group and runs it, the first time it is asked for."""
    folder: Path = tmp_path_factory.mktemp("matrix")
    done: dict[int, list[tuple[str, Outputs]]] = {}

    def make(number: int) -> list[tuple[str, Outputs]]:
        if number not in done:
            torch.manual_seed(number)
            module = Blocks(GROUPS[number], ordered=number % 2 == 1).eval()
            path = folder / f"{number}.onnx"
            example = module.example(2, 5)
            axes: dict[str, Any] = dict.fromkeys(example[1], (None, "batch", None))
            axes |= {"x": ("batch", "time", None)}  # to find them would take most of the time
            if GROUPS[number][0].packed:
                axes["lengths"] = ("batch",)
            exported = export(module, example, path, load=None, axes=axes)
            contract = exported.metadata.contract
            assert contract is not None
            assert contract.stream.causal == (not GROUPS[number][0].both and len(
                module.example(2, 5)) == 2)  # fmt: skip
            args = module.example(BATCH, STEPS)
            session = load(path, "cpu", threads=1)
            tensors = {"x": args[0], **args[1], **dict(zip(["lengths"], args[2:], strict=False))}
            inputs = {spec.name: tensors[spec.name].numpy() for spec in session.inputs}
            with torch.no_grad():
                wanted = {name: value.numpy() for name, value in module(*args).items()}
            done[number] = [("PyTorch", wanted), ("whole", session.run(inputs))]
            if contract.stream.causal:
                for chunk in (1, 64):
                    done[number].append(
                        (f"chunks of {chunk}", run_in_chunks(session, inputs, chunk))
                    )
        return done[number]

    return make


@pytest.mark.parametrize(
    ("number", "config"),
    [(number, config) for number, group in enumerate(GROUPS) for config in group],
    ids=[str(config) for group in GROUPS for config in group],
)
def test_a_configuration_agrees_with_pytorch(
    made: Callable[[int], list[tuple[str, Outputs]]], number: int, config: Config
) -> None:
    (_, wanted), *runs = made(number)
    own = [name for name in wanted if name.split(".")[0] == str(config)]
    assert len(own) == 3 if config.cell in ("lstm", "projected") else 2
    for case, got in runs:
        for name in own:
            if name not in got:  # the last state of an argument that is carried
                assert config.state == "given"
                continue
            want, scale = wanted[name], max(1.0, float(np.abs(wanted[name]).max()))
            distance = np.abs(got[name] - want).max() / scale
            assert distance <= TOLERANCE, f"{case}: {name} is off by {distance:.3g}"


def test_the_matrix_is_as_large_as_promised_and_holds_all_pairs() -> None:
    assert len(CONFIGS) == len({str(config) for config in CONFIGS}) >= 300
    assert sum(len(group) for group in GROUPS) == len(CONFIGS)
    values = [list(vars(config).values()) for config in CONFIGS]
    for one, other in ((a, b) for a in range(7) for b in range(a)):
        pairs = {(row[one], row[other]) for row in values}
        assert len(pairs) == len({p[0] for p in pairs}) * len({p[1] for p in pairs})
