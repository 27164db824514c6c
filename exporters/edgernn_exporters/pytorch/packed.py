"""Trace packed sequences as padded ones and the lengths of their rows.

While a module is traced, ``pack_padded_sequence`` makes a `PackedSequence` whose ``data`` is the
padded sequence ``[T, B, F]`` and whose ``batch_sizes`` are the lengths ``[B]``. Recurrent layers
give the lengths to their operator. What else reads ``data`` must treat each time step by itself:
such functions give the same on either form, all others are refused.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from edgernn.errors import ModelError
from edgernn_exporters.pytorch.interception import intercepting

# What treats every element of its input by itself, and what treats every row of features so.
_ELEMENTWISE = """
    abs add alpha_dropout celu clamp clone contiguous detach div dropout elu exp float gelu
    hardsigmoid hardswish hardtanh leaky_relu log mish mul neg relu relu6 selu sigmoid silu softplus
    softsign sqrt square sub tanh true_divide
    __add__ __radd__ __mul__ __rmul__ __sub__ __rsub__ __truediv__ __neg__
"""
ELEMENTWISE = frozenset(_ELEMENTWISE.split())
ROW_WISE = frozenset({"linear", "embedding"})
NORMALIZING = frozenset({"layer_norm", "rms_norm"})
LAST_AXIS = frozenset({"cat", "concat", "concatenate", "softmax", "log_softmax"})
GETTERS = frozenset({"device", "dtype", "is_cuda", "requires_grad", "layout"})

_PAD_FIRST = (
    "pad it first, with pad_packed_sequence, and pack it again afterwards if a recurrent layer "
    "follows"
)


class Rows:
    """Lengths of the rows of one packed sequence.

    Attributes:
        lengths: int64 ``[B]``.
        narrow: The same as int32, as ONNX wants them; the ``batch_sizes`` of the sequence.
        steps: Size of the time axis.
    """

    def __init__(self, lengths: Tensor, steps: Any) -> None:
        self.lengths = lengths.to(torch.int64)
        self.narrow = self.lengths.to(torch.int32)
        self.steps = steps

    @cached_property
    def valid(self) -> Tensor:
        """Which time steps count, ``[T, B, 1]``."""
        return (torch.arange(self.steps)[:, None] < self.lengths)[..., None]


class LengthList(list[Any]):
    """What ``tolist()`` of the lengths gives while tracing: fit for packing and nothing else."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        self.tensor = tensor

    def _refuse(self, *_: Any) -> Any:
        raise ModelError(
            "tolist() of a tensor is used as numbers, which the exported graph cannot know; "
            "compute with the tensor, and give it to pack_padded_sequence as it is"
        )

    __iter__ = __getitem__ = __len__ = __contains__ = __eq__ = __bool__ = _refuse
    __hash__ = None


class Packing(TorchFunctionMode):
    """Handle packing and padding in one forward pass that is traced."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._paths = {part: path for path, part in module.named_modules()}
        self._trusting = False
        self._data: dict[int, tuple[Tensor, Rows]] = {}  # by id, and kept so that ids stay theirs
        self._outputs: set[int] = set()  # ids of data that end in zeros
        self._sizes: dict[int, Rows] = {}

    def pack(
        self, x: Tensor, lengths: Any, batch_first: bool, enforce_sorted: bool
    ) -> PackedSequence:
        """Mark a padded sequence as packed; rows stay in their order."""
        if isinstance(lengths, LengthList):
            lengths = lengths.tensor
        if not isinstance(lengths, Tensor):
            raise ModelError(
                "pack_padded_sequence gets its lengths as a list, whose size would fix the batch; "
                "give them as a tensor of one integer for each row, such as an input of forward"
            )
        sequence = x.transpose(0, 1) if batch_first else _again(x)
        return self.wrap(sequence, Rows(lengths, sequence.shape[0]))

    def pad(
        self, packed: PackedSequence, batch_first: bool, value: float, total_length: Any
    ) -> tuple[Tensor, Tensor]:
        """Return the padded sequence ``[T, B, F]`` (or ``[B, T, F]``) and the lengths."""
        data, rows = self.unwrap(packed, "pad_packed_sequence")
        if total_length is not None and not statically_known_true(total_length == rows.steps):
            raise ModelError(
                f"pad_packed_sequence gets total_length={total_length}, a fixed length; leave it "
                f"out, or give the size of the time axis that was packed, such as x.shape[1]"
            )
        with self.trusting():
            done = id(data) in self._outputs and value == 0
            padded = _again(data) if done else torch.where(rows.valid, data, value)
            return padded.transpose(0, 1) if batch_first else padded, rows.lengths

    def to_list(self, tensor: Tensor, original: Callable[[Tensor], Any]) -> Any:
        """Keep the tensor of a list of integers, which may be lengths."""
        whole = tensor.ndim == 1 and not tensor.is_floating_point()
        return LengthList(tensor) if whole else original(tensor)

    @contextmanager
    def trusting(self) -> Iterator[None]:
        """Let everything be done to packed sequences in this block."""
        before, self._trusting = self._trusting, True
        try:
            yield
        finally:
            self._trusting = before

    def wrap_output(self, data: Tensor, rows: Rows) -> PackedSequence:
        """Return what a recurrent layer gave: zeros beyond the end of each row."""
        self._outputs.add(id(data))
        return self.wrap(data, rows)

    def wrap(self, data: Tensor, rows: Rows) -> PackedSequence:
        """Return ``[T, B, F]`` as a packed sequence; what is beyond the end of a row is any."""
        self._data[id(data)] = data, rows
        self._sizes[id(rows.narrow)] = rows
        packed: PackedSequence = tuple.__new__(PackedSequence, (data, rows.narrow, None, None))
        return packed

    def unwrap(self, packed: PackedSequence, where: str) -> tuple[Tensor, Rows]:
        """Return the data ``[T, B, F]`` and the lengths of a packed sequence.

        Raises:
            ModelError: It was not made by packing in this forward pass.
        """
        rows = self._sizes.get(id(packed.batch_sizes))
        if rows is None or id(packed.data) not in self._data:
            raise ModelError(
                f"{where} gets a PackedSequence that was not made from a packed one of this "
                f"forward pass; make it with pack_padded_sequence inside forward"
            )
        return packed.data, rows

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Refuse what does not treat each time step of a packed sequence by itself."""
        kwargs = dict(kwargs or {})
        if self._trusting:
            return func(*args, **kwargs)
        leaves = pytree.tree_leaves((args, kwargs))
        if any(id(leaf) in self._sizes for leaf in leaves) and not _reads(func):
            raise ModelError(
                f"{self._here()} applies {_name(func)} to the batch_sizes of a PackedSequence, "
                f"which the exported graph does not have; use the lengths that it was packed with"
            )
        found = [self._data[id(leaf)] for leaf in leaves if id(leaf) in self._data]
        if not found or _reads(func):
            return func(*args, **kwargs)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        others = [tensor for tensor in tensors if id(tensor) not in self._data]
        if not _keeps_rows(func, args, kwargs, others):
            raise ModelError(
                f"{self._here()} applies {_name(func)} to the data of a PackedSequence, which is "
                f"exported as a padded sequence; {_PAD_FIRST}"
            )
        with self.trusting():
            result = func(*args, **kwargs)
        self._data[id(result)] = result, found[0][1]
        return result

    def _here(self) -> str:
        """Name the module whose forward runs."""
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            layer = frame.f_locals.get("self")
            if isinstance(layer, nn.Module) and self._paths.get(layer):
                return f"layer {self._paths[layer]!r} ({type(layer).__name__})"
            frame = frame.f_back
        return "forward"


_active: ContextVar[Packing | None] = ContextVar("packing", default=None)


@contextmanager
def packing(module: nn.Module) -> Iterator[None]:
    """Trace packed sequences in this block, which is one forward pass of a module."""
    mode = Packing(module)
    token = _active.set(mode)
    try:
        with intercepting(mode), mode:
            yield
    finally:
        _active.reset(token)


def active() -> Packing:
    """Return what handles packed sequences in the pass that is traced."""
    mode = _active.get()
    assert mode is not None, "a rewired layer runs only while it is traced"
    return mode


def _again(x: Tensor) -> Tensor:
    """Return the same values as another object, which is or is not a packed sequence's data."""
    result: Tensor = torch.ops.aten.alias(x)
    return result


def _name(func: Callable[..., Any]) -> str:
    name = getattr(func, "__name__", str(func))
    owner = getattr(getattr(func, "__self__", None), "__name__", "?")
    return f".{owner}" if name == "__get__" else name


def _reads(func: Callable[..., Any]) -> bool:
    """Tell whether a function only looks at what a tensor is, not at its values or sizes."""
    return _name(func).removeprefix(".") in GETTERS and _name(func).startswith(".")


def _keeps_rows(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], others: list[Tensor]
) -> bool:
    """Tell whether a function does the same to each time step, packed or padded."""
    name = _name(func)
    if name in LAST_AXIS:
        return not others and -1 in (*args[1:], kwargs.get("dim"))
    if name in ELEMENTWISE:  # a vector is one value for each feature
        return all(other.ndim <= 1 for other in others)
    if name in NORMALIZING:
        shape = args[1] if len(args) > 1 else kwargs["normalized_shape"]
        return len(shape) == 1  # over the features alone
    return name in ROW_WISE
