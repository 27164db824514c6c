"""Loops with steps that are put together at random, exported through the gate."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.loops import IndRNNCell
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgernn_exporters.pytorch.export import export

from .conftest import open_cpu

CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell, "indrnn": IndRNNCell}
STEPS = st.lists(
    st.sampled_from([*CELLS, "linear", "tanh", "norm", "gate", "residual", "drop"]),
    min_size=1,
    max_size=4,
).filter(lambda steps: bool(set(steps) & set(CELLS)))


class RandomLoop(nn.Module):
    """A loop whose step is a chain of parts."""

    def __init__(self, steps: list[str], reads: str, collects: str, feedback: bool) -> None:
        super().__init__()
        self.steps, self.reads, self.collects, self.feedback = steps, reads, collects, feedback
        made = {"linear": lambda: nn.Linear(4, 4), "norm": lambda: nn.LayerNorm(4)}
        made |= {name: lambda cell=cell: cell(4, 4) for name, cell in CELLS.items()}
        self.parts = nn.ModuleList(made.get(step, nn.Identity)() for step in steps)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        zeros = torch.zeros(x.shape[0], 4)
        states: list[Any] = [(zeros, zeros) if step == "lstm" else zeros for step in self.steps]
        readers = {
            "index": lambda: (x[:, t] for t in range(x.shape[1])),
            "unbind": lambda: x.unbind(1),
            "split": lambda: (step[:, 0] for step in x.split(1, 1)),
            "iterate": lambda: x.transpose(0, 1),
        }
        last, outs = zeros, []
        written = torch.zeros(x.shape[0], x.shape[1], 4)
        for t, step in enumerate(readers[self.reads]()):
            value = step + 0.5 * last if self.feedback else step
            for i, (name, part) in enumerate(zip(self.steps, self.parts, strict=True)):
                value = self._run(name, part, value, step, states, i)
            last = value
            outs.append(value)
            if self.collects == "write":
                written[:, t] = value
        if self.collects == "cat":
            return torch.cat([out[:, None] for out in outs], 1)
        return written if self.collects == "write" else torch.stack(outs, 1)

    def _run(
        self, name: str, part: nn.Module, value: Tensor, x: Tensor, states: list[Any], i: int
    ) -> Tensor:
        if name in CELLS:
            states[i] = part(value, states[i])
            return states[i][0] if name == "lstm" else states[i]
        if name == "gate":
            return torch.sigmoid(value.chunk(2, -1)[0]).repeat(1, 2) * value
        if name == "residual":
            return value + x
        return {"tanh": torch.tanh, "drop": self.drop}.get(name, part)(value)


@pytest.mark.slow
@given(
    STEPS,
    st.sampled_from(["index", "unbind", "split", "iterate"]),
    st.sampled_from(["stack", "cat", "write"]),
    st.booleans(),
)
@settings(max_examples=5, phases=[Phase.generate])  # shrinking exports for minutes
def test_random_steps_pass_the_gate(
    steps: list[str], reads: str, collects: str, feedback: bool
) -> None:
    torch.manual_seed(0)
    module = RandomLoop(steps, reads, collects, feedback).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.onnx"
        result = export(module, (torch.zeros(1, 9, 4),), path, load=open_cpu)
        contract = result.metadata.contract
        assert contract is not None
        assert contract.stream.causal
        count = sum(2 if step == "lstm" else step in CELLS for step in steps)
        assert len(contract.states) in {count, count + feedback}  # what is fed back may be a state
        x = np.random.default_rng(0).standard_normal((2, 31, 4)).astype(np.float32)
        with torch.no_grad():
            wanted = module(torch.from_numpy(x)).numpy()
        np.testing.assert_allclose(open_cpu(path).run({"x": x})["y"], wanted, atol=2e-6)
