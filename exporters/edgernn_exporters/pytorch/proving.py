"""Run the export gate on a written file and the module that it was made from."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from edgernn.errors import AccuracyGateError, EdgernnError
from edgernn.sessions import Array, Arrays, Session
from edgernn_exporters.gate import GateResult, Reference, Shapes, gate
from edgernn_exporters.pytorch.signature import Signature, first_line, resized, runs
from edgernn_exporters.pytorch.streaming import flatten_outputs


def prove(
    session: Session, module: nn.Module, traced: Signature, tolerance: float | None
) -> GateResult:
    """Compare a file with its module, and close its session.

    Raises:
        AccuracyGateError: They differ, or the module cannot be run at other sizes.
    """
    rng = np.random.default_rng(0)

    def sample(batch: int, length: int) -> Arrays:
        return {
            name: _sample_like(rng, resized(arg, axes, batch, length).numpy())
            for name, arg, axes in zip(
                traced.input_names, traced.args, traced.input_axes, strict=True
            )
        }

    def reference(inputs: Arrays) -> Arrays:
        return _run(module, traced, [torch.from_numpy(inputs[n]) for n in traced.input_names])

    contract = session.metadata.contract
    assert contract is not None
    shapes = Shapes.other_than(traced.length, traced.batch)
    if not contract.stream.causal:  # such a module may need a sequence of some length
        longer = (90, 200, traced.length + 7, 2 * traced.length)
        lengths = [n for n in (*shapes.lengths, *longer) if runs(module, traced, n)]
        if len(lengths) < 3:
            session.close()
            raise AccuracyGateError(
                f"export gate: {type(module).__name__} runs at fewer than three lengths other "
                f"than the traced {traced.length}, so it cannot be proven; make it accept more"
            )
        shapes = Shapes(lengths[:3], shapes.batches)
    try:
        exact = _in_float64(module, traced)
        return gate(session, reference, sample, shapes, exact=exact, tolerance=tolerance)
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


def _run(module: nn.Module, traced: Signature, tensors: list[Tensor]) -> Arrays:
    with torch.no_grad():
        outputs = flatten_outputs(module(*tensors))[1]
    return {name: output.numpy() for name, output in zip(traced.output_names, outputs, strict=True)}


def _in_float64(module: nn.Module, traced: Signature) -> Reference | None:
    """Return a function that runs the module in float64, or None if it insists on float32."""
    double = copy.deepcopy(module).double()

    def exact(inputs: Arrays) -> Arrays:
        tensors = [torch.from_numpy(inputs[name]) for name in traced.input_names]
        return _run(double, traced, [t.double() if t.is_floating_point() else t for t in tensors])

    try:
        exact({n: a.numpy() for n, a in zip(traced.input_names, traced.args, strict=True)})
    except Exception:  # the user's own forward may raise anything
        return None
    return exact


def _sample_like(rng: np.random.Generator, example: Array) -> Array:
    """Draw normal floats, or integers and truth values from those of the example."""
    if example.dtype.kind == "f":
        normal: Array = rng.standard_normal(example.shape).astype(example.dtype)
        return normal
    drawn: Array = rng.choice(example.ravel(), size=example.shape).astype(example.dtype)
    return drawn
