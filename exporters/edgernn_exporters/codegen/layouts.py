"""How weights are laid out for each target, and what the target has room for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgernn.errors import UsageError


@dataclass(frozen=True)
class Layout:
    """Say how constants are packed for a processor (see the kernel headers).

    Attributes:
        f32_rows: Rows of a block of float weights.
        i8_rows: Rows of a block of 8-bit weights.
        i8_depth: Consecutive inputs of one row in a block.
        i16_depth: Likewise where inputs have 16 bits.
        i8_wide: True if 8-bit inputs are kept as 16 bits and rows of weights in pairs, for SMLAD.
        sums: True if the kernels want the sum of each row of 8-bit weights.
        chunk: Time steps that a call processes at once, unless told otherwise.
    """

    f32_rows: int
    i8_rows: int
    i8_depth: int
    i16_depth: int
    i8_wide: bool
    sums: bool
    chunk: int

    def pack_f32(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pack weights ``[N, K]`` to ``[ceil(N/ROWS), K, ROWS]``, missing rows zero."""
        n, k = rows.shape
        blocks = -(-n // self.f32_rows)
        padded = np.zeros((blocks * self.f32_rows, k), np.float32)
        padded[:n] = rows
        return padded.reshape(blocks, self.f32_rows, k).transpose(0, 2, 1).copy()

    def pack_i8(self, rows: NDArray[np.int8]) -> NDArray[np.int8]:
        """Pack weights ``[N, K]`` to ``[ceil(N/ROWS), ceil(K/DEPTH), ROWS, DEPTH]``.

        For SMLAD (``i8_wide``) the bytes of a block of 4 rows and 4 inputs are 16-bit numbers
        ``[2 pairs of rows][inputs 0, 2, 1, 3]``, each ``w(even row) + 256 * w(odd row)``.
        """
        split = self._blocks(rows, self.i8_depth)
        if not self.i8_wide:
            return split.transpose(0, 2, 1, 3).copy()
        return self._pairs(split[..., [0, 2, 1, 3]])

    def pack_i4(self, rows: NDArray[np.int8]) -> NDArray[np.uint8]:
        """Pack weights ``[N, K]`` within ±7 to ``[ceil(N/ROWS), ceil(K/(2*DEPTH)), ROWS, DEPTH]``.

        A byte holds two weights, plus 8: that of input d in the low half, that of input DEPTH + d
        of the group in the high half. For SMLAD (``i8_wide``) 16 bits hold one input of 4 rows,
        ``[ROWS/4][inputs 0, 2, 1, 3, 4, 6, 5, 7]``, the last row not plus 8 but signed.
        """
        split = self._blocks(rows, 2 * self.i8_depth).transpose(0, 2, 1, 3) + 8
        if self.i8_wide:
            fours = split.astype(np.uint16).reshape(*split.shape[:2], -1, 4, split.shape[-1])
            shifts = np.array([[0], [4], [8], [12]], np.uint16)
            words = (fours << shifts).sum(axis=-2, dtype=np.uint16)
            words = words[..., [0, 2, 1, 3, 4, 6, 5, 7]] ^ np.uint16(1 << 15)
            return np.ascontiguousarray(words, dtype="<u2").view(np.uint8)
        low, high = split[..., : self.i8_depth], split[..., self.i8_depth :]
        return np.ascontiguousarray(low | high << 4).astype(np.uint8)

    def pack_w8a16(self, rows: NDArray[np.int8]) -> NDArray[np.int8]:
        """Pack weights ``[N, K]`` to ``[ceil(N/ROWS), ceil(K/DEPTH), ROWS, DEPTH]``.

        For SMLALD (``i8_wide``) as `pack_i8`, with the inputs in their order.
        """
        split = self._blocks(rows, self.i16_depth)
        if self.i8_wide:
            return self._pairs(split)
        return np.ascontiguousarray(split.transpose(0, 2, 1, 3))

    def row_sums(self, rows: NDArray[np.int8]) -> NDArray[np.int32] | None:
        """Return what the kernels want to know of each row, or None where they want nothing.

        Hosts: the sum of its weights, for products of unsigned with signed bytes. SMLAD: for even
        rows, minus the sum of the products of its weights of inputs 2i and 2i + 1.
        """
        if self.sums:
            sums: NDArray[np.int32] = rows.sum(axis=1, dtype=np.int32)
            return sums
        if not self.i8_wide:
            return None
        n, k = rows.shape
        wide = np.zeros((n, k + k % 2), np.int32)
        wide[:, :k] = rows
        products: NDArray[np.int32] = -(wide[:, 0::2] * wide[:, 1::2]).sum(axis=1, dtype=np.int32)
        products[1::2] = 0
        return products

    def _pairs(self, split: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return ``w(even row) + 256 * w(odd row)`` of what `_blocks` returns."""
        even, odd = split[:, 0::2].astype(np.int16), split[:, 1::2].astype(np.int16)
        paired = (even + 256 * odd).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(paired, dtype="<i2").view(np.int8)

    def _blocks(self, rows: NDArray[np.int8], depth: int) -> NDArray[np.int8]:
        n, k = rows.shape
        blocks, groups = -(-n // self.i8_rows), -(-k // depth)
        padded = np.zeros((blocks * self.i8_rows, groups * depth), np.int8)
        padded[:n, :k] = rows
        return padded.reshape(blocks, self.i8_rows, groups, depth)


_HOST = Layout(16, 16, 4, 2, i8_wide=False, sums=True, chunk=32)
_BOARD = Layout(16, 16, 4, 2, i8_wide=False, sums=False, chunk=32)
_DSP = Layout(4, 4, 4, 4, i8_wide=True, sums=False, chunk=4)
_HELIUM = Layout(4, 4, 16, 8, i8_wide=False, sums=False, chunk=4)
_PLAIN = Layout(4, 4, 4, 4, i8_wide=False, sums=False, chunk=4)

LAYOUTS = {
    "native": _HOST,
    "cortex-m4": _DSP,
    "cortex-m7": _DSP,
    "cortex-m55": _HELIUM,
    "riscv32": _PLAIN,
    "aarch64": _BOARD,
    "armv7": _BOARD,
}


def layout_of(target: str) -> Layout:
    """Return the layout of a target.

    Raises:
        UsageError: C is not generated for it.
    """
    if target not in LAYOUTS:
        raise UsageError(f"no C is generated for target {target!r}; choose {', '.join(LAYOUTS)}")
    return LAYOUTS[target]
