"""The model file as the peers read it: what it takes, gives and remembers, and its graph."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgernn.contract import Contract, TensorSpec
from edgernn.errors import ContractError
from edgernn_exporters.onnx_files import read_model
from edgernn_runtimes.model_file import Interface, read_interface

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class PeerModel:
    """Describe a model for an engine.

    Attributes:
        interface: What it takes, gives and remembers.
        contract: Its state contract.
        proto: Its content.
    """

    interface: Interface
    contract: Contract
    proto: onnx.ModelProto

    @property
    def path(self) -> Path:
        """The file."""
        return self.interface.path

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs without states, in graph order."""
        return self.interface.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs without states, in graph order."""
        return self.interface.outputs

    @property
    def states(self) -> tuple[TensorSpec, ...]:
        """State inputs in the contract's order."""
        return self.interface.states

    @property
    def input_names(self) -> list[str]:
        """Inputs, then states."""
        return [spec.name for spec in (*self.inputs, *self.states)]

    @property
    def output_names(self) -> list[str]:
        """Outputs, then the next values of the states."""
        return [*(s.name for s in self.outputs), *(s.output for s in self.contract.states)]

    def step_shapes(self) -> dict[str, tuple[int, ...]] | None:
        """Return the shapes of one time step of one sequence; None if an axis is unknown."""
        found: dict[str, tuple[int, ...]] = {
            name: value.shape for name, value in self.interface.initial_state(1).items()
        }
        for spec in self.inputs:
            axes = self.contract.stream.inputs[spec.name]
            sizes = [1 if i in (axes.batch, axes.time) else s for i, s in enumerate(spec.shape)]
            if any(isinstance(size, str) for size in sizes):
                return None
            found[spec.name] = tuple(int(size) for size in sizes)
        return found

    def fixed(self, shapes: Shapes) -> onnx.ModelProto:
        """Return a copy whose inputs have these shapes, and whose outputs follow from them."""
        model = onnx.ModelProto()
        model.CopyFrom(self.proto)
        known: dict[str, int] = {}
        for value in model.graph.input:
            dims = value.type.tensor_type.shape.dim
            for dim, size in zip(dims, shapes.get(value.name, ()), strict=False):
                if dim.dim_param:
                    known[dim.dim_param] = size
                dim.dim_value = size
        del model.graph.value_info[:]
        for value in model.graph.output:
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_param in known:
                    dim.dim_value = known[dim.dim_param]
        return model


def read_peer_model(path: str | os.PathLike[str]) -> PeerModel:
    """Read a model file for an engine.

    Raises:
        ModelError: The file is missing, cut off or not a valid ONNX model.
        ContractError: It has no state contract.
    """
    interface = read_interface(path)
    if interface.contract is None:
        raise ContractError(
            f"{path}: no state contract, so it is not known which outputs are states; "
            f"export the model with edgernn export"
        )
    return PeerModel(interface, interface.contract, read_model(path)[0])
