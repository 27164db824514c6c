"""`Session` and `Stream` on a shared library made from generated C."""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from edgernn.c_project import Compile, CProject, CTensor
from edgernn.contract import TensorSpec
from edgernn.errors import InputError, ModelError, UsageError
from edgernn.sessions import Array, Arrays, check_lengths, check_tensor
from edgernn_runtimes.model_file import Interface, read_interface
from edgernn_runtimes.native.library import Library, build

_LEAST_STEPS = 256


class NativeSession:
    """A model as C in this process (see `edgernn.sessions.Session`).

    Attributes:
        project: Manifest of the C project for one sequence.
        library: The shared library built from it.
    """

    def __init__(
        self, path: str | os.PathLike[str], compile: Compile, *, isa: str | None,
        chunk: int | None, fixed: Mapping[str, int],
    ) -> None:  # fmt: skip
        self.target = "native"
        self.path = Path(path)
        self._interface: Interface = read_interface(path).with_sizes(fixed)
        self.metadata = self._interface.metadata
        self.inputs = self._interface.inputs
        self.outputs = self._interface.outputs
        self.states = self._interface.states
        self._compile, self._isa = compile, isa
        self._options = {"chunk": chunk, "fixed": fixed or None}
        self._libraries: dict[tuple[int, int | None], Library] = {}
        self._names = tuple(spec.name for spec in self.inputs)
        self._known: dict[tuple[Any, ...], tuple[int, int]] = {}
        self._calls: dict[int, deque[_Call]] = {}
        self._lock = Lock()
        self._closed = False
        contract = self.metadata.contract
        self._causal = contract is None or contract.stream.causal
        self._lengths = contract.stream.lengths if contract else None
        first = self._fitting(_LEAST_STEPS)
        self.project: CProject = first.project
        self.library = first.path

    def opened(self, batch: int, max_steps: int | None = None) -> Library:
        """Return the library for a batch (and a longest sequence), built when first asked for."""
        if self._closed:
            raise UsageError(f"{self.path}: this session was closed; load the model again")
        with self._lock:
            key = (batch, max_steps)
            if key not in self._libraries:
                self._libraries[key] = build(
                    self.path, self._compile, isa=self._isa, batch=batch, max_steps=max_steps,
                    **self._options,
                )  # fmt: skip
            return self._libraries[key]

    def run(self, inputs: Mapping[str, Array]) -> Arrays:
        """Run whole sequences from the first state (see `edgernn.sessions.Session.run`)."""
        batch, steps = self._sizes(inputs)
        calls = self._calls_for(steps)
        try:
            call = calls.pop()  # deques are safe to share between threads
        except IndexError:
            call = _Call(self._fitting(steps), steps)
        try:
            if batch == call.batch:
                return self._run_one(call, inputs)
            return self._run_rows(call, inputs, batch)
        finally:
            calls.append(call)

    def _run_one(self, call: _Call, inputs: Mapping[str, Array]) -> Arrays:
        status = call.run([inputs[spec.name] for spec in self.inputs])
        if status:
            self._interface.check(inputs)  # finds the NaN or infinity
            raise ModelError(
                f"{self.path}: the generated code returned {status}; please report this with the "
                f"model"
            )
        values = (item.view.copy() for item in call.outputs)
        return {spec.name: value for spec, value in zip(self.outputs, values, strict=True)}

    def _run_rows(self, call: _Call, inputs: Mapping[str, Array], batch: int) -> Arrays:
        """Run the rows of a batch one after another, each from the first state."""
        contract = self.metadata.contract
        if contract is None or call.batch != 1:
            raise InputError(
                f"{self.path}: the model has a fixed batch of {call.batch}, but {batch} rows were "
                f"given"
            )
        places = {**contract.stream.inputs, **contract.stream.outputs}
        rows = [
            self._run_one(call, {
                name: _row(value, places[name].batch, index) for name, value in inputs.items()
            })
            for index in range(batch)
        ]  # fmt: skip
        joined = {}
        for spec in self.outputs:
            axis, parts = places[spec.name].batch, [row[spec.name] for row in rows]
            joined[spec.name] = parts[-1] if axis is None else np.concatenate(parts, axis=axis)
        return joined

    def _sizes(self, inputs: Mapping[str, Array]) -> tuple[int, int]:
        """Check inputs, but for what the generated code finds itself; return batch and steps."""
        try:
            key = tuple([(inputs[name].shape, inputs[name].dtype) for name in self._names])
        except (KeyError, IndexError, TypeError, AttributeError):
            self._interface.check(inputs)  # says what is wrong
            raise
        sizes = self._known.get(key) if len(inputs) == len(self._names) else None
        if sizes is None:
            sizes = (self._interface.check(inputs), self._steps(inputs))
            self._known[key] = sizes
        elif self._lengths is not None:  # the shapes are known to fit, the values are not
            check_lengths(self._lengths, self._interface.places, inputs)
        return sizes

    def _calls_for(self, steps: int) -> deque[_Call]:
        if self._closed:
            raise UsageError(f"{self.path}: this session was closed; load the model again")
        if steps not in self._calls and len(self._calls) >= 16:  # keep the memory bounded
            self._calls = {}
        return self._calls.setdefault(steps, deque())

    def _fitting(self, steps: int) -> Library:
        """Return the library for sequences of this length."""
        if self._causal:
            return self.opened(1)
        # Powers of two, so that few are built.
        library = self.opened(1, max(_LEAST_STEPS, 1 << (steps - 1).bit_length()))
        return self.opened(1, steps) if library.project.fixed_steps else library

    def stream(self, batch: int = 1) -> NativeStream:
        """Open a stream (see `edgernn.sessions.Session.stream`)."""
        self._interface.require_stream(batch)
        library = self.opened(batch)
        if library.project.batch != batch:
            raise InputError(
                f"{self.path}: the model has a fixed batch of {library.project.batch}; open a "
                f"stream of that batch"
            )
        return NativeStream(self._interface, library, batch)

    def close(self) -> None:
        """Refuse further runs; the library stays loaded, other sessions may share it."""
        self._closed = True

    def _steps(self, inputs: Mapping[str, Array]) -> int:
        contract = self.metadata.contract
        for name, place in contract.stream.inputs.items() if contract else ():
            if place.time is not None:
                return int(inputs[name].shape[place.time])
        return 1


def _row(value: Array, axis: int | None, index: int) -> Array:
    return value if axis is None else np.take(value, [index], axis=axis)


def _memory(size: int) -> Array:
    """Return zeroed bytes that begin at a cache line."""
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


class _Parameters:
    """Memory and arguments of a call with one number of time steps, in C's order of axes."""

    def __init__(self, project: CProject, steps: int) -> None:
        self.inputs = [_buffer(tensor, steps) for tensor in project.inputs]
        self.outputs = [_buffer(tensor, steps) for tensor in project.outputs]
        self.arguments = [
            *(item.pointer for item in self.inputs),
            *([ctypes.c_size_t(steps)] if project.has_steps else []),
            *(item.pointer for item in self.outputs),
        ]


class _Call:
    """Everything for running whole sequences of one length, one at a time."""

    def __init__(self, library: Library, steps: int) -> None:
        self._library = library
        self.batch = library.project.batch
        parameters = _Parameters(library.project, steps)
        self.inputs, self.outputs = parameters.inputs, parameters.outputs
        self._state = _memory(library.state_size)
        self._pointer = ctypes.c_void_p(self._state.ctypes.data)
        self._arguments = (self._pointer, *parameters.arguments)
        library.init(self._pointer)

    def run(self, values: Sequence[Array]) -> int:
        """Run from the first state; return the status."""
        for item, value in zip(self.inputs, values, strict=True):
            item.view[...] = value
        self._library.reset(self._pointer)
        status: int = self._library.run(*self._arguments)
        return status


@dataclass(frozen=True)
class _Buffer:
    """Memory for one tensor: as C sees it, and as the graph sees it."""

    view: Array
    pointer: ctypes.c_void_p


def _buffer(tensor: CTensor, steps: int) -> _Buffer:
    shape = [steps if not isinstance(size, int) else size for size in tensor.shape]
    order = list(range(len(shape)))
    if tensor.time_axis is not None:
        order.insert(0, order.pop(tensor.time_axis))
    dtype = np.dtype(tensor.dtype)
    memory = _memory(int(np.prod(shape)) * dtype.itemsize).view(dtype)
    in_c = memory.reshape([shape[axis] for axis in order])
    view = in_c.transpose(np.argsort(order)) if order else in_c
    return _Buffer(view, ctypes.c_void_p(memory.ctypes.data))


class NativeStream:
    """One live batch of sequences (see `edgernn.sessions.Stream`)."""

    def __init__(self, interface: Interface, library: Library, batch: int) -> None:
        self._interface = interface
        self._library = library
        self._batch = batch
        self._memory = _memory(library.state_size)
        self._pointer = ctypes.c_void_p(self._memory.ctypes.data)
        self._calls: dict[tuple[tuple[int, ...], ...], _Ready] = {}
        self._names = tuple(spec.name for spec in interface.inputs)
        self._dtypes = [np.dtype(spec.dtype) for spec in interface.inputs]
        self._arrays = len(interface.inputs) == 1 and len(interface.outputs) == 1
        self._dtype = self._dtypes[0] if self._arrays else None
        self._advances: dict[tuple[int, ...], Callable[[Array], Array]] = {}
        library.init(self._pointer)

    def step(self, x: Array | Mapping[str, Array]) -> Any:
        """Advance by the time steps in ``x`` (see `edgernn.sessions.Stream.step`)."""
        if self._arrays and isinstance(x, np.ndarray):
            advance = self._advances.get(x.shape)
            if advance is None or x.dtype is not self._dtype:
                advance = self._advance_for(x)
            return advance(x)
        if not isinstance(x, Mapping):
            raise InputError(
                f"the model takes inputs {list(self._names)}: give a dict of numpy arrays, "
                f"not {type(x).__name__}"
            )
        if set(x) != set(self._names):
            self._interface.check(x)
        values = tuple(x[name] for name in self._names)
        ready = self._prepare(values)
        for item, value in zip(ready.inputs, values, strict=True):
            item.view[...] = value
        if ready.function(*ready.arguments):
            self._refuse(values)
        return {
            spec.name: item.view.copy()
            for spec, item in zip(self._interface.outputs, ready.outputs, strict=True)
        }

    def reset(self) -> None:
        """Return to the first state."""
        self._library.reset(self._pointer)

    @property
    def state(self) -> Arrays:
        """A copy of the state by input name; assign one to restore it."""
        return {name: member.copy() for name, member in self._members().items()}

    @state.setter
    def state(self, value: Mapping[str, Array]) -> None:
        members = self._members()
        if not isinstance(value, Mapping) or set(value) != set(members):
            given = list(value) if isinstance(value, Mapping) else type(value).__name__
            raise InputError(f"the states are {sorted(members)}, got {given}")
        for spec in self._interface.states:
            check_tensor(_at(spec, members[spec.name].shape), value[spec.name])
        for name, member in members.items():
            member[...] = value[name]

    def _members(self) -> Arrays:
        found = {}
        for state in self._library.project.states:
            dtype = np.dtype(state.dtype)
            size = int(np.prod(state.shape)) * dtype.itemsize
            raw = self._memory[state.offset_bytes : state.offset_bytes + size]
            found[state.name] = raw.view(dtype).reshape(state.shape)
        return found

    def _prepare(self, values: tuple[Array, ...]) -> _Ready:
        """Return buffers for the shapes of ``values``, after checking them."""
        given = dict(zip(self._names, values, strict=True))
        batch = self._interface.check(given)
        if batch != self._batch:
            raise InputError(
                f"this stream was opened for a batch of {self._batch}, but {batch} rows were "
                f"given; open another with session.stream(batch={batch})"
            )
        shapes = tuple(value.shape for value in values)
        ready = self._calls.get(shapes)
        if ready is None:
            ready = _Ready(self._library, self._pointer, self._steps(given))
            if len(self._calls) >= 16:  # chunk sizes vary freely: keep the memory bounded
                self._calls.clear()
                self._advances.clear()
            self._calls[shapes] = ready
        return ready

    def _advance_for(self, x: Array) -> Callable[[Array], Array]:
        """Return what advances by an array of this shape; local names make it quick."""
        ready = self._prepare((x,))
        function, arguments, refuse = ready.function, ready.arguments, self._refuse
        given, result = ready.inputs[0].view, ready.outputs[0].view

        def advance(x: Array) -> Array:
            given[...] = x
            if function(*arguments):
                refuse((x,))
            return result.copy()

        self._advances[x.shape] = advance
        return advance

    def _steps(self, given: Mapping[str, Array]) -> int:
        contract = self._interface.contract
        assert contract is not None
        for name, place in contract.stream.inputs.items():
            if place.time is not None:
                return int(given[name].shape[place.time])
        return 1

    def _refuse(self, values: tuple[Array, ...]) -> None:
        self._interface.check(dict(zip(self._names, values, strict=True)))
        raise ModelError(
            f"{self._interface.path}: the generated code refused its inputs; please report this "
            f"with the model"
        )


class _Ready:
    """A call of a stream that only needs its inputs filled in."""

    def __init__(self, library: Library, state: ctypes.c_void_p, steps: int) -> None:
        parameters = _Parameters(library.project, steps)
        self.inputs, self.outputs = parameters.inputs, parameters.outputs
        arguments = parameters.arguments
        self.function = library.run
        if steps == 1 and library.step is not None:
            self.function = library.step
            arguments = [item for item in arguments if not isinstance(item, ctypes.c_size_t)]
        self.arguments = (state, *arguments)


def _at(spec: TensorSpec, shape: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(spec.name, spec.dtype, shape)
