from __future__ import annotations

import numpy as np
import pytest
import torch

from edgernn.integer import activations
from edgernn.training.quantized.tables import cell_table, sigmoid_table, tanh_table

ARGUMENTS = np.arange(-32767, 32768, dtype=np.int32)
CPU = torch.device("cpu")


def test_tables_hold_every_value() -> None:
    index = torch.from_numpy(ARGUMENTS).long()
    for table, function in (
        (sigmoid_table(CPU), activations.sigmoid), (tanh_table(CPU), activations.tanh),
    ):  # fmt: skip
        np.testing.assert_array_equal(torch.take(table, index), function(ARGUMENTS))


@pytest.mark.parametrize("bits", range(5, 14))
def test_table_of_cell_states(bits: int) -> None:
    got = torch.take(cell_table(CPU, bits), torch.from_numpy(ARGUMENTS).long())
    np.testing.assert_array_equal(got, activations.tanh_of_cell(ARGUMENTS, bits))
