"""Other engines on the same model in the same run: what ``edgernn bench --peer`` measures.

Each module uses its engine as a good user of it would, for one step as well as for whole
sequences: memory that is bound once, states that stay in the engine's own tensors, programs made
for fixed shapes where the engine is fastest so. None of them checks its inputs in a step.

To add one: write a module with ``load(path, *, threads) -> PeerSession``, ``probe() -> Probe`` and
``TOLERANCE``; add a line to `PEERS`.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from edgernn.errors import UsageError

PREFIX = "peer:"
"""What the target of a peer's row begins with, as in ``peer:openvino``."""

PEERS = {
    "onnxruntime": "edgernn_benchmarks.peers.onnxruntime",
    "onnxruntime-int8": "edgernn_benchmarks.peers.onnxruntime_int8",
    "torch": "edgernn_benchmarks.peers.torch",
    "openvino": "edgernn_benchmarks.peers.openvino",
    "tract": "edgernn_benchmarks.peers.tract",
    "emx": "edgernn_benchmarks.peers.emx",
}
"""From the name of an engine to the module that runs it."""


def peer_module(name: str) -> ModuleType:
    """Import the module of an engine, named with or without `PREFIX`.

    Raises:
        UsageError: There is no such peer.
    """
    plain = name.removeprefix(PREFIX)
    if plain not in PEERS:
        raise UsageError(f"unknown peer {plain!r}; the peers are {', '.join(PEERS)}")
    return import_module(PEERS[plain])
