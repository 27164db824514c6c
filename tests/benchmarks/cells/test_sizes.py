from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgernn.training import ModelConfig, build_model
from edgernn.training.remembering import recurrent_layer
from edgernn_benchmarks.cells.sizes import equal_parameters, recurrent_parameters

CELLS = st.sampled_from(["lstm", "gru", "rnn"])


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    symbols = draw(st.booleans())
    return ModelConfig(
        draw(CELLS), draw(st.integers(1, 12)), draw(st.integers(1, 20)), 3,
        draw(st.integers(1, 3)), draw(st.booleans()),
        "text" if symbols else "sequence", draw(st.integers(1, 12)) if symbols else 0,
    )  # fmt: skip


@given(config=configs())
def test_counts_what_pytorch_has(config: ModelConfig) -> None:
    rnn = recurrent_layer(build_model(config))
    assert recurrent_parameters(config) == sum(weight.numel() for weight in rnn.parameters())


@given(config=configs(), cell=CELLS)
def test_no_other_width_comes_nearer(config: ModelConfig, cell: str) -> None:
    from dataclasses import replace

    wanted = recurrent_parameters(config)
    found = equal_parameters(config, cell)
    assert replace(found, cell=config.cell, hidden_size=config.hidden_size) == config

    def distance(hidden: int) -> int:
        return abs(recurrent_parameters(replace(found, hidden_size=hidden)) - wanted)

    least = min(map(distance, range(1, 3 * config.hidden_size + 10)))
    assert distance(found.hidden_size) == least


def test_a_cell_equals_itself() -> None:
    config = ModelConfig("lstm", 40, 64, 10)
    assert equal_parameters(config, "lstm") == config
