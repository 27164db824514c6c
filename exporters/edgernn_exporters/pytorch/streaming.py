"""Turn the hidden state of a module's recurrent layers into explicit inputs and outputs."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from edgernn.errors import ModelError
from edgernn_exporters.pytorch.rewiring import rewire


class StreamingModule(nn.Module):
    """Wrap a copy of a module so that its recurrent states are arguments and results.

    ``forward(*inputs, *states)`` returns ``(*outputs, *next_states)``, outputs flattened. It is
    made to be traced: its recurrent layers call operators that only the ONNX exporter knows.
    """

    def __init__(self, module: nn.Module, inputs: int) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).eval()
        self.inputs = inputs
        self.states, self._tape = rewire(self.module)

    def forward(self, *args: Tensor) -> tuple[Tensor, ...]:
        """Run the module; see the class for the order of arguments and results."""
        names = [state.name for state in self.states]
        self._tape.start(dict(zip(names, args[self.inputs :], strict=True)))
        outputs = flatten_outputs(self.module(*args[: self.inputs]))[1]
        return (*outputs, *self._tape.finish(names))


def flatten_outputs(result: Any) -> tuple[list[str], list[Tensor]]:
    """Flatten what a forward pass returned into names and tensors; None is left out.

    A single tensor is ``y``; dict entries keep their keys; others are ``y0``, ``y1``, …

    Raises:
        ModelError: The result holds no tensor.
    """
    leaves = [(path, leaf) for path, leaf in pytree.tree_leaves_with_path(result)
              if isinstance(leaf, Tensor)]  # fmt: skip
    if not leaves:
        raise ModelError(f"forward returned {type(result).__name__} without a tensor in it")
    if isinstance(result, Tensor):
        return ["y"], [result]
    names = [
        str(path[-1].key) if isinstance(path[-1], pytree.MappingKey) else f"y{index}"
        for index, (path, _) in enumerate(leaves)
    ]
    if len(leaves) == 1 and names == ["y0"]:
        names = ["y"]
    return names, [leaf for _, leaf in leaves]
