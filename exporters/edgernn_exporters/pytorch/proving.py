"""Run the export gate on a written file and the module that it was made from."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from edgernn.errors import AccuracyGateError, EdgernnError, first_line
from edgernn.sessions import Array, Arrays, Session
from edgernn_exporters.gate import GateResult, Reference, Shapes, gate
from edgernn_exporters.pytorch.axes import BATCH, TIME, resized
from edgernn_exporters.pytorch.outputs import flatten_outputs
from edgernn_exporters.pytorch.signature import Signature


def prove(
    session: Session, module: nn.Module, traced: Signature, tolerance: float | None
) -> GateResult:
    """Compare a file with its module, and close its session.

    Raises:
        AccuracyGateError: They differ, or the module cannot be run at other sizes.
    """
    rng = np.random.default_rng(0)

    def sample(batch: int, length: int) -> Arrays:
        return _sample(rng, traced, batch, length)

    def reference(inputs: Arrays) -> Arrays:
        return _run(module, traced, inputs)[0]

    def in_steps(steps: Sequence[Arrays]) -> list[Arrays]:
        return _run_steps(module, traced, steps)

    contract = session.metadata.contract
    assert contract is not None
    try:
        shapes = _shapes(module, traced, causal=contract.stream.causal)
        return gate(
            session, reference, sample, shapes,
            exact=_in_float64(module, traced), tolerance=tolerance,
            in_steps=in_steps if traced.length is None else None,
        )  # fmt: skip
    except EdgernnError:
        raise
    except Exception as error:  # whatever the user's own forward raises
        raise AccuracyGateError(
            f"export gate: {type(module).__name__} itself fails at a length or batch size that it "
            f"was not traced with: {first_line(error)}; make it accept any, from one time step "
            f"on, or export with causal=False (--not-causal) if it needs longer sequences"
        ) from None
    finally:
        session.close()


def _shapes(module: nn.Module, traced: Signature, *, causal: bool) -> Shapes:
    """Choose the lengths and batch sizes to try."""
    shapes = Shapes.other_than(traced.length, traced.batch)
    if traced.batch is None:
        shapes = Shapes(shapes.lengths, (1,))
    if traced.length is None:
        return Shapes((1,), shapes.batches)
    if causal:
        return shapes
    # It may need a sequence of some length.
    longer = (90, 200, traced.length + 7, 2 * traced.length)
    lengths = [n for n in (*shapes.lengths, *longer) if _takes(module, traced, n)]
    if len(lengths) < 3:
        raise AccuracyGateError(
            f"export gate: {type(module).__name__} runs at fewer than three lengths other "
            f"than the traced {traced.length}, so it cannot be proven; make it accept more"
        )
    return Shapes(lengths[:3], shapes.batches)


def _takes(module: nn.Module, traced: Signature, length: int) -> bool:
    """Say whether a module takes sequences of this length."""
    sample = _sample(np.random.default_rng(0), traced, traced.batch or 1, length)
    try:
        _run(module, traced, sample)
    except Exception:  # whatever the user's own forward raises
        return False
    return True


def _sample(rng: np.random.Generator, traced: Signature, batch: int, length: int) -> Arrays:
    """Draw inputs at some size; sizes that are neither batch nor time vary, too."""
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
    return dict(zip(traced.input_names, arrays, strict=True))


def _like(rng: np.random.Generator, example: Array) -> Array:
    """Draw normal floats, or integers and truth values from those of the example."""
    if example.dtype.kind == "f":
        normal: Array = rng.standard_normal(example.shape).astype(example.dtype)
        # Counts, powers and gaps of time: the module may take their logarithm.
        return np.abs(normal) if example.min() >= 0 < example.max() else normal
    drawn: Array = rng.choice(example.ravel(), size=example.shape).astype(example.dtype)
    return drawn


def _run(
    module: nn.Module,
    traced: Signature,
    inputs: Arrays,
    states: Sequence[Tensor] | None = None,
    *,
    double: bool = False,
) -> tuple[Arrays, list[Tensor]]:
    """Run a module; return its outputs and the next values of the arguments that are states."""
    tensors = [torch.from_numpy(inputs[name]) for name in traced.input_names]
    if states is None:
        states = traced.zeros(_rows(traced, inputs))
    leaves = traced.leaves(tensors, states)
    if double:
        leaves = [leaf.double() if leaf.is_floating_point() else leaf for leaf in leaves]
    with torch.no_grad():
        outputs = flatten_outputs(traced.arguments.call(module, leaves))[1]
    named = zip(traced.output_names, traced.outputs, strict=True)
    following = [outputs[argument.output] for argument in traced.given]
    return {name: outputs[place].numpy() for name, place in named}, following


def _run_steps(module: nn.Module, traced: Signature, steps: Sequence[Arrays]) -> list[Arrays]:
    """Run a module that is one time step, handing on its states."""
    states: list[Tensor] | None = None
    found = []
    for inputs in steps:
        outputs, states = _run(module, traced, inputs, states)
        found.append(outputs)
    return found


def _rows(traced: Signature, inputs: Arrays) -> int:
    for name, axes in zip(traced.input_names, traced.input_axes, strict=True):
        if axes.batch is not None:
            return int(inputs[name].shape[axes.batch])
    return 1


def _in_float64(module: nn.Module, traced: Signature) -> Reference | None:
    """Return a function that runs the module in float64, or None if it insists on float32."""
    double = copy.deepcopy(module).double()

    def exact(inputs: Arrays) -> Arrays:
        return _run(double, traced, inputs, double=True)[0]

    try:
        exact(_sample(np.random.default_rng(0), traced, traced.batch or 1, traced.length or 1))
    except Exception:  # the user's own forward may raise anything
        return None
    return exact
