"""What a generated C project says about itself, for the tools that build and run it.

The generator writes it as ``manifest.json`` into the project's folder; the runtimes read it from
there. Sizes are in elements unless the name says bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgernn.errors import ModelError

MANIFEST = "manifest.json"

Compile = Callable[..., "CProject"]
"""``compile(source, folder, *, target, ...)``: what a runtime is given to make a project."""


@dataclass(frozen=True)
class CTensor:
    """Describe one parameter of ``NAME_run``.

    Attributes:
        name: Name in the graph.
        c_name: Name in C.
        dtype: numpy name of the element type.
        shape: As in the graph; the batch is a number, the time axis a name.
        time_axis: Axis of time, or None. In C time is the outermost axis.
        size: Elements for one time step, or in all without a time axis.
    """

    name: str
    c_name: str
    dtype: str
    shape: tuple[int | str, ...]
    time_axis: int | None
    size: int


@dataclass(frozen=True)
class CState:
    """Describe one member of ``NAME_state``.

    Attributes:
        name: Name of the state input in the graph.
        output: Name of the graph output with the next value.
        c_name: Member of the struct.
        dtype: numpy name of the element type.
        shape: Fixed shape.
        offset_bytes: Where it begins in the struct.
        scale: Value of one unit of an integer state; None for a float state.
    """

    name: str
    output: str
    c_name: str
    dtype: str
    shape: tuple[int, ...]
    offset_bytes: int
    scale: float | None = None


@dataclass(frozen=True)
class CProject:
    """Describe an emitted folder (the content of ``manifest.json``).

    Attributes:
        name: Prefix of all symbols, and name of the ``.h`` and ``.c`` files.
        target: Target that the weights are laid out for.
        batch: Sequences that advance together.
        chunk: Time steps that are processed at once.
        causal: True if ``NAME_step`` exists and the state goes on from call to call.
        max_steps: Longest sequence of a model that is not causal, else None.
        fixed_steps: True if a model that is not causal takes exactly that many steps, or a causal
            one is processed one step at a time.
        inputs: Parameters before ``steps``.
        outputs: Parameters after ``steps``.
        states: Members of ``NAME_state``.
        state_bytes: Part of ``NAME_state`` that has to be saved.
        scratch_bytes: The rest of it.
        weight_bytes: Constants.
        macs_per_step: Multiply-accumulate operations of one time step.
        fallback: Nodes that emx-onnx-cgen wrote.
        libm: True if such a node needs the C math library.
        advances: True if the model is one time step, without a time axis: ``NAME_run`` advances by
            one and the state goes on from call to call.
    """

    name: str
    target: str
    batch: int
    chunk: int
    causal: bool
    max_steps: int | None
    fixed_steps: bool
    inputs: tuple[CTensor, ...]
    outputs: tuple[CTensor, ...]
    states: tuple[CState, ...]
    state_bytes: int
    scratch_bytes: int
    weight_bytes: int
    macs_per_step: int
    fallback: tuple[str, ...] = ()
    libm: bool = False
    advances: bool = False

    @property
    def has_steps(self) -> bool:
        """True if ``NAME_run`` takes a number of time steps."""
        return any(t.time_axis is not None for t in (*self.inputs, *self.outputs))

    def to_json(self, files: Collection[str] = ()) -> str:
        """Return the content of ``manifest.json``, with the names of the files beside it."""
        return json.dumps({**asdict(self), "files": sorted(files)}, indent=1) + "\n"


def read_project(folder: str | os.PathLike[str]) -> CProject:
    """Read the manifest of an emitted folder.

    Raises:
        ModelError: It is missing or not readable.
    """
    file = Path(folder) / MANIFEST
    try:
        values: dict[str, Any] = json.loads(file.read_text())
        values.pop("files", None)
        values["inputs"] = tuple(_tensor(item) for item in values["inputs"])
        values["outputs"] = tuple(_tensor(item) for item in values["outputs"])
        values["states"] = tuple(_state(item) for item in values["states"])
        values["fallback"] = tuple(values["fallback"])
        return CProject(**values)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ModelError(f"{file}: cannot be read: {reason}; run edgernn compile again") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{file}: not the manifest of a C project ({type(error).__name__}: {error}); "
            f"run edgernn compile again"
        ) from None


def files_of(folder: Path) -> list[str] | None:
    """Return the files that were written into an emitted folder; None if it is not one."""
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
        read_project(folder)
    except (OSError, ValueError, KeyError, TypeError, ModelError):
        return None
    return [str(name) for name in files]


def _tensor(item: dict[str, Any]) -> CTensor:
    return CTensor(**{**item, "shape": tuple(item["shape"])})


def _state(item: dict[str, Any]) -> CState:
    return CState(**{**item, "shape": tuple(item["shape"])})
