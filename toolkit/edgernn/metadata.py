"""What an ONNX file says about itself: contract, task, preprocessing, precision, lineage.

All of it travels in the file's ``metadata_props`` under ``edgernn.*`` keys with JSON values, so
that each stage of the pipeline knows what it needs from the file alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgernn.contract import Contract
from edgernn.errors import ContractError

PREFIX = "edgernn."
_SIMPLE_KEYS: dict[str, type] = {
    "task": str, "preprocessing": dict, "precision": str, "parent": str, "tools": dict,
    "gate": dict, "layers": dict, "ranges": dict, "unproven": str, "pair": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Metadata:
    """Hold the ``edgernn.*`` metadata of one model.

    Attributes:
        contract: State contract, or None for a file that carries none.
        task: Name of the training task, or None.
        preprocessing: What turns a user's file into the model's input, or None.
        precision: ``"float32"``, ``"int8-dynamic"``, …; of a quantized file that of its quantized
            layers, or ``"mixed"`` where they differ.
        parent: SHA-256 of the file or checkpoint this one was made from, or None.
        tools: Versions of the tools that wrote the file.
        gate: Result of the export gate: cases, largest error and tolerance; or None.
        layers: Precision of each layer of a quantized file, by name.
        ranges: Ranges of the layers that were found in training (`edgernn.integer.ranges`).
        unproven: Why nothing shows that the file computes what it was made from, such as
            ``"exported with --no-gate"``; None for a proven file.
        pair: Of a decoder, its link to the file of its encoder; or None.
    """

    contract: Contract | None = None
    task: str | None = None
    preprocessing: Mapping[str, Any] | None = None
    precision: str = "float32"
    parent: str | None = None
    tools: Mapping[str, str] = field(default_factory=dict)
    gate: Mapping[str, Any] | None = None
    layers: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, Any] | None = field(default=None, repr=False)  # pages of numbers
    unproven: str | None = None
    pair: Mapping[str, Any] | None = None

    def to_props(self) -> dict[str, str]:
        """Return the key-value pairs for ``metadata_props``."""
        values: dict[str, Any] = {key: getattr(self, key) for key in _SIMPLE_KEYS}
        if self.contract is not None:
            values["state"], values["stream"] = self.contract.to_json()
        return {
            PREFIX + key: json.dumps(value, separators=(",", ":"), sort_keys=True, default=dict)
            for key, value in values.items()
            if value is not None and value != {}
        }

    @staticmethod
    def from_props(props: Mapping[str, str], where: str) -> Metadata:
        """Read the metadata of a file; keys of other programs are ignored.

        Args:
            props: The file's ``metadata_props``.
            where: File name for messages.

        Raises:
            ContractError: A value is not JSON or of the wrong type, or the contract is malformed.
        """
        values: dict[str, Any] = {}
        for key, text in props.items():
            if not key.startswith(PREFIX):
                continue
            try:
                values[key.removeprefix(PREFIX)] = json.loads(text)
            except (ValueError, RecursionError):
                raise ContractError(
                    f"{where}: metadata {key!r} is not JSON; export the model again"
                ) from None
        if ("state" in values) != ("stream" in values):
            raise ContractError(
                f"{where}: edgernn.state and edgernn.stream belong together, and one is missing; "
                f"export the model again"
            )
        contract = None
        if "state" in values:
            contract = Contract.from_json(values["state"], values["stream"], where)
        known = {key: values[key] for key in _SIMPLE_KEYS if values.get(key) is not None}
        for key, value in known.items():
            if not isinstance(value, _SIMPLE_KEYS[key]):
                raise ContractError(
                    f"{where}: metadata {PREFIX + key!r} is {value!r}, not of type "
                    f"{_SIMPLE_KEYS[key].__name__}; export the model again"
                )
        return replace(Metadata(), contract=contract, **known)
