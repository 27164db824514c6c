"""Run the export gate on a written file and the module that it was made from."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor, nn

from edgernn.contract import Axes
from edgernn.errors import AccuracyGateError, EdgernnError, first_line
from edgernn.sessions import Array, Arrays, Session
from edgernn_exporters.gate import GateResult, Reference, Shapes, gate
from edgernn_exporters.pytorch.axes import BATCH, TIME, resized
from edgernn_exporters.pytorch.outputs import flatten_outputs
from edgernn_exporters.pytorch.signature import Signature


class Versions:
    """A module as it is, and in float64."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def get(self, exact: bool) -> nn.Module:
        """Return the module in float64 if ``exact``."""
        return self._double if exact else self._module

    @cached_property
    def _double(self) -> nn.Module:
        return copy.deepcopy(self._module).double()


class Source:
    """What a file was exported from: runs it, and draws inputs for it.

    Attributes:
        module: In evaluation mode while it runs.
        traced: What was found of it.
        names: Of its inputs, states not among them.
    """

    def __init__(self, module: nn.Module, traced: Signature) -> None:
        self.module = module
        self.traced = traced
        self.names = traced.input_names
        self._versions = Versions(module)

    @property
    def axes(self) -> dict[str, Axes]:
        """Axes of the inputs."""
        return dict(zip(self.names, self.traced.input_axes, strict=True))

    def sample(self, rng: np.random.Generator, batch: int, length: int) -> Arrays:
        """Draw inputs at some size; sizes that are neither batch nor time vary, too."""
        traced = self.traced
        sizes = {BATCH: batch, TIME: length}
        for name, size in traced.sizes.items():
            if name not in sizes:
                sizes[name] = int(rng.integers(2, 2 * size + 1))
        arrays = [
            _like(rng, resized(arg, dims, sizes).numpy())
            for arg, dims in zip(traced.args, traced.input_dims, strict=True)
        ]
        for lengths in traced.lengths:
            lengths.draw(rng, arrays, traced.input_dims[lengths.index])
        return dict(zip(self.names, arrays, strict=True))

    def run(self, inputs: Arrays, *, exact: bool = False) -> Arrays:
        """Return the outputs from the initial state on, of the module in float64 if ``exact``."""
        return self._run(inputs, exact=exact)[0]

    def run_steps(self, steps: Sequence[Arrays]) -> list[Arrays]:
        """Run a module that is one time step, handing on its states."""
        states: list[Tensor] | None = None
        found = []
        for inputs in steps:
            outputs, states = self._run(inputs, states)
            found.append(outputs)
        return found

    def takes(self, batch: int, length: int) -> bool:
        """Say whether the module takes sequences of this size."""
        try:
            self.run(self.sample(np.random.default_rng(0), batch, length))
        except Exception:  # whatever the user's own forward raises
            return False
        return True

    def _run(
        self, inputs: Arrays, states: Sequence[Tensor] | None = None, *, exact: bool = False
    ) -> tuple[Arrays, list[Tensor]]:
        """Return the outputs and the next values of the arguments that are states."""
        traced = self.traced
        tensors = [torch.from_numpy(inputs[name]) for name in self.names]
        if states is None:
            states = traced.zeros(self._rows(inputs))
        leaves = traced.leaves(tensors, states)
        if exact:
            leaves = [leaf.double() if leaf.is_floating_point() else leaf for leaf in leaves]
        with torch.no_grad():
            result = traced.arguments.call(self._versions.get(exact), leaves)
        outputs = flatten_outputs(result)[1]
        named = zip(traced.output_names, traced.outputs, strict=True)
        following = [outputs[argument.output] for argument in traced.given]
        return {name: outputs[place].numpy() for name, place in named}, following

    def _rows(self, inputs: Arrays) -> int:
        for name, axes in self.axes.items():
            if axes.batch is not None:
                return int(inputs[name].shape[axes.batch])
        return 1


def prove(session: Session, source: Source, tolerance: float | None) -> GateResult:
    """Compare a file with its module, and close its session.

    Raises:
        AccuracyGateError: They differ, or the module cannot be run at other sizes.
    """
    rng, traced = np.random.default_rng(0), source.traced
    contract = session.metadata.contract
    assert contract is not None
    try:
        shapes = _shapes(source, causal=contract.stream.causal)
        example = source.sample(np.random.default_rng(0), traced.batch or 1, traced.length or 1)
        return gate(
            session, source.run, partial(source.sample, rng), shapes,
            exact=if_it_runs(partial(source.run, exact=True), example), tolerance=tolerance,
            in_steps=source.run_steps if traced.length is None else None,
        )  # fmt: skip
    except EdgernnError:
        raise
    except Exception as error:  # whatever the user's own forward raises
        raise AccuracyGateError(
            f"export gate: {type(source.module).__name__} itself fails at a length or batch size "
            f"that it was not traced with: {first_line(error)}; make it accept any, from one time "
            f"step on, or export with causal=False (--not-causal) if it needs longer sequences"
        ) from None
    finally:
        session.close()


def if_it_runs(exact: Reference, example: Arrays) -> Reference | None:
    """Return a reference in float64, or None if the module insists on float32."""
    try:
        exact(example)
    except Exception:  # the user's own forward may raise anything
        return None
    return exact


def _shapes(source: Source, *, causal: bool) -> Shapes:
    """Choose the lengths and batch sizes to try."""
    traced = source.traced
    shapes = Shapes.other_than(traced.length, traced.batch)
    if traced.batch is None:
        shapes = Shapes(shapes.lengths, (1,))
    if traced.length is None:
        return Shapes((1,), shapes.batches)
    if causal:
        return shapes
    # It may need a sequence of some length.
    longer = (90, 200, traced.length + 7, 2 * traced.length)
    lengths = [n for n in (*shapes.lengths, *longer) if source.takes(traced.batch or 1, n)]
    if len(lengths) < 3:
        raise AccuracyGateError(
            f"export gate: {type(source.module).__name__} runs at fewer than three lengths other "
            f"than the traced {traced.length}, so it cannot be proven; make it accept more"
        )
    return Shapes(lengths[:3], shapes.batches)


def _like(rng: np.random.Generator, example: Array) -> Array:
    """Draw normal floats, or integers and truth values from those of the example."""
    if example.dtype.kind == "f":
        normal: Array = rng.standard_normal(example.shape).astype(example.dtype)
        # Counts, powers and gaps of time: the module may take their logarithm.
        return np.abs(normal) if example.min() >= 0 < example.max() else normal
    drawn: Array = rng.choice(example.ravel(), size=example.shape).astype(example.dtype)
    return drawn
