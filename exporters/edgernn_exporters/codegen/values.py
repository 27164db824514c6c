"""What a name in the graph stands for while it is turned into C."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgernn_exporters.codegen.dims import Dim, Shape, count

Storage = Literal["scratch", "input", "output", "state", "slice"]

C_TYPES = {
    "float32": "float", "float64": "double", "int64": "int64_t", "int32": "int32_t",
    "int16": "int16_t", "int8": "int8_t", "uint8": "uint8_t", "bool": "uint8_t",
    "uint16": "uint16_t", "uint32": "uint32_t", "uint64": "uint64_t",
}  # fmt: skip


@dataclass(eq=False)
class Buffer:
    """Memory that the emitted code reads or writes; a pointer of this name in the C function.

    Attributes:
        name: C identifier.
        c_type: C element type.
        size: Elements.
        storage: Scratch memory is planned by lifetime; the others are given. A slice is one step's
            part of another buffer, whose pointer a loop over a subgraph declares.
        same_as: The caller's buffer that this one became, so that nothing has to be copied.
    """

    name: str
    c_type: str
    size: Dim
    storage: Storage = "scratch"
    same_as: Buffer | None = None

    def become(self, other: Buffer) -> None:
        """Let this scratch buffer be the memory of an output."""
        self.storage, self.same_as = other.storage, other


@dataclass(frozen=True)
class Tensor:
    """A value that is computed at run time and lies in a buffer, row-major.

    Attributes:
        buffer: Memory.
        shape: Sizes.
        dtype: numpy name of the element type.
        offset: Element of the buffer where it begins.
    """

    buffer: Buffer
    shape: Shape
    dtype: str = "float32"
    offset: Dim = 0

    @property
    def c(self) -> str:
        """C expression of the address."""
        return f"({self.buffer.name} + {self.offset})" if self.offset != 0 else self.buffer.name

    @property
    def size(self) -> Dim:
        """Elements."""
        return count(self.shape)


@dataclass(frozen=True)
class View:
    """Elements of a buffer at any strides: what a transpose or a slice reads.

    Attributes:
        buffer: Memory.
        shape: Sizes.
        strides: Elements from one index to the next on each axis; 0 repeats, below 0 goes back.
        dtype: numpy name of the element type.
        offset: Element of the buffer that index 0 reads.
    """

    buffer: Buffer
    shape: Shape
    strides: Shape
    dtype: str = "float32"
    offset: Dim = 0


@dataclass(frozen=True)
class Constant:
    """A value that is known at compile time."""

    array: NDArray[Any]

    @property
    def shape(self) -> Shape:
        """Sizes."""
        return tuple(int(size) for size in self.array.shape)

    @property
    def dtype(self) -> str:
        """Numpy name of the element type."""
        return str(self.array.dtype.name)


@dataclass(frozen=True)
class Symbolic:
    """Integers of which some depend on the time steps: results of shape arithmetic.

    Attributes:
        values: The elements.
        shape: ``()`` for one number, or ``(n,)``.
    """

    values: tuple[Dim, ...]
    shape: tuple[int, ...]
    dtype: str = "int64"


_SHOWN = 4

Operand = Tensor | View | Constant


@dataclass(frozen=True)
class Lazy:
    """An elementwise expression that is not computed until something else needs it.

    Attributes:
        code: C expression with ``{0}``, ``{1}`` … for the elements of ``operands``.
        operands: What is read, each broadcast to ``shape``.
        shape: Result shape.
        dtype: Result element type.
        labels: The nodes it comes from, for the comment.
    """

    code: str
    operands: tuple[Operand, ...]
    shape: Shape
    dtype: str
    labels: tuple[str, ...] = ()

    @property
    def buffers(self) -> list[Buffer]:
        """Memory that is read."""
        return [item.buffer for item in self.operands if not isinstance(item, Constant)]

    @property
    def comment(self) -> str:
        """C comment with the nodes, as a line; empty without any."""
        if not self.labels:
            return ""
        shown = (
            self.labels
            if len(self.labels) <= _SHOWN
            else (*self.labels[: _SHOWN - 1], f"{len(self.labels) - _SHOWN} more", self.labels[-1])
        )
        return f"/* {', '.join(shown)} */\n"

    @property
    def plain(self) -> bool:
        """True if it computes nothing: a view of memory, or one number for all elements."""
        return self.code == "{0}" or not self.operands


Value = Tensor | Constant | Symbolic | Lazy


@dataclass(frozen=True)
class Statement:
    """A piece of the emitted function.

    Attributes:
        code: C statements over the buffers' names.
        reads: Buffers read.
        writes: Buffers written.
    """

    code: str
    reads: tuple[Buffer, ...]
    writes: tuple[Buffer, ...]


@dataclass
class Weights:
    """Constants of the emitted file, in order, each stored once.

    Attributes:
        arrays: C identifier to array.
    """

    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)
    _known: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    def add(self, name: str, array: NDArray[Any]) -> str:
        """Store an array under ``name`` (unique already) and return the name to use."""
        key = (array.dtype.name, array.shape, np.ascontiguousarray(array).tobytes())
        if key not in self._known:
            self._known[key] = name
            self.arrays[name] = np.ascontiguousarray(array)
        return self._known[key]

    def keep(self, names: set[str]) -> None:
        """Leave out the constants that are not among ``names``."""
        self.arrays = {name: array for name, array in self.arrays.items() if name in names}

    @property
    def tables(self) -> tuple[dict[Any, Any], ...]:
        """What `add` changes."""
        return self.arrays, self._known

    @property
    def bytes(self) -> int:
        """Size of all constants."""
        return sum(array.nbytes for array in self.arrays.values())
