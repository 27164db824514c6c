import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgernn_exporters.codegen import dims
from edgernn_exporters.codegen.dims import Dim, Steps, at, at_least
from edgernn_exporters.codegen.refusal import NotLoweredError

any_dim = st.one_of(
    st.integers(-9, 9), st.builds(Steps, st.sampled_from([1, 2, 3]), st.integers(-4, 4))
)
MANY = range(1, 30)


@given(a=any_dim, b=any_dim)
def test_arithmetic_holds_for_every_number_of_steps(a: Dim, b: Dim) -> None:
    for steps in MANY:
        x, y = at(a, steps), at(b, steps)
        assert at(dims.add(a, b), steps) == x + y
        assert at(dims.subtract(a, b), steps) == x - y
        if isinstance(a, int) or isinstance(b, int):
            assert at(dims.multiply(a, b), steps) == x * y


@given(a=any_dim, b=any_dim)
def test_comparisons_hold_for_every_number_of_steps_or_are_left_open(a: Dim, b: Dim) -> None:
    answers = {at(a, steps) >= at(b, steps) for steps in MANY}
    answer = at_least(a, b)
    assert answers == {answer} if answer is not None else len(answers) == 2
    if answer is None and at_least(b, a) is None:
        with pytest.raises(NotLoweredError, match="depends on the time steps"):
            dims.minimum(a, b)
        return
    smaller, larger = dims.minimum(a, b), dims.maximum(a, b)
    for steps in MANY:
        pair = sorted([at(a, steps), at(b, steps)])
        assert [at(smaller, steps), at(larger, steps)] == pair


@given(a=any_dim, b=st.integers(1, 4))
def test_divisions_come_out_even_or_are_refused(a: Dim, b: int) -> None:
    if isinstance(a, int):
        assert dims.divide(a, b) == a // b
        return
    if any(at(a, steps) % b for steps in MANY):
        with pytest.raises(NotLoweredError, match="not a multiple"):
            dims.divide(a, b)
        return
    quotient = dims.divide(a, b)
    for steps in MANY:
        assert at(quotient, steps) * b == at(a, steps)


def test_the_end_of_a_slice_is_beyond_any_number_of_steps() -> None:
    assert dims.minimum(Steps(5, 3), 2**63 - 1) == Steps(5, 3)
    assert dims.maximum(Steps(1, -2), -(2**63)) == Steps(1, -2)


def test_what_grows_with_the_square_of_the_steps_is_refused() -> None:
    with pytest.raises(NotLoweredError, match="the square of the time steps") as caught:
        dims.multiply(Steps(), Steps())
    assert caught.value.timed


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (3, "3"),
        (Steps(), "t"),
        (Steps(4), "4 * t"),
        (Steps(1, -2), "(t - 2)"),
        (Steps(2, 1), "(2 * t + 1)"),
    ],
)
def test_as_c(dim: Dim, text: str) -> None:
    assert str(dim) == text
