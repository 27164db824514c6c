"""How integer weights lie in ONNX files: unsigned, with the zero point in the middle.

ONNX Runtime's product of unsigned with signed bytes saturates on processors without VNNI
(docs/decisions/0003), so -128…127 is stored as 0…255, and -8…7 in 4 bits as 0…15.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray


def stored(values: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Return signed weights of 8 or 4 bits as the unsigned numbers of the file."""
    offset = np.uint8(1 << (bits - 1))
    unsigned: NDArray[np.uint8] = values.view(np.uint8) + offset  # wraps, as it should
    return unsigned


def nibbles(name: str, unsigned: NDArray[np.uint8]) -> onnx.TensorProto:
    """Return a UINT4 tensor: two numbers a byte, the first in the low bits."""
    flat = unsigned.reshape(-1)
    if flat.size % 2:
        flat = np.append(flat, np.uint8(0))
    packed = flat[::2] | (flat[1::2] << 4)
    return onnx.TensorProto(
        name=name,
        dims=unsigned.shape,
        data_type=onnx.TensorProto.UINT4,
        raw_data=packed.tobytes(),
    )
