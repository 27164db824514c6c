"""Export an encoder and a decoder step as two files that know each other."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from edgernn.errors import UsageError
from edgernn.files import replacing, sha256_of
from edgernn.metadata import Metadata
from edgernn.pairs import Pair, PairLink
from edgernn_exporters.gate import GateResult
from edgernn_exporters.inspection import inspect
from edgernn_exporters.onnx_files import save_model
from edgernn_exporters.pytorch.checks import evaluating
from edgernn_exporters.pytorch.decoder import Step, read_step, trace_step
from edgernn_exporters.pytorch.export import (
    OPSET,
    UNPROVEN,
    Exported,
    Load,
    as_float,
    tools,
    write,
)
from edgernn_exporters.pytorch.names import ranges_by_node
from edgernn_exporters.pytorch.pair_proof import find_lengths, joined, prove_pair, prove_step
from edgernn_exporters.pytorch.proving import Source
from edgernn_exporters.pytorch.signature import Request


@dataclass(frozen=True)
class ExportedPair:
    """Say what an export of a pair wrote.

    Attributes:
        encoder: The encoder's file.
        decoder: The decoder's file; its ``gate`` is that of a single step.
        link: How they connect, as in the decoder's metadata.
        gate: Result of the gate on the two together, or None if it was not run.
    """

    encoder: Exported
    decoder: Exported
    link: PairLink
    gate: GateResult | None


def export_pair(
    encoder: nn.Module,
    decoder: nn.Module,
    encoder_args: Sequence[Any],
    decoder_args: Sequence[Any],
    path_encoder: str | os.PathLike[str],
    path_decoder: str | os.PathLike[str],
    *,
    load: Load | None,
    links: Mapping[str, str] | None = None,
    start: int | None = None,
    end: int | None = None,
    kwargs: Mapping[str, Any] | None = None,
    causal: bool | None = None,
    axes: Mapping[str, Sequence[str | None]] | None = None,
    states: Mapping[str, str] | None = None,
    output_names: Sequence[str] | None = None,
    metadata: Metadata | None = None,
    opset: int = OPSET,
    tolerance: float | None = None,
) -> ExportedPair:
    """Write an encoder and one step of its decoder as two ONNX files.

    The decoder's forward takes the last tokens, ``[batch]`` or ``[batch, 1]``, and then memory and
    states, in any order and nesting. It returns the logits and the next states: a dict, the states
    under the names of the arguments; or a tuple, the logits first and then the next values of the
    last arguments. Arguments that are not returned are memory: outputs of the encoder that are fed
    at each step. States that are no outputs of the encoder start at zeros.

    The gate compares both files with their modules, and the two together over whole sequences.

    Args:
        encoder: Module that returns what the decoder needs, best as a dict.
        decoder: Module of one step.
        encoder_args: Example inputs of the encoder (see `edgernn_exporters.pytorch.export`).
        decoder_args: Example arguments of the decoder.
        path_encoder: File to write; both appear only after the gate has passed.
        path_decoder: File to write.
        load: Opens the written files for the gate; None leaves the gate out.
        links: Encoder output by decoder argument, where the two have different names.
        start: Token that decoding begins with, to keep in the decoder's file.
        end: Token that ends a sequence, likewise.
        kwargs: Example inputs of the encoder by name.
        causal: Of the encoder (see `edgernn_exporters.pytorch.export`).
        axes: Of the encoder's inputs, likewise.
        states: Of the encoder, likewise.
        output_names: Of the encoder's outputs, instead of ``y0``, ``y1``, ….
        metadata: Task, preprocessing and parent to store in both files.
        opset: ONNX operator set version.
        tolerance: Limit of the gate (see `edgernn_exporters.gate.gate`).

    Raises:
        UsageError: Both files are the same, or a token is negative.
        ModelError: A module cannot be exported; names the layer and the reason.
        InputError: The example inputs or links do not fit the modules.
        ContractError: What the encoder returns does not fit what the decoder takes, or a token is
            none of those that the logits are of.
        AccuracyGateError: An exported graph is not the same function.
        OutputError: A file cannot be written.
    """
    if Path(path_encoder).resolve() == Path(path_decoder).resolve():
        raise UsageError(f"{path_encoder} is to hold both graphs; give two paths")
    for name, token in (("start", start), ("end", end)):
        if token is not None and token < 0:
            raise UsageError(f"{name} is {token}, but tokens are numbers from 0 on")
    with replacing(path_encoder) as first, replacing(path_decoder) as second:
        written, source = write(
            encoder, Request(encoder_args, kwargs, output_names, axes, states), first,
            load=load, causal=causal, metadata=metadata, opset=opset, tolerance=tolerance,
        )  # fmt: skip
        contract = written.metadata.contract
        assert contract is not None
        decoder, ranges = as_float(decoder)
        with evaluating(decoder):
            step = read_step(decoder, decoder_args, contract.stream.outputs, links or {})
            model = trace_step(decoder, step, opset)
        link = PairLink(
            sha256_of(first), step.token, step.outputs[0],
            {name: step.sources[name] for name in step.states if name in step.sources},
            {name: step.sources[name] for name in step.memory}, start, end,
        )  # fmt: skip
        described = replace(
            metadata or Metadata(),
            contract=step.contract,
            tools=tools(),
            pair=link.to_json(),
            ranges=None if ranges is None else ranges_by_node(ranges, model).to_json(),
            unproven=UNPROVEN if load is None else None,
        )
        save_model(model, described, second)
        link.check(inspect(first).side(), inspect(second).side())
        single = together = None
        if load is not None:
            with evaluating(source.module), evaluating(decoder):
                single, together = _prove(
                    load, first, second, link, source, decoder, step, tolerance
                )
            described = replace(described, gate=joined(single, together).to_json())
            save_model(model, described, second)
    return ExportedPair(
        replace(written, path=Path(path_encoder)),
        Exported(Path(path_decoder), described, single),
        link,
        together,
    )


def _prove(
    load: Load,
    first: Path,
    second: Path,
    link: PairLink,
    source: Source,
    decoder: nn.Module,
    step: Step,
    tolerance: float | None,
) -> tuple[GateResult, GateResult]:
    with closing(load(first)) as encoding, closing(load(second)) as decoding:
        lengths = find_lengths(source)
        single = prove_step(decoding, source, decoder, step, lengths, tolerance)
        pair = Pair(link, encoding, inspect(second).side(), lambda sizes: decoding)
        return single, prove_pair(pair, source, decoder, step, lengths, tolerance)
