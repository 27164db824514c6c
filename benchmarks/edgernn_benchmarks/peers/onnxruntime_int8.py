"""Peer ``onnxruntime-int8``: ONNX Runtime's own dynamic quantization of a float32 model.

``onnxruntime.quantization.quantize_dynamic`` as it is, which is its fastest form (one scale per
channel is slower). It quantizes LSTM nodes and matrix products, and leaves GRU and RNN nodes in
float32.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from edgernn.errors import ModelError
from edgernn_benchmarks.peers.engine import INT8, import_engine, refused
from edgernn_benchmarks.peers.model import read_peer_model
from edgernn_benchmarks.peers.onnxruntime import INSTALL, open_engine, probe
from edgernn_benchmarks.peers.session import PeerSession

TOLERANCE = INT8

__all__ = ["TOLERANCE", "load", "probe", "quantize"]


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> PeerSession:
    """Quantize a model with ONNX Runtime and load it.

    Raises:
        TargetUnavailable: onnxruntime is not installed.
        ModelError: The model is quantized already, or ONNX Runtime cannot quantize or run it.
    """
    model = read_peer_model(path)
    precision = model.interface.metadata.precision
    if precision != "float32":
        raise ModelError(
            f"{path} is {precision} already; measure onnxruntime-int8 on the float32 model that it "
            f"was made from"
        )
    with TemporaryDirectory() as folder:
        file = Path(folder) / "quantized.onnx"
        quantize(model.path, file)
        return PeerSession(model, open_engine(model, file, threads), "peer:onnxruntime-int8")


def quantize(source: Path, file: Path) -> None:
    """Write ``source`` as ONNX Runtime quantizes it.

    Raises:
        TargetUnavailable: onnxruntime is not installed.
        ModelError: ONNX Runtime cannot quantize it.
    """
    quantization = import_engine("onnxruntime.quantization", install=INSTALL)
    logging.disable(logging.WARNING)  # advice to preprocess, which changes nothing for these graphs
    try:
        quantization.quantize_dynamic(source, file)
    except Exception as error:  # it raises what its parts raise
        raise refused("ONNX Runtime's quantization", source, error) from None
    finally:
        logging.disable(logging.NOTSET)
