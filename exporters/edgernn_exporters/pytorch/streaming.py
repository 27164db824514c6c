"""Turn the hidden state of a module's recurrent layers into explicit inputs and outputs."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from edgernn_exporters.pytorch.outputs import flatten_outputs
from edgernn_exporters.pytorch.packed import packing
from edgernn_exporters.pytorch.rewiring import rewire
from edgernn_exporters.pytorch.signature import Signature
from edgernn_exporters.pytorch.sizes import open_len


class StreamingModule(nn.Module):
    """Wrap a copy of a module so that its recurrent states are arguments and results.

    ``forward(*inputs, *given, *states)`` returns ``(*outputs, *next_given, *next_states)``, outputs
    flattened. ``given`` are the arguments of the module's forward that are states as they stand.
    It is made to be traced: its recurrent layers call operators that only the ONNX exporter knows.

    Attributes:
        states: The states of the recurrent layers.
    """

    def __init__(self, module: nn.Module, signature: Signature) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).eval()
        self.states, self._tape = rewire(self.module, signature.uses)
        self._signature = signature

    def forward(self, *args: Tensor) -> tuple[Tensor, ...]:
        """Run the module; see the class for the order of arguments and results."""
        traced = self._signature
        names = [state.name for state in self.states]
        inputs = args[: len(traced.args)]
        whole = iter(args[len(inputs) : len(args) - len(names)])
        states = dict(zip(names, args[len(args) - len(names) :], strict=True))
        self._tape.start(states)
        given = [a.join(states) if a.states else next(whole) for a in traced.given]
        leaves = traced.leaves(inputs, given)
        with packing(self.module), open_len():
            outputs = flatten_outputs(traced.arguments.call(self.module, leaves))[1]
        return (
            *(outputs[place] for place in traced.outputs),
            *(outputs[argument.output] for argument in traced.given if not argument.states),
            *self._tape.finish(names),
        )
