"""What is asked of the generator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from edgernn.metadata import Metadata
from edgernn_exporters.codegen.layouts import Layout


@dataclass(frozen=True)
class Request:
    """What to build.

    Attributes:
        model: With foreign functions inlined.
        metadata: Of the model.
        name: Prefix of the constants' names.
        layout: How weights are packed.
        batch: Sequences that advance together, where the model leaves it open.
        fixed: Sizes for dynamic axes by name.
        most_steps: Most time steps of a call.
        where: File, for messages.
        timeless: True if the contract's time axes are taken as plain axes, because the graph
            fixes their size.
    """

    model: onnx.ModelProto
    metadata: Metadata
    name: str
    layout: Layout
    batch: int
    fixed: Mapping[str, int]
    most_steps: int
    where: str
    timeless: bool = False
