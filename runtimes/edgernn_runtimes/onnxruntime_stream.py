"""Live streams on ONNX Runtime: state stays in bound buffers, on the device if there is one.

Each state has two buffers; a step reads one and writes the other, so a failed step leaves the
state as it was and nothing is copied between steps. Bindings are made once for each number of
time steps, which leaves one copy in, one call and one copy out for a step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgernn.contract import Contract
from edgernn.errors import InputError
from edgernn.sessions import Array, Arrays, check_inputs, check_tensor
from edgernn_runtimes.onnxruntime_buffers import Buffer, Device, allocate
from edgernn_runtimes.onnxruntime_loader import runtime_failure

if TYPE_CHECKING:
    from edgernn_runtimes.onnxruntime_session import OnnxRuntimeSession


@dataclass(frozen=True)
class _Plan:
    """Buffers and bindings for one set of input shapes; ``outputs`` is None if sizes vary."""

    inputs: tuple[Buffer, ...]
    outputs: tuple[Buffer, ...] | None
    bindings: tuple[Any, Any]


class OnnxRuntimeStream:
    """One live batch of sequences (see `edgernn.sessions.Stream`)."""

    def __init__(
        self,
        owner: OnnxRuntimeSession,
        session: Any,
        contract: Contract,
        batch: int,
        device: Device,
    ) -> None:
        self._owner = owner
        self._session = session
        self._contract = contract
        self._batch = batch
        self._device = device
        self._run = session.run_with_iobinding if device[0] == "cpu" else self._run_locked
        self._initial = owner.initial_state(batch)
        self._states = tuple(
            {
                name: allocate(value.shape, value.dtype, device)
                for name, value in self._initial.items()
            }
            for _ in range(2)
        )
        self._current = 0
        self._plans: dict[tuple[tuple[int, ...], ...], _Plan] = {}
        self._names = tuple(spec.name for spec in owner.inputs)
        self._dtypes = [np.dtype(spec.dtype) for spec in owner.inputs]
        self._arrays = len(owner.inputs) == 1 and len(owner.outputs) == 1
        self.reset()

    def step(self, x: Array | Mapping[str, Array]) -> Any:
        """Advance by the time steps in ``x`` (see `edgernn.sessions.Stream.step`)."""
        if isinstance(x, np.ndarray) and self._arrays:
            outputs = self._advance((x,))
            return outputs[0]
        if not isinstance(x, Mapping):
            raise InputError(
                f"the model takes inputs {list(self._names)}: give a dict of numpy arrays, "
                f"not {type(x).__name__}"
            )
        if set(x) != set(self._names):
            check_inputs(self._owner.inputs, {}, x)
        outputs = self._advance(tuple(x[name] for name in self._names))
        return {spec.name: y for spec, y in zip(self._owner.outputs, outputs, strict=True)}

    def _advance(self, values: tuple[Array, ...]) -> list[Array]:
        plan = None
        # Lists, not generators: this is the hot path, and they are quicker at this size.
        if [getattr(value, "dtype", None) for value in values] == self._dtypes:
            plan = self._plans.get(tuple([value.shape for value in values]))
        if plan is None:
            plan = self._plan(values)
        moderate = True
        for buffer, value in zip(plan.inputs, values, strict=True):
            moderate = buffer.write(value) and moderate
        if not moderate:  # NaN, infinite or huge: look closely
            self._check(values)
        binding = plan.bindings[self._current]
        if plan.outputs is None:  # new memory for each step, because sizes may differ
            for spec in self._owner.outputs:
                binding.bind_output(spec.name, "cpu")
        try:
            self._run(binding)
        except Exception as error:
            raise runtime_failure(self._owner.path, error) from None
        if not moderate:
            self._refuse_overflow()
        self._current ^= 1
        if plan.outputs is None:
            made = binding.get_outputs()[: len(self._owner.outputs)]
            return [value.numpy() for value in made]
        return [buffer.read() for buffer in plan.outputs]

    def _run_locked(self, binding: Any) -> None:
        with self._owner.lock:
            self._session.run_with_iobinding(binding)

    def _refuse_overflow(self) -> None:
        """Keep the old state if huge inputs (1e19 and more) made the next one NaN or infinite."""
        for name, buffer in self._states[self._current ^ 1].items():
            value = buffer.read()
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise InputError(
                    f"the inputs are so large that state {name} overflows; the stream keeps its "
                    f"state from before, so scale the inputs down and go on"
                )

    def reset(self) -> None:
        """Return to the initial state."""
        self._write(self._initial)

    @property
    def state(self) -> Arrays:
        """A copy of the state by input name; assign one to restore it."""
        return {name: buffer.read() for name, buffer in self._states[self._current].items()}

    @state.setter
    def state(self, value: Mapping[str, Array]) -> None:
        if not isinstance(value, Mapping) or set(value) != set(self._initial):
            given = list(value) if isinstance(value, Mapping) else type(value).__name__
            raise InputError(f"the states are {sorted(self._initial)}, got {given}")
        for spec in self._owner.states:
            array = value[spec.name]
            check_tensor(spec, array)
            want = self._initial[spec.name].shape
            if array.shape != want:
                raise InputError(
                    f"state {spec.name} of this stream has shape {list(want)}, "
                    f"got {list(array.shape)}"
                )
        self._write(value)

    def _write(self, values: Mapping[str, Array]) -> None:
        for name, value in values.items():
            self._states[self._current][name].write(value)

    def _check(self, values: tuple[Array, ...]) -> None:
        axes = self._contract.stream.inputs
        given = dict(zip(self._names, values, strict=True))
        check_inputs(self._owner.inputs, axes, given)
        for name, value in given.items():
            batch = axes[name].batch
            if batch is not None and value.shape[batch] != self._batch:
                raise InputError(
                    f"this stream was opened for a batch of {self._batch}, but {name} has "
                    f"{value.shape[batch]} rows; open another with session.stream(batch="
                    f"{value.shape[batch]})"
                )

    def _plan(self, values: tuple[Array, ...]) -> _Plan:
        """Allocate and bind for the shapes of ``values``, and remember it."""
        self._check(values)
        inputs = tuple(allocate(v.shape, v.dtype, self._device) for v in values)
        shapes = self._output_shapes(values)
        outputs = None
        if shapes is not None:
            dtypes = [np.dtype(spec.dtype) for spec in self._owner.outputs]
            outputs = tuple(
                allocate(shape, dtype, ("cpu", 0))
                for shape, dtype in zip(shapes, dtypes, strict=True)
            )
        forth, back = self._states
        plan = _Plan(
            inputs,
            outputs,
            (self._bind(inputs, outputs, forth, back), self._bind(inputs, outputs, back, forth)),
        )
        if len(self._plans) >= 16:  # chunk sizes vary freely: keep the memory bounded
            self._plans.pop(next(iter(self._plans)))
        self._plans[tuple(value.shape for value in values)] = plan
        return plan

    def _bind(
        self,
        inputs: tuple[Buffer, ...],
        outputs: tuple[Buffer, ...] | None,
        source: Mapping[str, Buffer],
        target: Mapping[str, Buffer],
    ) -> Any:
        binding = self._session.io_binding()
        for name, buffer in zip(self._names, inputs, strict=True):
            buffer.bind_input(binding, name)
        for index, spec in enumerate(self._owner.outputs):
            if outputs is None:
                binding.bind_output(spec.name, "cpu")
            else:
                outputs[index].bind_output(binding, spec.name)
        for state in self._contract.states:
            source[state.input].bind_input(binding, state.input)
            target[state.input].bind_output(binding, state.output)
        return binding

    def _output_shapes(self, values: tuple[Array, ...]) -> list[tuple[int, ...]] | None:
        """Work out the output shapes from the named axes; None if one stays unknown."""
        known: dict[str, int] = {}
        for spec, value in zip(self._owner.inputs, values, strict=True):
            known.update(
                {axis: size for axis, size in zip(spec.shape, value.shape, strict=True)
                 if isinstance(axis, str) and axis != "?"}
            )  # fmt: skip
        shapes = []
        for spec in self._owner.outputs:
            sizes = [axis if isinstance(axis, int) else known.get(axis) for axis in spec.shape]
            if None in sizes:
                return None
            shapes.append(tuple(size for size in sizes if size is not None))
        return shapes
