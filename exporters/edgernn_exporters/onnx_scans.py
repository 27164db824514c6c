"""The Scan of opset 8, written with that of opset 9.

Source: the ONNX operators Scan-8 and Scan-9.
"""

from __future__ import annotations

import onnx
from onnx import helper


def is_batched(node: onnx.NodeProto) -> bool:
    """Tell whether a Scan of a graph of opset 8 has that opset's form; `unbatched` has not."""
    return node.op_type == "Scan" and not any(a.name.startswith("scan_") for a in node.attribute)


def unbatched(node: onnx.NodeProto) -> onnx.NodeProto:
    """Return a Scan-8 as a Scan-9 over the rows of the batch, around a Scan-9 over time.

    Args:
        node: All its values have a batch axis in front, its first input is ``sequence_lens``.

    Raises:
        ValueError: It takes sequence_lens, which has no other form.
    """
    lengths, *names = node.input
    if lengths:
        raise ValueError("it takes sequence_lens")
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    body, many = given["body"], int(given["num_scan_inputs"])
    prefix = next(name for name in node.output if name)
    inputs = [f"{prefix} row {place}" for place in range(len(names))]
    outputs = [f"{prefix} of row {place}" for place in range(len(node.output))]
    over_time = helper.make_node(
        "Scan", inputs, outputs, name=node.name and f"{node.name}/time", body=body,
        num_scan_inputs=many,
        scan_input_directions=[int(item) for item in given.get("directions") or [0] * many],
    )  # fmt: skip
    row = helper.make_graph(
        [over_time],
        "row",
        [_of_type(name, value) for name, value in zip(inputs, body.input, strict=True)],
        [_of_type(name, value) for name, value in zip(outputs, body.output, strict=True)],
    )
    return helper.make_node(
        "Scan", names, list(node.output), name=node.name, body=row, num_scan_inputs=len(names),
        scan_input_directions=[0] * len(names),
    )  # fmt: skip


def _of_type(name: str, value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """Describe a value of the type of another one, whatever its shape."""
    kind = value.type.tensor_type.elem_type or onnx.TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, None)
