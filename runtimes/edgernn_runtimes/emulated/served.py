"""A program in an emulator, and the requests that advance a model by time steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgernn.c_project import CProject
from edgernn.errors import InputError, ModelError
from edgernn.sessions import Array, Arrays
from edgernn_runtimes.emulated.build import Program
from edgernn_runtimes.emulated.layout import Layout
from edgernn_runtimes.emulated.machine import FIRST, RESET, Machine, emulator_command

_MACS_PER_SECOND = 1e6  # that an emulator does at the very least; longer work gets more time


@dataclass(frozen=True)
class Served:
    """A running program. It keeps no state: each request carries it there and back.

    Attributes:
        program: What runs.
        layout: Its inputs, outputs and states.
        machine: Where it runs.
        emulator: QEMU program.
        timeout_s: Time limit of a request, beside what its size needs.
        where: Model file, for messages.
    """

    program: Program
    layout: Layout
    machine: Machine
    emulator: str
    timeout_s: float
    where: str

    @staticmethod
    def start(
        program: Program,
        layout: Layout,
        emulator: str,
        timeout_s: float,
        where: str,
        plugin: tuple[str, ...] = (),
    ) -> Served:
        """Prepare a machine with a program; the emulator starts at the first request."""
        image = program.image
        command = emulator_command(program.board, emulator, image.elf, plugin)
        machine = Machine(command, program.board, where, image.function_at)
        return Served(program, layout, machine, emulator, timeout_s, where)

    def again(self, plugin: tuple[str, ...], slower: float) -> Served:
        """Return another machine with the same program and a plugin that slows it down."""
        return Served.start(
            self.program, self.layout, self.emulator, self.timeout_s * slower, self.where, plugin
        )

    @property
    def project(self) -> CProject:
        """Manifest of the model."""
        return self.program.project

    @cached_property
    def first_state(self) -> bytes:
        """The saved state after ``NAME_init``."""
        return self.machine.request(
            FIRST, reply_bytes=self.project.state_bytes, timeout_s=self.timeout_s
        ).payload

    def reset(self, state: bytes) -> bytes:
        """Return the state after ``NAME_reset``."""
        return self.machine.request(
            RESET, payload=state, reply_bytes=len(state), timeout_s=self.timeout_s
        ).payload

    def pack(self, inputs: Mapping[str, Array], row: int) -> list[Array]:
        """Return one row of each input in the program's layout."""
        return [port.pack(inputs[port.spec.name], row) for port in self.layout.inputs]

    def advance(
        self, inputs: Mapping[str, Array], row: int, state: bytes, command: int
    ) -> tuple[bytes, list[Array]]:
        """Run one row without checking it, in as many requests as its length needs.

        Returns:
            The next state, and the outputs in order.
        """
        packed, steps, pieces = self.pack(inputs, row), self.layout.steps_of(inputs), []
        for start in range(0, steps, self.program.plan.block):
            count = min(self.program.plan.block, steps - start)
            payload = self.request(command, packed, state, start, count)[0]
            state = payload[: self.project.state_bytes]
            pieces.append(self._outputs(payload, count))
        joined = []
        for index, port in enumerate(self.layout.outputs):
            parts = [piece[index] for piece in pieces]
            axis = port.tensor.time_axis
            joined.append(parts[-1] if axis is None else np.concatenate(parts, axis))
        return state, joined

    def request(
        self,
        command: int,
        packed: list[Array],
        state: bytes,
        start: int,
        count: int,
        flags: int = 0,
    ) -> tuple[bytes, int]:
        """Have the program advance by ``count`` steps of the packed inputs.

        Returns:
            State and outputs as bytes, and the stack that was used where ``flags`` ask for it.

        Raises:
            InputError: The program refuses the inputs.
        """
        parts = [state]
        for port, value in zip(self.layout.inputs, packed, strict=True):
            timed = port.tensor.time_axis is not None
            parts.append((value[start : start + count] if timed else value).tobytes())
        work = count * self.project.macs_per_step / _MACS_PER_SECOND
        reply = self.machine.request(
            command, steps=count, flags=flags, payload=b"".join(parts),
            reply_bytes=self.project.state_bytes + sum(self._output_bytes(count)),
            timeout_s=self.timeout_s + work,
        )  # fmt: skip
        if reply.code == 1:
            raise InputError(
                f"{self.where}: the program found a NaN or infinity in its inputs; replace it"
            )
        if reply.code != 0:
            raise ModelError(
                f"{self.where}: the program returned {reply.code} for {count} time steps; please "
                f"report this with the model"
            )
        return reply.payload, reply.value

    def joined(self, rows: list[list[Array]]) -> Arrays:
        """Join the outputs of all rows, by name."""
        return {
            port.spec.name: port.join([row[index] for row in rows])
            for index, port in enumerate(self.layout.outputs)
        }

    def _output_bytes(self, count: int) -> list[int]:
        return [
            size * (count if port.tensor.time_axis is not None else 1)
            for size, port in zip(self.program.plan.output_bytes, self.layout.outputs, strict=True)
        ]

    def _outputs(self, payload: bytes, count: int) -> list[Array]:
        at, found = self.project.state_bytes, []
        for size, port in zip(self._output_bytes(count), self.layout.outputs, strict=True):
            found.append(port.unpack(payload[at : at + size], count))
            at += size
        return found
