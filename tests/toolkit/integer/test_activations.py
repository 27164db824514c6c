"""Integer sigmoid and tanh against the real ones, over all arguments."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from edgernn.integer import activations

PRE_ACTIVATIONS = np.arange(-32767, 32768, dtype=np.int32)


def test_tanh_is_within_its_error_and_odd() -> None:
    got = activations.tanh(PRE_ACTIVATIONS)
    assert np.abs(got / 2**15 - np.tanh(PRE_ACTIVATIONS / 2**12)).max() < 4.4e-5
    np.testing.assert_array_equal(got, -got[::-1])
    assert got.max() == 32767


def test_sigmoid_is_within_its_error_and_symmetric() -> None:
    got = activations.sigmoid(PRE_ACTIVATIONS)
    exact = 1 / (1 + np.exp(-PRE_ACTIVATIONS / 2**12))
    assert np.abs(got / 2**15 - exact).max() < 3.8e-5
    np.testing.assert_array_equal(got, 2**15 - got[::-1])
    assert (got.min(), got.max()) == (11, 32757)


@pytest.mark.parametrize("bits", range(5, 14))
def test_tanh_of_a_cell_follows_its_unit(bits: int) -> None:
    got = activations.tanh_of_cell(PRE_ACTIVATIONS, bits)
    assert np.abs(got / 2**15 - np.tanh(PRE_ACTIVATIONS / 2**bits)).max() < 4.4e-5


def test_high_byte_is_rounded_half_to_even() -> None:
    got = activations.narrow(PRE_ACTIVATIONS)
    np.testing.assert_array_equal(got, np.minimum(np.rint(PRE_ACTIVATIONS / 256), 127))


def test_products_fit_in_32_bits_and_round_half_up() -> None:
    a = np.array([-32767, -32767, 32767, 16384, -16384, 1, 3], np.int32)
    b = np.array([-32767, 32767, 32767, 1, 1, 16384, 16384], np.int32)
    exact = np.floor(a.astype(np.float64) * b / 2**15 + 0.5)
    np.testing.assert_array_equal(activations.multiply_q15(a, b), exact)


@pytest.mark.parametrize("interval", [0, 1, 9, 40, 63])
def test_tables_are_what_the_script_fits(interval: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "scripts"))
    monkeypatch.delitem(sys.modules, "fit_integer_tanh", raising=False)
    import fit_integer_tanh

    tables = (activations.TANH_START, activations.TANH_SLOPE, activations.TANH_BEND)
    assert fit_integer_tanh.fit(interval) == tuple(table[interval] for table in tables)
