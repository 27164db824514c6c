"""Follow the time axis through a graph: what every operator's rule may ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgernn.contract import Contract
from edgernn_exporters.causal.sizes import Size, Sizes
from edgernn_exporters.causal.values import (
    Array,
    Mixed,
    Timed,
    Unstreamable,
    Value,
    described,
    refusal,
)
from edgernn_exporters.causal.writer import Writer, one_row
from edgernn_exporters.onnx_graphs import fold
from edgernn_exporters.onnx_nodes import name_of, subgraphs


class Walk:
    """What is known of the values of a graph, and the graph that is written from it.

    Args:
        model: Only read.
        contract: Its contract.

    Attributes:
        sizes: Of all tensors of the model.
        writer: The new graph.
    """

    def __init__(self, model: onnx.ModelProto, contract: Contract) -> None:
        self.sizes = Sizes(model, contract)
        self.writer = Writer(model, contract)
        self._model = model
        self._values: dict[str, Value] = {}
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._arrays: dict[str, Array] = {}

    # What is known

    def define(self, name: str, value: Value) -> None:
        """Say what a name of the model stands for; one without a value reads no sequence."""
        self._values[name] = value

    def value(self, name: str) -> Value | None:
        """Return what is known of a value, or None if it is the same in every call."""
        return self._values.get(name)

    def timed(self, name: str) -> Timed | None:
        """Return a value if it is a sequence."""
        value = self._values.get(name)
        return value if isinstance(value, Timed) else None

    def known(self, name: str) -> Array | None:
        """Return the value of a constant, with a batch of 1 where it is repeated for the batch."""
        if name not in self._arrays and name in self._constants:
            self._arrays[name] = numpy_helper.to_array(self._constants[name])
        return self._arrays.get(name)

    def know(self, name: str, array: Array) -> None:
        """Say that a value is constant."""
        self._arrays[name] = array

    def integers(self, name: str) -> list[int] | None:
        """Return the integers of a constant, or None."""
        array = self.known(name) if name else None
        return None if array is None else [int(item) for item in array.reshape(-1)]

    def shape(self, name: str) -> tuple[Size, ...]:
        """Return the sizes of a value that is a sequence."""
        found = self.sizes.shape(name)
        assert found is not None, name  # only values of known shape are taken for sequences
        return found

    def runs_along(self, name: str, axis: int) -> bool:
        """Tell whether a value is known to have time at an axis."""
        shape = self.sizes.shape(name)
        return shape is not None and 0 <= axis < len(shape) and shape[axis].is_time

    def dtype(self, name: str) -> np.dtype[Any]:
        """Return the element type of a value."""
        return np.dtype(helper.tensor_dtype_to_np_dtype(self.sizes.dtypes[name]))

    def folded(self, node: onnx.NodeProto) -> bool:
        """Compute a node whose inputs are all constant; False if they are not."""
        if not node.input or any(True for _ in subgraphs(node)):
            inputs: dict[str, Array] | None = {} if node.op_type == "Constant" else None
        else:
            found = {name: self.known(name) for name in node.input if name}
            constant = all(array is not None for array in found.values())
            inputs = {n: a for n, a in found.items() if a is not None} if constant else None
        if inputs is None:
            return False
        for name, array in (fold(node, inputs, self._model) or {}).items():
            self.know(name, array)
        return True

    def evaluated(
        self, node: onnx.NodeProto, given: Mapping[str, Array], source: onnx.NodeProto
    ) -> dict[str, Array]:
        """Compute the frames of a node that need no input.

        Args:
            node: Node of the new graph.
            given: Its inputs that are such frames; the others have to be constant.
            source: The model's node, for messages.
        """
        inputs = dict(given)
        for name in node.input:
            if name and name not in inputs:
                array = self.known(name)
                if array is None:
                    raise refusal(
                        f"{described(source)} combines frames from before the first input with "
                        f"{name!r}, which is known only when the model runs",
                        "pad right before each convolution instead of once before several",
                    )
                inputs[name] = array
        found = fold(node, inputs, self._model)
        if found is None:
            raise refusal(
                f"{described(source)} gets frames from before the first input, and what it makes "
                f"of them cannot be computed ahead",
                "pad right before each convolution instead of once before several",
            )
        return found

    # Nodes of the new graph

    def keep(
        self,
        node: onnx.NodeProto,
        inputs: Mapping[str, str],
        *,
        attributes: Mapping[str, Any] | None = None,
        drop: Sequence[str] = (),
    ) -> onnx.NodeProto:
        """Add a copy of a node.

        Args:
            node: The model's node.
            inputs: New names for some of its inputs.
            attributes: To change.
            drop: Attributes to leave out.
        """
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [inputs.get(name, name) for name in node.input]
        gone = {*drop, *(attributes or {})}
        kept = [item for item in copy.attribute if item.name not in gone]
        kept += [helper.make_attribute(key, value) for key, value in (attributes or {}).items()]
        del copy.attribute[:]
        copy.attribute.extend(kept)
        self.writer.nodes.append(copy)
        return copy

    def delayed(self, name: str, value: Timed, count: int, label: str) -> Timed:
        """Hold a sequence back; ``name`` is a value of the model with its sizes."""
        label = value.label if value.late < 0 and value.label else label
        return self.writer.delayed(
            value, count, self.shape(name), self.sizes.dtypes[name], label
        )  # fmt: skip

    def aligned(self, name: str, reader: str, label: str) -> str:
        """Return the tensor whose frame i belongs to input i.

        Args:
            name: A sequence of the model.
            reader: Who needs it so, for messages.
            label: Name for a cache, if nothing better is known.

        Raises:
            ModelError: It looks ahead, or has more or fewer frames than the inputs.
        """
        value = self.timed(name)
        assert value is not None
        if value.late > 0:
            steps = "step" if value.late == 1 else "steps"
            raise refusal(
                f"{value.cause} looks {value.late} time {steps} ahead",
                "pad its past only (with (kernel - 1) * dilation frames) and not its future",
            )
        if value.extra:
            more = "more" if value.extra > 0 else "fewer"
            raise refusal(
                f"{reader} gets {abs(value.extra)} {more} frames than there are inputs"
                + (f" from {value.cause}" if value.cause else ""),
                "pad or cut so that there is one frame for each input",
            )
        return self.delayed(name, value, -value.late, label).name

    def aligned_inputs(self, node: onnx.NodeProto, names: Sequence[str]) -> dict[str, str]:
        """Return new names for those inputs of a node that are sequences, each aligned."""
        return {
            name: self.aligned(name, described(node), name_of(node))
            for name in dict.fromkeys(names)
            if self.timed(name) is not None
        }

    def require_usable(self, node: onnx.NodeProto, names: Sequence[str]) -> None:
        """Raise the refusal of an input that only its shape may be used of."""
        for name in names:
            value = self._values.get(name)
            if isinstance(value, Unstreamable):
                raise refusal(value.reason)

    def results(self, node: onnx.NodeProto, *, timed: bool = True) -> None:
        """Define a node's outputs by their sizes, where each frame comes from the aligned inputs.

        Args:
            node: The model's node.
            timed: False if an output with one time axis is no sequence all the same.
        """
        for name in node.output:
            if not name:
                continue
            shape = self.sizes.shape(name)
            growing = [] if shape is None else [i for i, size in enumerate(shape) if size.grows]
            if shape is not None and not growing:
                continue
            self.define(name, Mixed())
            if shape is not None and len(growing) == 1 and timed:
                size = shape[growing[0]]
                if size.is_time and size.base == 0:
                    self.define(name, Timed(name, growing[0], label=name_of(node)))

    def empty_frames(self, name: str, axis: int, count: int, fill: Any) -> Array:
        """Return ``count`` frames of one value for a sequence of the model."""
        return np.full(one_row(self.shape(name), axis, count), fill, self.dtype(name))
