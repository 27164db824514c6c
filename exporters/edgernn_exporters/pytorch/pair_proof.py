"""Run the export gate on a decoder step, and on a decoder together with its encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgernn.contract import Axes, Contract, StreamSpec
from edgernn.errors import AccuracyGateError, EdgernnError, first_line
from edgernn.metadata import Metadata
from edgernn.pairs import Pair
from edgernn.sessions import Array, Arrays, Session
from edgernn_exporters.gate import GateResult, Shapes, gate
from edgernn_exporters.pytorch.decoder import Step
from edgernn_exporters.pytorch.proving import Source, Versions, if_it_runs

TOKENS = "the decoder's tokens"  # no input of an encoder has such a name
_LENGTHS = (1, 5, 37, 90, 200)  # an encoder may need sequences of some length
_SHORT, _BATCHES, _LONG_BATCH = 3, (1, 3, 8), 2


def find_lengths(encoder: Source) -> list[int]:
    """Return lengths of sequences that an encoder runs at, to try the pair at.

    Raises:
        AccuracyGateError: There are fewer than two.
    """
    found = [length for length in _LENGTHS if encoder.takes(2, length)]
    if len(found) < 2:
        raise AccuracyGateError(
            f"export gate: the encoder runs at fewer than two of the lengths {list(_LENGTHS)}, so "
            f"the pair cannot be proven; make it accept more"
        )
    return found


def prove_step(
    session: Session,
    source: Source,
    decoder: nn.Module,
    step: Step,
    lengths: Sequence[int],
    tolerance: float | None,
) -> GateResult:
    """Compare a single step with the module: outputs and next states.

    Raises:
        AccuracyGateError: They differ.
    """
    rng, versions = np.random.default_rng(0), Versions(decoder)
    names = [*step.outputs, *(f"{name}.next" for name in step.states)]

    def sample(batch: int, length: int) -> Arrays:
        encoded = source.run(source.sample(rng, batch, length))
        given = {name: encoded[output] for name, output in step.sources.items()}
        examples = dict(zip(step.arguments.names, step.at(batch), strict=True))
        for name in step.states:
            if name not in given:
                given[name] = rng.standard_normal(examples[name].shape).astype(np.float32)
        given[step.token] = _tokens(rng, step, tuple(examples[step.token].shape))
        return given

    def reference(inputs: Arrays, exact: bool = False) -> Arrays:
        tensors = [_tensor(inputs[name], exact) for name in step.arguments.names]
        with torch.no_grad():
            results = step.results(versions.get(exact), tensors)
        return {name: value.numpy() for name, value in zip(names, results, strict=True)}

    def run(inputs: Arrays) -> Arrays:
        stream = session.stream(inputs[step.token].shape[0])
        stream.state = {name: inputs[name] for name in step.states}
        given = {name: inputs[name] for name in (step.token, *step.memory)}
        outputs = stream.step(given)
        last = stream.state
        return {**outputs, **{f"{name}.next": last[name] for name in step.states}}

    axes = dict(step.output_axes) | {
        f"{name}.next": Axes(axis, None) for name, axis in step.state_axes.items()
    }
    return _judged(run, reference, sample, lengths, step.input_axes, axes, tolerance)


def prove_pair(
    pair: Pair,
    source: Source,
    decoder: nn.Module,
    step: Step,
    lengths: Sequence[int],
    tolerance: float | None,
) -> GateResult:
    """Compare whole sequences of given tokens with the two modules.

    Raises:
        AccuracyGateError: They differ.
    """
    rng, versions = np.random.default_rng(1), Versions(decoder)

    def sample(batch: int, length: int) -> Arrays:
        return {
            **source.sample(rng, batch, length),
            TOKENS: _tokens(rng, step, (batch, length)),
        }

    def reference(inputs: Arrays, exact: bool = False) -> Arrays:
        module = versions.get(exact)
        encoded = source.run(inputs, exact=exact)
        given = {name: _tensor(encoded[output], exact) for name, output in step.sources.items()}
        rows = inputs[TOKENS].shape[0]
        for name, example in zip(step.arguments.names, step.at(rows), strict=True):
            if name not in given:
                given[name] = torch.zeros_like(example, dtype=_dtype(example, exact))
        shape = step.at(rows)[0].shape
        steps = []
        for tokens in inputs[TOKENS].T:
            given[step.token] = torch.from_numpy(tokens.copy()).reshape(shape)
            with torch.no_grad():
                found = step.results(module, [given[name] for name in step.arguments.names])
            given |= zip(step.states, found[len(step.outputs) :], strict=True)
            steps.append(torch.log_softmax(found[0].reshape(rows, -1), dim=1))
        return {step.outputs[0]: torch.stack(steps, dim=1).numpy()}

    def run(inputs: Arrays) -> Arrays:
        live = pair.decode({name: inputs[name] for name in source.names})
        steps = [live.step(tokens) for tokens in inputs[TOKENS].T]
        return {step.outputs[0]: np.stack(steps, axis=1)}

    inputs = {**source.axes, TOKENS: Axes(0, 1)}
    outputs = {step.outputs[0]: Axes(0, 1)}
    return _judged(run, reference, sample, lengths, inputs, outputs, tolerance)


class _Runs:
    """What the gate takes for a session: whole sequences only."""

    def __init__(
        self,
        run: Callable[[Arrays], Arrays],
        inputs: Mapping[str, Axes],
        outputs: Mapping[str, Axes],
    ) -> None:
        self.run = run
        self.metadata = Metadata(Contract((), StreamSpec(False, inputs, outputs)))


def _judged(
    run: Callable[[Arrays], Arrays],
    reference: Callable[..., Arrays],
    sample: Callable[[int, int], Arrays],
    lengths: Sequence[int],
    inputs: Mapping[str, Axes],
    outputs: Mapping[str, Axes],
    tolerance: float | None,
) -> GateResult:
    in_float64 = if_it_runs(partial(reference, exact=True), sample(1, lengths[-1]))
    session: Any = _Runs(run, inputs, outputs)
    several = Shapes(lengths[:_SHORT], _BATCHES), Shapes(lengths[-1:], [_LONG_BATCH])
    try:
        short, long = (
            gate(session, reference, sample, shapes, exact=in_float64, tolerance=tolerance)
            for shapes in several
        )
        return joined(short, long)
    except EdgernnError:
        raise
    except Exception as error:  # whatever the user's own forward raises
        raise AccuracyGateError(
            f"export gate: the modules themselves fail at a length or batch size that they were "
            f"not traced with: {first_line(error)}; make them accept any"
        ) from None


def joined(*results: GateResult) -> GateResult:
    """Put the results of several gates together."""
    return GateResult(
        sum(result.cases for result in results),
        max(result.max_error for result in results),
        max(result.tolerance for result in results),
        max(result.rounding for result in results),
    )


def _tokens(rng: np.random.Generator, step: Step, shape: tuple[int, ...]) -> Array:
    return rng.integers(0, step.count, shape).astype(step.example(step.token).numpy().dtype)


def _tensor(value: Array, exact: bool) -> Tensor:
    tensor = torch.from_numpy(value)
    return tensor.double() if exact and tensor.is_floating_point() else tensor


def _dtype(example: Tensor, exact: bool) -> torch.dtype:
    return torch.float64 if exact and example.is_floating_point() else example.dtype
