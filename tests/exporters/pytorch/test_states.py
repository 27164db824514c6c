from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.modules import Tagger
from helpers.stateful_modules import (
    Again,
    BatchFirst,
    Computed,
    Damped,
    Learned,
    Passed,
    Separate,
    Step,
    Translator,
    TwoPaths,
)
from torch import Tensor, nn

from edgernn.contract import Axes, Contract
from edgernn.errors import InputError, ModelError
from edgernn.streaming import run_in_chunks
from edgernn_exporters.pytorch.export import Exported, export
from edgernn_exporters.pytorch.rewiring import recurrent_layers
from edgernn_exporters.pytorch.signature import Request, Signature, read_signature
from edgernn_exporters.quantization import quantize

from .conftest import open_cpu

X = torch.zeros(1, 10, 5)


def read(module: nn.Module, *args: Any, **options: Any) -> Signature:
    torch.manual_seed(0)
    return read_signature(module.eval(), recurrent_layers(module), Request(args, **options))


def write(path: Path, module: nn.Module, *args: Any, **options: Any) -> tuple[Exported, Contract]:
    exported = export(module, args, path / "m.onnx", load=open_cpu, **options)
    assert exported.gate is not None
    assert exported.metadata.contract is not None
    return exported, exported.metadata.contract


def test_learned_states_start_from_initializers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Learned()
    exported, contract = write(tmp_path, module, X)
    inits = {state.input: state.init for state in contract.states}
    assert inits == {
        "rnn.h_l0": "rnn.h_l0.init", "rnn.c_l0": "rnn.c_l0.init",
        "rnn.h_l1": "rnn.h_l1.init", "rnn.c_l1": "zeros",
    }  # fmt: skip
    session = open_cpu(exported.path)
    first = session.stream(batch=3).state["rnn.h_l1"]
    np.testing.assert_array_equal(first, torch.tanh(module.h0[1:]).detach().expand(1, 3, 7))


def test_states_passed_through_forward_keep_their_names(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, zeros = Passed(), torch.zeros(2, 1, 7)
    exported, contract = write(tmp_path, module, X, zeros, zeros)
    assert contract.stream.causal
    assert contract.stream.inputs == {"x": Axes(0, 1)}
    assert contract.stream.outputs == {"logits": Axes(0, 1)}
    assert {state.input: state.output for state in contract.states} == {
        "front.h_l0": "front.h_l0.next", "h_l0": "h_l0.next", "c_l0": "cn_l0",
        "h_l1": "h_l1.next", "c_l1": "cn_l1",
    }  # fmt: skip
    stream = open_cpu(exported.path).stream()
    x = torch.randn(1, 9, 5)
    stream.step(x[:, :4].numpy())
    with torch.no_grad():
        front = module.front(x[:, :4])[0]
        wanted = module.rnn(front, (zeros, zeros))[1][0]
    np.testing.assert_allclose(stream.state["h_l1"], wanted[1:], atol=1e-6)


@pytest.mark.parametrize(
    ("module", "args", "states", "outputs"),
    [
        (BatchFirst(), (X, torch.zeros(1, 2, 7)), [("state", "state.next")], ("y",)),
        (
            Separate(),
            (X, (torch.zeros(1, 7), torch.zeros(1, 7))),
            [("states_0", "states_0.next"), ("states_1", "states_1.next")],
            ("y",),
        ),
        (Computed(), (X, torch.zeros(1, 4)), [], ("y",)),
        (Damped(), (X, torch.zeros(1, 1, 7)), [], ("y0", "y1")),
    ],
)
def test_arguments_that_are_states_are_found(
    module: nn.Module, args: Any, states: Any, outputs: Any
) -> None:
    found = read(module, *args)
    assert list(found.given_names) == states
    assert found.output_names == outputs
    assert bool(found.whole_only) == (not states)


def test_a_state_goes_to_the_layers_in_the_users_order() -> None:
    found = read(BatchFirst(), X, torch.zeros(1, 2, 7))
    layers = {f"rnn.h_l{i}": torch.randn(1, 3, 7) for i in range(2)}
    joined = found.given[0].join(layers)
    assert torch.equal(joined, torch.stack([h[0] for h in layers.values()], dim=1))


def test_computed_states_run_whole_sequences(tmp_path: Path) -> None:
    exported, contract = write(tmp_path, Computed(), X, torch.zeros(1, 4))
    assert not contract.stream.causal
    assert contract.states == ()
    assert "layer 'rnn' starts from a state that the module computes" in exported.notes[0]
    with pytest.raises(ModelError, match=r"causal=True, but layer 'rnn' starts from"):
        export(Computed(), (X, torch.zeros(1, 4)), tmp_path / "a", load=None, causal=True)


def test_states_can_be_named(tmp_path: Path) -> None:
    args = (X, torch.zeros(1, 1, 7))
    exported, contract = write(tmp_path, Damped(), *args, states={"h": "y1"})
    assert [(s.input, s.output, s.batch_axis) for s in contract.states] == [("h", "h.next", 1)]
    assert contract.stream.causal
    assert not exported.notes
    assert read(BatchFirst(), X, torch.zeros(1, 2, 7), states={}).given == ()
    with pytest.raises(InputError, match=r"'h' becomes 'hn', but forward takes .* returns"):
        read(Damped(), *args, states={"h": "hn"})
    with pytest.raises(InputError, match=r"state 'h' .* cannot become 'y0'"):
        read(Damped(), *args, states={"h": "y0"})


def test_each_use_of_a_layer_has_its_state_and_unused_layers_are_left_out(tmp_path: Path) -> None:
    exported, contract = write(tmp_path, Again(), X)
    assert [state.input for state in contract.states] == ["rnn.h_l0", "rnn#2.h_l0"]
    assert exported.notes == (
        "layer 'spare' is not called by forward, so it is left out of the file",
    )


@pytest.mark.slow
def test_a_step_of_a_decoder_is_proven_over_many_steps(tmp_path: Path) -> None:
    args = (torch.zeros(1, 1, 5), torch.zeros(1, 1, 7), torch.zeros(1, 9, 7))
    exported, contract = write(tmp_path, Step(), *args, axes={"x": ("batch", None, None)})
    assert exported.gate is not None
    assert exported.gate.cases == 3 + 1000
    assert contract.stream.inputs == {"x": Axes(0, None), "memory": Axes(0, None)}
    assert [str(spec) for spec in open_cpu(exported.path).inputs][1] == (
        "memory float32 [batch, memory_1, 7]"
    )


def test_sequences_of_two_lengths() -> None:
    found = read(Translator(), torch.zeros(1, 8, 5), torch.zeros(1, 11, 3))
    assert found.input_dims == (("batch", "time", None), ("batch", "target_1", None))
    assert "layer 'decoder' starts from a state that the module computes" in found.whole_only[0]


def test_a_layer_over_frequencies_needs_no_state() -> None:
    found = read(TwoPaths(), torch.zeros(1, 6, 4, 2))
    assert [(use.path, use.carried) for use in found.uses] == [("across", False), ("along", True)]
    assert found.whole_only == ()


def test_unbatched_sequences(tmp_path: Path) -> None:
    exported, contract = write(tmp_path, nn.LSTM(5, 7, 2), torch.zeros(10, 5))
    assert contract.stream.inputs == {"input": Axes(None, 0)}
    session = open_cpu(exported.path)
    assert str(session.states[0]) == "h_l0 float32 [1, 1, 7]"
    x = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    pieces = run_in_chunks(session, {"input": x}, 2)
    np.testing.assert_allclose(pieces["y0"], session.run({"input": x})["y0"], atol=1e-6)
    with pytest.raises(InputError, match="one sequence, without a batch axis, not a batch of 2"):
        session.stream(batch=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "args"),
    [
        (Learned(), (X,)),
        (Passed(), (X, torch.zeros(2, 1, 7), torch.zeros(2, 1, 7))),
        (Again(), (X,)),
        (Tagger("gru"), (torch.zeros(10, 5),)),
    ],
)
def test_files_quantize_and_run_as_generated_code(
    tmp_path: Path, module: nn.Module, args: Any
) -> None:
    from edgernn import load

    exported, contract = write(tmp_path, module, *args)
    small = quantize(exported.path, tmp_path / "q.onnx", load=open_cpu)
    assert not small.kept
    x = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
    name, place = next(iter(contract.stream.inputs.items()))
    inputs = {name: x if place.batch is None else x[None]}
    for path in (exported.path, small.path):
        wanted = open_cpu(path).run(inputs)
        session = load(path, target="native")
        for got in (session.run(inputs), run_in_chunks(session, inputs, 1)):
            for key, value in wanted.items():
                if contract.stream.outputs[key].time is not None:
                    np.testing.assert_allclose(got[key], value, atol=1e-4)
        session.close()


class Policy(nn.Module):
    """One step of an agent: a dict of states in, the same out; optionally an unchanged input."""

    def __init__(self, echo: bool = False) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(5, 7)
        self.head = nn.Linear(7, 3)
        self.echo = echo

    def forward(self, obs: Tensor, goal: Tensor, hidden: dict[str, Tensor]) -> dict[str, Any]:
        h, c = self.cell(obs + goal, (hidden["h"], hidden["c"]))
        found = {"action": self.head(h), "hidden": {"h": h, "c": c}}
        return {**found, "goal": goal} if self.echo else found


def policy_args(rows: int = 1) -> tuple[Any, ...]:
    hidden = {"h": torch.zeros(rows, 7), "c": torch.zeros(rows, 7)}
    return torch.zeros(rows, 5), torch.zeros(rows, 5), hidden


def test_what_comes_back_under_its_name_is_a_state(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Policy().eval()
    exported, contract = write(tmp_path, module, *policy_args())
    assert [(s.input, s.output) for s in contract.states] == [("h", "h.next"), ("c", "c.next")]
    stream, hidden = open_cpu(exported.path).stream(batch=2), policy_args(2)[2]
    for _ in range(4):
        obs, goal = torch.randn(2, 5), torch.randn(2, 5)
        with torch.no_grad():
            want = module(obs, goal, hidden)
        hidden = want["hidden"]
        got = stream.step({"obs": obs.numpy(), "goal": goal.numpy()})
        np.testing.assert_allclose(got["action"], want["action"], atol=1e-6)


def test_what_comes_back_unchanged_is_no_state() -> None:
    with pytest.raises(ModelError, match=r"distinct names, but goal occurs twice.*states="):
        read(Policy(echo=True), *policy_args())


class NamedBeside(nn.Module):
    """A layer whose state is an argument, after one that starts from an image or looks ahead."""

    def __init__(self, bidirectional: bool) -> None:
        super().__init__()
        self.image = nn.Linear(4, 7)
        self.front = nn.GRU(5, 7, batch_first=True, bidirectional=bidirectional)
        self.rnn = nn.GRU(14 if bidirectional else 7, 7, batch_first=True)

    def forward(self, x: Tensor, image: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        first = None if self.front.bidirectional else self.image(image)[None]
        return self.rnn(self.front(x, first)[0], torch.tanh(h))


@pytest.mark.parametrize(
    ("bidirectional", "expected"), [(True, "is bidirectional"), (False, "starts from a state")]
)
def test_a_named_state_does_not_hide_why_a_module_cannot_stream(
    bidirectional: bool, expected: str
) -> None:
    args = X, torch.zeros(1, 4), torch.zeros(1, 1, 7)
    found = read(NamedBeside(bidirectional), *args, states={"h": "y1"})
    assert [text for text in found.whole_only if f"'front' {expected}" in text]
    assert not [text for text in found.whole_only if "'rnn'" in text]
