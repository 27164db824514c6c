"""Check what tensors declare against what they hold and against a budget."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgernn.errors import ModelError
from edgernn_exporters.onnx_import.walking import graphs_of, nodes_of, sparse_of, tensors_of

_BITS = {
    getattr(TensorProto, name): bits
    for name, bits in (("INT4", 4), ("UINT4", 4), ("FLOAT4E2M1", 4), ("INT2", 2), ("UINT2", 2))
    if hasattr(TensorProto, name)
}
_FIELDS = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data")
_MEND = "the file is damaged; export it again or copy it again"


def check_tensors(model: onnx.ModelProto, budget: int) -> None:
    """Check sizes of all tensors, without allocating what they declare.

    Raises:
        ModelError: A size is negative, or not what is there, or the budget is exceeded; names the
            tensor.
    """
    total = 0
    for tensor in tensors_of(model):
        total = _within(total + declared_bytes(tensor), budget, tensor.name)
        if tensor.data_location != TensorProto.EXTERNAL:
            _check_content(tensor)
    for sparse in sparse_of(model):
        name = sparse.values.name
        for part in (sparse.values, sparse.indices):
            if part.data_location == TensorProto.EXTERNAL:
                raise ModelError(
                    f"sparse tensor {name!r} lies in another file, which is not read; save it "
                    f"as a dense tensor"
                )
            declared_bytes(part)
            _check_content(part)
        dense = TensorProto(name=name, dims=sparse.dims, data_type=sparse.values.data_type)
        total = _within(total + declared_bytes(dense), budget, name)


def declared_bytes(tensor: onnx.TensorProto) -> int:
    """Return how many bytes a tensor has by its shape and type; strings count one each.

    Raises:
        ModelError: A size is negative, or the type is unknown.
    """
    if any(size < 0 for size in tensor.dims):
        raise ModelError(f"tensor {tensor.name!r} declares shape {list(tensor.dims)}; {_MEND}")
    count: int = math.prod(tensor.dims)
    if tensor.data_type == TensorProto.STRING:
        return count
    return -(-count * bits_of(tensor.data_type, tensor.name) // 8)


def bits_of(data_type: int, name: str) -> int:
    """Return the bits of one element.

    Raises:
        ModelError: The type is unknown.
    """
    if data_type in _BITS:
        return _BITS[data_type]
    try:
        return 8 * helper.tensor_dtype_to_np_dtype(data_type).itemsize
    except KeyError:
        raise ModelError(f"tensor {name!r} has the unknown type {data_type}; {_MEND}") from None


def _within(total: int, budget: int, name: str) -> int:
    if total > budget:
        raise ModelError(
            f"with tensor {name!r} the constants of the file come to {total:,} bytes, more than "
            f"the {budget:,} that are allowed; if you trust it, allow more with --max-tensor"
        )
    return total


def _check_content(tensor: onnx.TensorProto) -> None:
    size, count = declared_bytes(tensor), math.prod(tensor.dims)
    filled = [name for name in _FIELDS if len(getattr(tensor, name))]
    what = f"tensor {tensor.name!r} declares shape {list(tensor.dims)}"
    if tensor.HasField("segment"):
        raise ModelError(f"tensor {tensor.name!r} is cut into segments, which nothing reads")
    if tensor.HasField("raw_data"):
        if filled:
            raise ModelError(f"tensor {tensor.name!r} holds its values twice; {_MEND}")
        if len(tensor.raw_data) != size or tensor.data_type == TensorProto.STRING:
            raise ModelError(f"{what}, {size:,} bytes, but holds {len(tensor.raw_data):,}; {_MEND}")
        return
    if tensor.data_type == TensorProto.STRING:
        field = "string_data"
    else:
        field = helper.tensor_dtype_to_field(tensor.data_type)
    bits = _BITS.get(tensor.data_type)
    if bits:
        count = -(-count * bits // 8)
    elif tensor.data_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        count *= 2
    held = len(getattr(tensor, field))
    if held != count or any(name != field for name in filled):
        raise ModelError(f"{what}, {count:,} values, but holds {held:,}; {_MEND}")


def densify(model: onnx.ModelProto) -> None:
    """Turn sparse initializers and constants into dense ones, in place.

    Requires that `check_tensors` and ONNX's checker, which looks at the indices, have passed.
    """
    for graph in graphs_of(model):
        graph.initializer.extend(_dense(sparse) for sparse in graph.sparse_initializer)
        del graph.sparse_initializer[:]
    for node in nodes_of(model):
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "sparse_value":
                dense = _dense(attribute.sparse_tensor)
                attribute.CopyFrom(helper.make_attribute("value", dense))


def _dense(sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    name, dims = sparse.values.name, list(sparse.dims)
    values = numpy_helper.to_array(sparse.values)
    indices = numpy_helper.to_array(sparse.indices)
    if indices.ndim == 2:  # [values, axes]
        indices = np.ravel_multi_index(tuple(indices.T), dims)
    result = np.zeros(math.prod(dims), values.dtype)
    result[indices] = values
    return numpy_helper.from_array(result.reshape(dims), name)


def mend_weights(model: onnx.ModelProto) -> int:
    """Refuse NaN in constants and set denormal float32 numbers to zero, in place.

    Returns:
        How many numbers were set to zero. They are below 1.2e-38 and slow many processors down.

    Raises:
        ModelError: A constant holds NaN, or a weight of a recurrent node is infinite.
    """
    strict = {
        name for node in nodes_of(model) if node.op_type in ("LSTM", "GRU", "RNN")
        for name in node.input[1:4]
    }  # fmt: skip
    flushed = 0
    for tensor in tensors_of(model):
        if tensor.data_type not in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16):
            continue
        value = numpy_helper.to_array(tensor)
        with np.errstate(invalid="ignore"):
            wrong = np.isnan(value) if tensor.name not in strict else ~np.isfinite(value)
        if wrong.any():
            where = [int(index) for index in np.argwhere(wrong)[0]]
            raise ModelError(
                f"tensor {tensor.name!r} holds {value[tuple(where)]} at index {where}, so the "
                f"model computes nothing; its training has diverged, or the file is damaged"
            )
        if tensor.data_type == TensorProto.FLOAT:
            small = (value != 0) & (np.abs(value) < np.finfo(np.float32).tiny)
            if small.any():
                flushed += int(small.sum())
                cleared = numpy_helper.from_array(np.where(small, np.float32(0), value))
                tensor.ClearField("float_data")
                tensor.raw_data = cleared.raw_data
    return flushed
