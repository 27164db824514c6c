import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgernn_exporters.codegen import strided
from edgernn_exporters.codegen.dims import Steps, at, sizes_at
from edgernn_exporters.codegen.strided import View, row_major, view_of
from edgernn_exporters.codegen.values import Buffer, Tensor

MEMORY = np.arange(4000)


def whole(*shape: int | Steps) -> View:
    return view_of(Tensor(Buffer("x", "float", 0), shape))


def seen(view: View, steps: int = 1) -> NDArray[np.int64]:
    """Return what a view reads of a memory that holds 0, 1, 2 …"""
    strides = [stride * MEMORY.itemsize for stride in sizes_at(view.strides, steps)]
    start = MEMORY[at(view.offset, steps) :]
    return np.lib.stride_tricks.as_strided(start, sizes_at(view.shape, steps), strides)


shapes = st.lists(st.sampled_from([1, 1, 2, 3, 4]), min_size=1, max_size=4)


@given(shape=shapes, data=st.data())
def test_views_show_what_numpy_shows(shape: list[int], data: st.DataObject) -> None:
    view, array = whole(*shape), MEMORY[: int(np.prod(shape))].reshape(shape)
    for _ in range(4):
        rank = array.ndim
        change = data.draw(st.sampled_from(["turn", "cut", "insert", "repeat", "shape"]))
        axis = data.draw(st.integers(0, max(rank - 1, 0)))
        if change == "turn":
            order = data.draw(st.permutations(range(rank)))
            view, array = strided.permuted(view, order), array.transpose(order)
        elif change == "cut" and rank:
            start = data.draw(st.integers(0, array.shape[axis] - 1))
            step = data.draw(st.sampled_from([1, 2, -1]))
            index = (slice(None),) * axis + (slice(start, None, step),)
            size = array[index].shape[axis]
            view, array = strided.sliced(view, axis, start, size, step), array[index]
        elif change == "insert":
            view, array = strided.inserted(view, axis), np.expand_dims(array, axis)
        elif change == "repeat":
            wanted = (2, *(3 if size == 1 else size for size in array.shape))
            view, array = strided.repeated(view, wanted), np.broadcast_to(array, wanted)
        else:
            wanted = data.draw(st.sampled_from([(array.size,), (1, array.size), array.shape[::-1]]))
            changed = strided.reshaped(view, wanted)
            if changed is not None:
                view, array = changed, array.reshape(wanted)
        np.testing.assert_array_equal(seen(view), array)
        if array.size > 200:
            break
    tensor = strided.as_tensor(view)
    assert (tensor is None) or np.array_equal(seen(view_of(tensor)), array)
    order = strided.memory_order(view)
    assert sorted(order) == list(range(array.ndim))


@given(steps=st.integers(1, 6), features=st.integers(1, 4))
def test_sizes_in_time_steps(steps: int, features: int) -> None:
    view = whole(2, Steps(1, 2), features)
    array = MEMORY[: 2 * (steps + 2) * features].reshape(2, steps + 2, features)
    last = strided.picked(view, 1, Steps(1, 1))
    np.testing.assert_array_equal(seen(last, steps), array[:, -1])
    turned = strided.permuted(strided.sliced(view, 1, 2, Steps()), [0, 2, 1])
    np.testing.assert_array_equal(seen(turned, steps), array[:, 2:].transpose(0, 2, 1))
    flat = strided.reshaped(view, (Steps(2, 4), features))
    assert flat is not None
    np.testing.assert_array_equal(seen(flat, steps), array.reshape(-1, features))


def test_what_cannot_be_reshaped_without_a_copy() -> None:
    turned = strided.permuted(whole(3, 4), [1, 0])
    assert strided.reshaped(turned, (12,)) is None
    assert strided.reshaped(turned, (4, 1, 3)) is not None
    timed = strided.permuted(whole(2, Steps(), 3), [0, 2, 1])
    assert strided.reshaped(timed, (2, Steps(3))) is None
    assert strided.reshaped(whole(2, Steps(), 3), (Steps(), 6)) is not None


def test_row_major() -> None:
    assert row_major((2, Steps(), 3)) == (Steps(3), 3, 1)
    assert row_major(()) == ()
