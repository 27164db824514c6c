from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from edgernn.training.quantized.sequences import at_the_end, reversed_in_time, valid_steps


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 2))
def test_rows_are_handled_within_their_lengths(lengths: list[int], padding: int) -> None:
    steps = max(lengths) + padding
    sequence = torch.arange(steps * len(lengths) * 2.0).reshape(steps, len(lengths), 2)
    given_lengths = torch.tensor(lengths)
    turned = reversed_in_time(sequence, given_lengths)
    for row, length in enumerate(lengths):
        assert torch.equal(turned[:length, row], sequence[:length, row].flip(0))
        assert torch.equal(at_the_end(sequence, given_lengths)[row], sequence[length - 1, row])
    assert torch.equal(reversed_in_time(turned, given_lengths), sequence)
    assert len(valid_steps(sequence, given_lengths)) == sum(lengths)
    rows = [sequence[:length, row] for row, length in enumerate(lengths)]
    assert set(valid_steps(sequence, given_lengths)[:, 0].tolist()) == {
        float(value) for row in rows for value in row[:, 0]
    }
