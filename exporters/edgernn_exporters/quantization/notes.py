"""What a user should know about the ranges that a file was quantized with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import onnx

from edgernn.integer import INTEGER, Ranges
from edgernn_exporters.onnx_bodies import inner_nodes
from edgernn_exporters.onnx_nodes import is_standard
from edgernn_exporters.quantization.layers import FLOAT, name_of

_MOST_BEYOND = 0.5
_MULTIPLY = ("MatMul", "Gemm")
_LAYERS = ("LSTM", "GRU", "RNN", "Conv", "ConvTranspose", *_MULTIPLY)
_NOT_TRAINED = "so the integers are not the ones that were trained"


def notes(
    layers: Mapping[str, str], given: Ranges | None, trained: Ranges | None
) -> tuple[str, ...]:
    """Say where the ranges are not what one may think.

    Args:
        layers: The precision that each layer got, by name.
        given: Ranges from calibration, if there are any.
        trained: Ranges that training left in the float file, if there are any.

    Returns:
        One sentence for each finding.

    Example:
        >>> notes({"rnn": "fp16"}, Ranges({}, "minmax", 1, 100), None)[0][:37]
        'the calibration data are not used: no'
    """
    integer = [name for name, precision in layers.items() if precision in INTEGER]
    found = [*_of_training(layers, trained)] if trained is not None else []
    if given is None:
        return tuple(found)
    if not integer:
        found.append(f"the calibration data are not used: no layer has {' or '.join(INTEGER)}")
    elif trained is not None:
        found.append(
            f"the ranges of the calibration replace those from training, {_NOT_TRAINED}; leave "
            f"out --calibration to get those"
        )
    return (*found, *_of_scale(integer, given))


def within_bodies(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Say which layers stay float32 because a body of a Scan, Loop or If holds them.

    Args:
        graph: Of the float model.

    Returns:
        One sentence for each body that holds some.
    """
    found: dict[str, list[str]] = {}
    for inner in inner_nodes(graph):
        node = inner.node
        if not is_standard(node, *_LAYERS):
            continue
        weights = node.input[:2] if node.op_type in _MULTIPLY else node.input[1:2]
        if inner.known.intersection(weights):
            found.setdefault(inner.within, []).append(f"{node.op_type} {name_of(node)}")
    return tuple(
        f"{', '.join(names)} within {within} {'stays' if len(names) == 1 else 'stay'} float32: "
        f"only layers outside the bodies of Scan, Loop and If are quantized"
        for within, names in found.items()
    )


def _of_training(layers: Mapping[str, str], trained: Ranges) -> Iterator[str]:
    others: dict[tuple[str, str], list[str]] = {}
    for name, got in layers.items():
        wanted = trained.precisions.get(name, got)
        if got not in (wanted, FLOAT):  # what stays float is listed with its reason
            others.setdefault((wanted, got), []).append(name)
    for (wanted, got), names in others.items():
        yield (
            f"{', '.join(names)}: trained for {wanted} and quantized to {got}, "
            f"{_NOT_TRAINED}; use --precision {wanted} to get those"
        )


def _of_scale(integer: list[str], given: Ranges) -> Iterator[str]:
    for name in integer:
        share = given.saturation.get(name, {}).get("pre_activation", 0.0)
        if share > _MOST_BEYOND:
            yield (
                f"{share:.0%} of the pre-activations of {name} are beyond ±8; the calibration "
                f"data may be on another scale than what the model was trained on"
            )
