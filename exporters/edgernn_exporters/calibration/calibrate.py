"""Find the ranges of a float model's layers by running it on real sequences."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from edgernn.contract import Axes
from edgernn.errors import InputError, ModelError, UsageError
from edgernn.integer import LayerRange, Ranges
from edgernn.metadata import Metadata
from edgernn.sessions import Array, Session
from edgernn.tasks.base import DataSource
from edgernn_exporters.calibration.cache import cached
from edgernn_exporters.calibration.capture import Captured, capture, write_capturing
from edgernn_exporters.calibration.decoders import decoder_play, encoder_for
from edgernn_exporters.calibration.layers import Layer, find_layers
from edgernn_exporters.calibration.methods import METHODS, SAMPLED, choose
from edgernn_exporters.calibration.recurrence import RecurrenceStatistics
from edgernn_exporters.calibration.sequences import SAMPLES, read_sequences
from edgernn_exporters.calibration.statistics import RowStatistics
from edgernn_exporters.onnx_files import read_model
from edgernn_exporters.quantization.ties import untie

DEFAULT_METHOD = "minmax"
FEWEST_STEPS = 100
"""Least number of time steps in all: of fewer, the largest value seen says little of the next."""


def calibrate(
    source: str | os.PathLike[str],
    sequences: Iterable[Mapping[str, Array]],
    *,
    method: str = DEFAULT_METHOD,
    encoder: str | os.PathLike[str] | None = None,
    load: Callable[[Path], Session],
) -> Ranges:
    """Run a float model on real sequences and return the ranges of its layers.

    Each sequence starts at the initial state and is run with the state fed back, in chunks if the
    model is causal, so that memory does not grow with its length.

    Args:
        source: ONNX file in float32, with or without a state contract.
        sequences: Inputs by name; states are not among them. They may differ in length. Of a
            decoder: see `decoder_play`.
        encoder: ONNX file of the encoder, where ``source`` is the decoder of a pair.
        method: ``"minmax"``, ``"percentile"`` (leaves out 0.01 % at each end of each channel) or
            ``"mse"`` (least squared error at 8 bits).
        load: Opens an ONNX file, such as ``partial(edgernn.load, threads=1)``.

    Returns:
        Ranges for each layer that can be quantized. Saturation in them is exact but for
        ``"input"``, which is that of a uniform sample where a layer had very many inputs.

    Raises:
        UsageError: There is no such method, or a decoder comes without its encoder.
        ModelError: The file cannot be read, is quantized already, has no layer to calibrate, or
            its layers give NaN or infinity.
        InputError: There are too few time steps, or a sequence does not fit the model.

    Example:
        >>> calibrate("kw.onnx", [{"x": features}], load=edgernn.load).layers["gru"].low
    """
    if method not in METHODS:
        raise UsageError(f"unknown method {method!r}; there are {', '.join(METHODS)}")
    with tempfile.TemporaryDirectory(prefix="edgernn-") as folder:
        path = Path(folder) / "captured.onnx"
        layers, metadata = _prepare(source, path)
        found = {layer.name: _LayerStatistics(layer, method) for layer in layers}
        counter = _Counter(metadata)
        with ExitStack() as opened:
            play = None
            if (path_encoder := encoder_for(source, metadata, encoder)) is not None:
                reader = opened.enter_context(closing(load(path_encoder)))
                play = decoder_play(source, path_encoder, reader)
            calls = opened.enter_context(
                closing(capture(path, layers, counter.count(sequences), load, play))
            )
            for number, captured in calls:
                for name, item in captured.items():
                    found[name].add(item, number)
    steps = counter.steps or max(item.inputs.rows for item in found.values())
    _require_enough(counter.sequences, steps)
    chosen = {name: item.range() for name, item in found.items()}
    return Ranges(
        layers=chosen,
        method=method,
        sequences=counter.sequences,
        steps=steps,
        saturation={name: item.saturation(chosen[name]) for name, item in found.items()},
    )


def _prepare(source: str | os.PathLike[str], path: Path) -> tuple[tuple[Layer, ...], Metadata]:
    """Write the model with further outputs; the model itself is not kept in memory.

    Weights are copied out of the model only after it was written, which takes twice its size.
    """
    model, metadata = read_model(source)
    if metadata.precision != "float32":
        raise ModelError(
            f"{source} has precision {metadata.precision} already; calibrate the float32 file that "
            f"it was made from"
        )
    untie(model, lambda node: True)  # as the quantization may
    outline = tuple(replace(layer, recurrent=None) for layer in find_layers(model))
    if not outline:
        raise ModelError(
            f"{source}: nothing to calibrate: it has no LSTM, GRU, RNN, MatMul, Gemm or Conv with "
            f"constant float32 weights"
        )
    write_capturing(model, metadata, outline, path)
    layers = zip(outline, find_layers(model), strict=True)
    return tuple(replace(new, name=old.name) for old, new in layers), metadata


def calibrate_file(
    source: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    method: str = DEFAULT_METHOD,
    samples: int = SAMPLES,
    data_source: DataSource | None = None,
    encoder: str | os.PathLike[str] | None = None,
    load: Callable[[Path], Session],
) -> Ranges:
    """Calibrate on a file or a task's data, and keep the ranges in ``SOURCE.calibration.json``.

    Args:
        source: ONNX file in float32.
        data: npz, recordings or ``task:NAME`` (see `read_sequences`).
        method: See `calibrate`.
        samples: How many sequences to take.
        data_source: For ``task:NAME``, where the data comes from.
        encoder: See `calibrate`.
        load: Opens an ONNX file.

    Raises:
        UsageError, ModelError, InputError: As `calibrate` and `read_sequences`.

    Example:
        >>> calibrate_file("kw.onnx", "task:keywords", load=edgernn.load).steps
    """
    metadata = read_model(source)[1]
    path_encoder = encoder_for(source, metadata, encoder)
    sequences = read_sequences(data, metadata, samples=samples, source=data_source)
    run = partial(calibrate, source, sequences, method=method, encoder=encoder, load=load)
    return cached(source, sequences, method, run, encoder=path_encoder)


class _Counter:
    """Count sequences and time steps as far as the metadata says where they are."""

    def __init__(self, metadata: Metadata) -> None:
        contract = metadata.contract
        self._lengths = contract.stream.lengths if contract else None
        self._places = dict(contract.stream.inputs) if contract else {}
        if metadata.pair is not None:  # its sequences have the encoder's inputs, and tokens
            self._places = {metadata.pair["token"]: Axes(batch=0, time=1)}
        self.sequences = 0
        self.steps = 0

    def count(self, sequences: Iterable[Mapping[str, Array]]) -> Iterable[Mapping[str, Array]]:
        places = self._places
        for inputs in sequences:
            yield inputs  # counted when the run that checks it is over
            rows = [inputs[name].shape[place.batch] for name, place in places.items()
                    if place.batch is not None]  # fmt: skip
            times = [inputs[name].shape[place.time] for name, place in places.items()
                     if place.time is not None]  # fmt: skip
            self.sequences += rows[0] if rows else 1
            if self._lengths is not None:
                self.steps += int(inputs[self._lengths].sum())
            else:
                self.steps += (rows[0] if rows else 1) * (times[0] if times else 0)


class _LayerStatistics:
    """Collect what goes through one layer."""

    def __init__(self, layer: Layer, method: str) -> None:
        self._layer, self._method = layer, method
        self._symmetric = layer.operator == "Conv"  # its padding is 0 and must stay so
        self._inside = RecurrenceStatistics(layer) if layer.recurrent else None
        self.inputs = RowStatistics(1)

    def add(self, captured: Captured, sequence: int) -> None:
        for part in captured.cut():
            self._add(part, sequence)

    def _add(self, captured: Captured, sequence: int) -> None:
        x = captured.x
        if not np.isfinite(x).all() or not (captured.y is None or np.isfinite(captured.y).all()):
            raise ModelError(
                f"layer {self._layer.name!r} takes or gives NaN or infinite values in calibration "
                f"sequence {sequence}, though the sequence is finite; the float model itself "
                f"overflows there: look at its weights, or leave the sequence out"
            )
        columns = 1 if self._symmetric else x.shape[-1]
        if self.inputs.rows == 0:
            self.inputs = RowStatistics(columns, sampled=self._method in SAMPLED)
        self.inputs.add(x.reshape(-1, columns))
        if self._inside is not None:
            assert captured.y is not None
            self._inside.add(x, captured.y, captured.starts)

    def range(self) -> LayerRange:
        low, high = choose(self._method, self.inputs, symmetric=self._symmetric)
        inside = self._inside
        return LayerRange(
            low=tuple(map(float, low)),
            high=tuple(map(float, high)),
            largest_cell=tuple(inside.largest_cell) if inside else (),
            largest_state=tuple(inside.largest_state) if inside else (),
        )

    def saturation(self, chosen: LayerRange) -> dict[str, float]:
        sample = self.inputs.sample  # empty where the method leaves nothing out
        low, high = np.array(chosen.low, np.float32), np.array(chosen.high, np.float32)
        beyond = (sample < low) | (sample > high)
        inside = self._inside.saturation() if self._inside else {}
        return {"input": float(beyond.mean()) if beyond.size else 0.0, **inside}


def _require_enough(sequences: int, steps: int) -> None:
    if sequences == 0:
        raise InputError("there is no calibration sequence; give some from the training data")
    if steps < FEWEST_STEPS:
        raise InputError(
            f"the calibration data has {steps} time steps in {sequences} sequences; ranges from "
            f"fewer than {FEWEST_STEPS} are chance: give more sequences from the training data"
        )
