"""Hand calls of ``pack_padded_sequence`` and ``pad_packed_sequence`` to somebody else for a while.

Modules import both functions by name, so replacing them in ``torch.nn.utils.rnn`` would miss most
calls. Here the code inside the functions is exchanged, whoever holds them. The same is done with
``tolist`` of the tensors of a trace, by which many modules bring lengths to the form that packing
once wanted. Threads that have no handler keep what the functions did.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Protocol

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


class Handler(Protocol):
    """What gets the calls, with the arguments of the functions of PyTorch."""

    def pack(
        self, x: Tensor, lengths: Any, batch_first: bool, enforce_sorted: bool
    ) -> PackedSequence:
        """Take the place of ``pack_padded_sequence``."""
        ...

    def pad(
        self, packed: PackedSequence, batch_first: bool, value: float, total_length: Any
    ) -> tuple[Tensor, Tensor]:
        """Take the place of ``pad_packed_sequence``."""
        ...

    def to_list(self, tensor: Tensor, original: Callable[[Tensor], Any]) -> Any:
        """Take the place of ``tolist`` of a tensor that is traced."""
        ...


def _copy(function: Any) -> Any:
    return FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__
    )


class Original:
    """The functions as PyTorch has them."""

    _pack = staticmethod(_copy(pack_padded_sequence))
    _pad = staticmethod(_copy(pad_packed_sequence))

    def pack(
        self, x: Tensor, lengths: Any, batch_first: bool, enforce_sorted: bool
    ) -> PackedSequence:
        """Pack."""
        packed: PackedSequence = self._pack(x, lengths, batch_first, enforce_sorted)
        return packed

    def pad(
        self, packed: PackedSequence, batch_first: bool, value: float, total_length: Any
    ) -> tuple[Tensor, Tensor]:
        """Pad."""
        padded: tuple[Tensor, Tensor] = self._pad(packed, batch_first, value, total_length)
        return padded

    def to_list(self, tensor: Tensor, original: Callable[[Tensor], Any]) -> Any:
        """Make a list."""
        return original(tensor)


@dataclass(frozen=True)
class PackCall:
    """One call of ``pack_padded_sequence``.

    Attributes:
        lengths: As they were given, int64 ``[B]``.
        steps: Size of the time axis.
        descending: True if the rows have to be sorted, the longest first.
    """

    lengths: Tensor
    steps: int
    descending: bool


class FullLengths(Original):
    """Pack all rows at full length while a module is tried, and note what was asked for.

    So a module with packed sequences shows its axes as any other does: what it returns is as long
    as what it was given, whatever the lengths in the example are.
    """

    def __init__(self) -> None:
        self.calls: list[PackCall] = []

    def pack(
        self, x: Tensor, lengths: Any, batch_first: bool, enforce_sorted: bool
    ) -> PackedSequence:
        """Pack, with the size of the time axis for each length."""
        steps = x.shape[1 if batch_first else 0]
        given = torch.as_tensor(lengths, dtype=torch.int64)
        self.calls.append(PackCall(given, steps, enforce_sorted))
        return super().pack(x, torch.full_like(given, steps), batch_first, enforce_sorted)


_handler: ContextVar[Handler] = ContextVar("handler", default=Original())  # noqa: B039, it has no state
_lock = threading.Lock()
_users = 0


def current() -> Handler:
    """Return what handles the calls of this thread."""
    return _handler.get()


@contextmanager
def intercepting(handler: Handler) -> Iterator[None]:
    """Give a handler the calls that this thread makes in this block."""
    token = _handler.set(handler)
    _exchange(1)
    try:
        yield
    finally:
        _exchange(-1)
        _handler.reset(token)


# The bodies below run inside modules of PyTorch, so they import what they need.


def _packing(input, lengths, batch_first=False, enforce_sorted=True):  # type: ignore[no-untyped-def]
    from edgernn_exporters.pytorch.interception import current

    return current().pack(input, lengths, batch_first, enforce_sorted)


def _padding(sequence, batch_first=False, padding_value=0.0, total_length=None):  # type: ignore[no-untyped-def]
    from edgernn_exporters.pytorch.interception import current

    return current().pad(sequence, batch_first, padding_value, total_length)


def _listing_fake(self):  # type: ignore[no-untyped-def]
    from edgernn_exporters.pytorch.interception import TO_LIST, current

    return current().to_list(self, TO_LIST["fake"])


def _listing_functional(self):  # type: ignore[no-untyped-def]
    from edgernn_exporters.pytorch.interception import TO_LIST, current

    return current().to_list(self, TO_LIST["functional"])


TO_LIST = {"fake": _copy(FakeTensor.tolist), "functional": _copy(FunctionalTensor.tolist)}
_CODES = (
    (pack_padded_sequence, pack_padded_sequence.__code__, _packing.__code__),
    (pad_packed_sequence, pad_packed_sequence.__code__, _padding.__code__),
    (FakeTensor.tolist, FakeTensor.tolist.__code__, _listing_fake.__code__),
    (FunctionalTensor.tolist, FunctionalTensor.tolist.__code__, _listing_functional.__code__),
)


def _exchange(change: int) -> None:
    """Count who intercepts; the first puts our code into the functions, the last takes it out."""
    global _users
    with _lock:
        _users += change
        for function, theirs, ours in _CODES:
            function.__code__ = ours if _users else theirs
