"""First and last states of integer layers: int16 in the contract, or converted at the function."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edgernn.contract import ZEROS, Contract, StateSpec
from edgernn.integer.activations import LIMIT
from edgernn_exporters.quantization.graph import Floats, GraphEditor
from edgernn_exporters.quantization.recurrent import Recurrent, first_of_directions, zero_states


class States:
    """Turn float states into int16, and keep the contract in step.

    A state becomes int16 in the contract if it goes from its graph input straight to one layer and
    from that to its graph output. Every other first or last state stays float, and is converted
    next to the layer: that is exact in both directions, because one unit is a power of two.

    Args:
        contract: Of the float model, or None.
    """

    def __init__(self, contract: Contract | None) -> None:
        self._states = {state.input: state for state in contract.states} if contract else {}
        self._contract = contract

    @property
    def contract(self) -> Contract | None:
        """The contract of the quantized model."""
        if self._contract is None:
            return None
        return replace(self._contract, states=tuple(self._states.values()))

    def first(
        self, graph: GraphEditor, layer: Recurrent, index: int, units: list[float]
    ) -> tuple[list[onnx.NodeProto], list[str]]:
        """Return nodes and names of a layer's first state, int16 ``[1, B, H]`` by direction.

        Args:
            graph: To add to.
            layer: The layer.
            index: 0 for h, 1 for c.
            units: Value of one unit in each direction.
        """
        given, _ = layer.states()[index]
        directions = len(units)
        if not given:
            return zero_states(graph, layer, "int16")
        if self._is_wired(graph, layer, index, units):
            self._retype(graph, self._states[given], units[0])
            return first_of_directions(graph, given, directions)
        constant = graph.constant(given)
        if constant is not None:
            return [], [
                graph.add(f"{given}.{d}" if d else given, _rounded(constant[d : d + 1], unit))
                for d, unit in enumerate(units)
            ]
        nodes, parts = first_of_directions(graph, given, directions)
        names = []
        for part, unit in zip(parts, units, strict=True):
            limited, integer = graph.unique(f"{part}.limited"), graph.unique(f"{part}.int16")
            least = graph.add("least_state", np.array(-LIMIT * unit, np.float32))
            scale = graph.add("state_unit", np.array(unit, np.float32))
            nodes += [
                helper.make_node("Max", [part, least], [limited]),
                helper.make_node("QuantizeLinear", [limited, scale], [integer],
                                 output_dtype=TensorProto.INT16),
            ]  # fmt: skip
            names.append(integer)
        return nodes, names

    def last(
        self, graph: GraphEditor, layer: Recurrent, index: int, units: list[float],
        parts: list[str],
    ) -> list[onnx.NodeProto]:  # fmt: skip
        """Bring the last states of all directions, int16, to where the graph reads them."""
        given, output = layer.states()[index]
        if not output:
            return []
        if given in self._states and self._states[given].dtype == "int16":
            nodes = [helper.make_node("Concat", parts, [output], axis=0)]
            if graph.consumers(output):
                read = graph.unique(f"{output}.float")
                graph.read_instead(output, read)
                nodes.append(_float(graph, output, units[0], read))
            return nodes
        names = [graph.unique(f"{part}.float") for part in parts]
        return [
            *(_float(graph, *item) for item in zip(parts, units, names, strict=True)),
            helper.make_node("Concat", names, [output], axis=0),
        ]

    def _is_wired(
        self, graph: GraphEditor, layer: Recurrent, index: int, units: list[float]
    ) -> bool:
        given, output = layer.states()[index]
        state = self._states.get(given)
        return (
            state is not None
            and state.output == output
            and len(graph.consumers(given)) == 1
            and list(layer.node.input).count(given) == 1
            and not graph.is_captured(given)
            and not graph.is_captured(output)
            and len(set(units)) == 1
            and (state.init == ZEROS or graph.constant(state.init) is not None)
        )

    def _retype(self, graph: GraphEditor, state: StateSpec, unit: float) -> None:
        for name in (state.input, state.output):
            graph.retype(name, TensorProto.INT16)
        init = state.init
        if init != ZEROS:
            value = graph.constant(init)
            assert value is not None
            init = graph.add(f"{state.input}.init", _rounded(value, unit))
            if not graph.consumers(state.init) and not any(
                other.init == state.init for other in self._states.values() if other != state
            ):
                graph.drop(state.init)
        self._states[state.input] = replace(state, dtype="int16", init=init, scale=unit)


def _float(graph: GraphEditor, integer: str, unit: float, output: str) -> onnx.NodeProto:
    scale = graph.add("state_unit", np.array(unit, np.float32))
    return helper.make_node("DequantizeLinear", [integer, scale], [output])


def _rounded(value: Floats, unit: float) -> NDArray[np.int16]:
    steps: NDArray[np.int16] = np.clip(np.rint(value / unit), -LIMIT, LIMIT).astype(np.int16)
    return steps
