"""Buffers that ONNX Runtime reads and writes in place, in host or device memory."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from edgernn.sessions import Array

Device = tuple[str, int]


class Buffer(Protocol):
    """Memory of fixed shape and dtype that can be bound as input or output."""

    def write(self, value: Array) -> bool:
        """Copy ``value`` in; return False if it may hold a NaN, an infinity or a huge value."""
        ...

    def read(self) -> Array:
        """Return a copy."""
        ...

    def bind_input(self, binding: Any, name: str) -> None:
        """Let the graph read input ``name`` from here."""
        ...

    def bind_output(self, binding: Any, name: str) -> None:
        """Let the graph write output ``name`` to here."""
        ...


def allocate(shape: tuple[int, ...], dtype: np.dtype[Any], device: Device) -> Buffer:
    """Allocate a zeroed buffer on ``device``, such as ``("cpu", 0)`` or ``("cuda", 0)``."""
    if device[0] == "cpu":
        return _HostBuffer(np.zeros(shape, dtype))
    return _DeviceBuffer(np.zeros(shape, dtype), device)


class _HostBuffer:
    def __init__(self, array: Array) -> None:
        self._array = array
        self._flat = array.reshape(-1)
        self._moderate = _Moderate(array.dtype, array.size) if array.dtype.kind == "f" else None

    def write(self, value: Array) -> bool:
        self._array[...] = value
        return self._moderate is None or self._moderate.holds(self._flat)

    def read(self) -> Array:
        return self._array.copy()

    def bind_input(self, binding: Any, name: str) -> None:
        array = self._array
        binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def bind_output(self, binding: Any, name: str) -> None:
        array = self._array
        binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


class _DeviceBuffer:
    def __init__(self, array: Array, device: Device) -> None:
        import onnxruntime

        self._moderate = _Moderate(array.dtype, array.size) if array.dtype.kind == "f" else None
        self._value = onnxruntime.OrtValue.ortvalue_from_numpy(array, *device)

    def write(self, value: Array) -> bool:
        host = np.ascontiguousarray(value)
        self._value.update_inplace(host)
        return self._moderate is None or self._moderate.holds(host.reshape(-1))

    def read(self) -> Array:
        array: Array = self._value.numpy()
        return array

    def bind_input(self, binding: Any, name: str) -> None:
        binding.bind_ortvalue_input(name, self._value)

    def bind_output(self, binding: Any, name: str) -> None:
        binding.bind_ortvalue_output(name, self._value)


class _Moderate:
    """Test quickly whether all values are finite and far from overflow.

    One dot product is quicker than ``np.isfinite(flat).all()`` for one step's features. Its
    factors are so small that no finite values make it overflow, and unequal, so that huge values
    of both signs hardly cancel.
    """

    def __init__(self, dtype: np.dtype[Any], size: int) -> None:
        info = np.finfo(dtype)
        unit = float(info.eps) / 8
        self._factors = (np.linspace(0.5, 1, size) * unit).astype(dtype)
        self._limit = float(info.max) ** 0.5 * unit

    def holds(self, flat: Array) -> bool:
        try:
            return bool(-self._limit < flat.dot(self._factors) < self._limit)  # False for NaN
        except RuntimeWarning:  # infinities of both signs, where warnings are errors
            return False
