from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgernn_exporters.quantization.layers import FLOAT
from edgernn_exporters.search.space import Space

OPTIONS = st.lists(
    st.sampled_from(["int4", "int8", "w8a16", FLOAT]), min_size=1, max_size=4, unique=True
).map(tuple)
SPACES = st.lists(OPTIONS, min_size=1, max_size=4).map(
    lambda found: Space({f"l{index}": options for index, options in enumerate(found)})
)


@given(SPACES)
def test_all_choices_are_distinct_and_allowed(space: Space) -> None:
    found = list(space.all())
    assert len(set(found)) == len(found) == space.size
    for choice in found:
        assert all(p in space.layers[name] for name, p in space.by_layer(choice).items())


@given(SPACES)
def test_changes_differ_in_one_layer_and_leave_none_out(space: Space) -> None:
    found = list(space.changes(space.base))
    assert len(found) == sum(len(options) - 1 for options in space.layers.values())
    for layer, choice in found:
        differing = [
            name for name, a, b in zip(space.layers, choice, space.base, strict=True) if a != b
        ]
        assert differing == [layer]


@given(SPACES, st.sampled_from(["int4", "int8", FLOAT]))
def test_uniform_choices_are_allowed(space: Space, precision: str) -> None:
    for name, got in space.by_layer(space.uniform(precision)).items():
        options = space.layers[name]
        assert got in options
        assert got == precision if precision in options else got in (FLOAT, options[0])
