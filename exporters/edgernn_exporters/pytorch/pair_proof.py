"""Run the export gate on a decoder step, and on a decoder together with its encoder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgernn.contract import Axes, Contract, StreamSpec
from edgernn.errors import AccuracyGateError, EdgernnError, first_line
from edgernn.metadata import Metadata
from edgernn.pairs import Pair
from edgernn.sessions import Array, Arrays, Session
from edgernn_exporters.gate import GateResult, Reference, Shapes, gate
from edgernn_exporters.pytorch.arguments import read_arguments
from edgernn_exporters.pytorch.decoder import Step, resized
from edgernn_exporters.pytorch.outputs import flatten_outputs

TOKENS = "tokens"
_LENGTHS = (1, 5, 37, 90, 200)  # an encoder may need sequences of some length
_SHORT, _BATCHES, _LONG_BATCH = 3, (1, 3, 8), 2


class Source:
    """An encoder in PyTorch, and random inputs for it.

    Args:
        module: In evaluation mode.
        args: Its example inputs.
        contract: Of the exported file.
    """

    def __init__(self, module: nn.Module, args: Sequence[Any], contract: Contract) -> None:
        self._arguments = read_arguments(module, args)
        self._axes, self._lengths = contract.stream.inputs, contract.stream.lengths
        self._outputs = tuple(contract.stream.outputs)
        self._versions = _Versions(module)
        self.names = tuple(self._axes)

    @property
    def axes(self) -> Mapping[str, Axes]:
        """Axes of the inputs."""
        return self._axes

    def sample(self, rng: np.random.Generator, batch: int, length: int) -> Arrays:
        """Draw inputs: floats as normal numbers, others from the example's values."""
        made: Arrays = {}
        for name, tensor in zip(self.names, self._arguments.tensors, strict=True):
            place = self._axes[name]
            example = resized(tensor, {place.batch: batch, place.time: length}).numpy()
            if name == self._lengths:
                value: Array = rng.integers(1, length + 1, example.shape)
            elif example.dtype.kind == "f":
                value = rng.standard_normal(example.shape)
            else:
                value = rng.choice(example.ravel(), size=example.shape)
            made[name] = value.astype(example.dtype)
        return made

    def run(self, inputs: Arrays, *, exact: bool = False) -> dict[str, Tensor]:
        """Run the encoder in PyTorch, in float64 if ``exact``."""
        tensors = [_tensor(inputs[name], exact) for name in self.names]
        with torch.no_grad():
            called = self._arguments.call(self._versions.get(exact), tensors)
        outputs = flatten_outputs(called)[1]
        return dict(zip(self._outputs, outputs, strict=True))

    @cached_property
    def lengths(self) -> list[int]:
        """Return the lengths of `_LENGTHS` that the encoder runs at."""
        found = []
        for length in _LENGTHS:
            try:
                self.run(self.sample(np.random.default_rng(0), 2, length))
            except Exception:  # whatever the user's own forward raises
                continue
            found.append(length)
        return found


def prove_step(
    session: Session, source: Source, decoder: nn.Module, step: Step, tolerance: float | None
) -> GateResult:
    """Compare a single step with the module: outputs and next states.

    Raises:
        AccuracyGateError: They differ.
    """
    rng, count, versions = np.random.default_rng(0), _count(decoder, step), _Versions(decoder)
    names = [*step.outputs, *(f"{name}.next" for name in step.states)]

    def sample(batch: int, length: int) -> Arrays:
        encoded = source.run(source.sample(rng, batch, length))
        given = {name: encoded[step.sources[name]].numpy() for name in step.sources}
        examples = dict(zip(step.arguments.names, step.at(batch), strict=True))
        for name in step.states:
            if name not in given:
                given[name] = rng.standard_normal(examples[name].shape).astype(np.float32)
        tokens = examples[step.token]
        given[step.token] = _tokens(rng, count, tuple(tokens.shape), tokens)
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
    return _judged(run, reference, sample, source.lengths, step.input_axes, axes, tolerance)


def prove_pair(
    pair: Pair, source: Source, decoder: nn.Module, step: Step, tolerance: float | None
) -> GateResult:
    """Compare whole sequences of given tokens with the two modules.

    Raises:
        AccuracyGateError: They differ.
    """
    rng, count, versions = np.random.default_rng(1), _count(decoder, step), _Versions(decoder)

    def sample(batch: int, length: int) -> Arrays:
        tokens = _tokens(rng, count, (batch, length), step.example(step.token))
        return {**source.sample(rng, batch, length), TOKENS: tokens}

    def reference(inputs: Arrays, exact: bool = False) -> Arrays:
        module = versions.get(exact)
        encoded = source.run(inputs, exact=exact)
        given = {name: encoded[step.sources[name]] for name in step.sources}
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
    return _judged(run, reference, sample, source.lengths, inputs, outputs, tolerance)


class _Versions:
    """A module as it is, and in float64."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def get(self, exact: bool) -> nn.Module:
        return self._double if exact else self._module

    @cached_property
    def _double(self) -> nn.Module:
        return copy.deepcopy(self._module).double()


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
    lengths: list[int],
    inputs: Mapping[str, Axes],
    outputs: Mapping[str, Axes],
    tolerance: float | None,
) -> GateResult:
    if len(lengths) < 2:
        raise AccuracyGateError(
            f"export gate: the encoder runs at fewer than two of the lengths {list(_LENGTHS)}, so "
            f"the pair cannot be proven; make it accept more"
        )

    def exact(given: Arrays) -> Arrays:
        return reference(given, exact=True)

    in_float64: Reference | None = exact
    try:
        exact(sample(1, lengths[-1]))
    except Exception:  # the user's own forward may insist on float32
        in_float64 = None
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


def _count(decoder: nn.Module, step: Step) -> int:
    """Return how many tokens there are to choose from."""
    with torch.no_grad():
        return int(step.results(decoder, step.at(2))[0].shape[-1])


def _tokens(rng: np.random.Generator, count: int, shape: tuple[int, ...], like: Tensor) -> Array:
    return rng.integers(0, count, shape).astype(like.numpy().dtype)


def _tensor(value: Array, exact: bool) -> Tensor:
    tensor = torch.from_numpy(value)
    return tensor.double() if exact and tensor.is_floating_point() else tensor


def _dtype(example: Tensor, exact: bool) -> torch.dtype:
    return torch.float64 if exact and example.is_floating_point() else example.dtype
