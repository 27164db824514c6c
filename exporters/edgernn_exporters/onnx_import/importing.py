"""Import a foreign ONNX file: the verb."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import onnx
from numpy.typing import ArrayLike

from edgernn.contract import Contract, TensorSpec
from edgernn.errors import AccuracyGateError, EdgernnError, ModelError, UsageError
from edgernn.files import check_writable, replacing
from edgernn.metadata import Metadata
from edgernn.sessions import Array
from edgernn_exporters.onnx_files import add_gate, save_model
from edgernn_exporters.onnx_import.comparing import NO_GATE, StreamError, kind_of
from edgernn_exporters.onnx_import.limits import DEFAULT, PROOF_BYTES, Limits
from edgernn_exporters.onnx_import.memory import bounded
from edgernn_exporters.onnx_import.normalizing import normalized, specs_of
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.proof import Proof, Runtimes, prove
from edgernn_exporters.onnx_import.translating import Translation

UNPROVEN = "imported with --no-gate"


@dataclass(frozen=True)
class Described:
    """Say what an imported model takes, gives and remembers.

    Attributes:
        inputs: Inputs, states not among them.
        outputs: Outputs, states not among them.
        states: State inputs.
        contract: The contract that was inferred, or None.
        notes: What the import did.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    states: tuple[TensorSpec, ...]
    contract: Contract | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    """Say what an import wrote.

    Attributes:
        path: The ONNX file.
        metadata: The metadata in it.
        described: Its inputs, outputs and states, and what was done.
        proof: What was compared; None without a proof.
        source_bytes: Size of the original, with its data in other files.
        bytes: Size of the new file.
    """

    path: Path
    metadata: Metadata
    described: Described
    proof: Proof | None
    source_bytes: int
    bytes: int


def import_onnx(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    fixes: Mapping[str, ArrayLike] | None = None,
    states: Mapping[str, str] | None = None,
    inputs: Mapping[str, Array] | None = None,
    runtimes: Runtimes | None,
    confirm: Callable[[Described], bool] | None = None,
    limits: Limits = DEFAULT,
) -> Imported:
    """Write an ONNX file of another program in the form that the toolkit works with.

    Args:
        source: ONNX file.
        path: File to write; it appears only when it has been proven.
        fixes: Values of inputs that become constants, and sizes of dynamic axes, by name.
        states: Names of outputs by the inputs that take them in the next step, where the inference
            needs to be told.
        inputs: Inputs for the proof, beside random ones.
        runtimes: What runs both files; None writes the file unproven.
        confirm: Gets what was inferred, before the proof; False ends the import.
        limits: What reading the file may cost.

    Raises:
        UsageError: A name or value in ``fixes`` or ``states`` is wrong, both files are the same,
            or the contract was not confirmed.
        ModelError: The file is broken, unsafe, too large, or has operators that are unknown.
        AccuracyGateError: The new file does not compute what the original does.
        InputError: The original does not take ``inputs``.
        OutputError: The file cannot be written.
    """
    if Path(source).resolve() == Path(path).resolve():
        raise UsageError(f"{path} is the original itself and would be lost; choose another -o")
    check_writable(path)
    request = _Request(
        Path(source), Path(path), fixes or {}, states or {}, inputs, runtimes, confirm, limits
    )
    with _explained(request.source):
        return _streaming(request)


@contextmanager
def _explained(source: Path) -> Iterator[None]:
    """Turn what a malformed graph makes fail somewhere within into a reason to refuse the file."""
    try:
        yield
    except (EdgernnError, OSError):
        raise
    except Exception as error:
        raise ModelError(
            f"{source}: the import fails on its graph ({kind_of(error)}); where "
            f"ONNX Runtime runs the file, this is a defect to report"
        ) from error


def _streaming(request: _Request) -> Imported:
    """Import as a model that streams, if the proof agrees; else as one of whole sequences."""
    notes = Notes()
    try:
        return _imported(request, notes)
    except StreamError as error:
        reason, by_caches = str(error), notes.by_caches
    if by_caches:
        notes = Notes()
        notes.add(f"the model does not stream: with caches for its windows over time, {reason}.")
        try:
            return _imported(request, notes, windows=False)
        except StreamError as error:
            reason = str(error)
    notes = Notes()
    notes.add(f"the model does not stream: {reason}.")
    return _imported(request, notes, windows=False, streams=False)


@dataclass(frozen=True)
class _Request:
    """The arguments of `import_onnx`."""

    source: Path
    path: Path
    fixes: Mapping[str, ArrayLike]
    states: Mapping[str, str]
    inputs: Mapping[str, Array] | None
    runtimes: Runtimes | None
    confirm: Callable[[Described], bool] | None
    limits: Limits


def _imported(
    request: _Request, notes: Notes, *, windows: bool = True, streams: bool = True
) -> Imported:
    path, runtimes = request.path, request.runtimes
    normal = normalized(
        request.source, request.fixes, request.states, notes, request.limits,
        windows=windows, streams=streams,
    )  # fmt: skip
    source_bytes = normal.source_bytes
    described = _described(normal.model, normal.contract, notes)
    if request.confirm is not None and not request.confirm(described):
        raise UsageError(
            "the contract was not confirmed, so nothing was written; name the states with "
            "--state INPUT=OUTPUT"
        )
    metadata = replace(
        normal.metadata, contract=normal.contract, parent=normal.sha256, gate=None,
        tools={**normal.metadata.tools, "onnx": onnx.__version__},
        unproven=UNPROVEN if runtimes is None else normal.metadata.unproven,
    )  # fmt: skip
    proof = None
    with replacing(path) as temporary:
        save_model(normal.model, metadata, temporary)
        translation, fixed = normal.translation, normal.fixed
        del normal  # the proof's memory is that of running, not of the model
        if runtimes is not None:
            with bounded(PROOF_BYTES + 8 * source_bytes):
                proof = _proven(request, fixed, temporary, translation, runtimes, notes)
            metadata = replace(metadata, gate=asdict(proof))
            add_gate(temporary, asdict(proof))
    return Imported(
        path=path,
        metadata=metadata,
        described=replace(described, notes=tuple(notes)),
        proof=proof,
        source_bytes=source_bytes,
        bytes=path.stat().st_size,
    )


def _described(model: onnx.ModelProto, contract: Contract | None, notes: Notes) -> Described:
    states = contract.states if contract else ()
    fed, returned = {s.input for s in states}, {s.output for s in states}
    inputs, outputs = specs_of(model.graph.input), specs_of(model.graph.output)
    by_name = {spec.name: spec for spec in inputs}
    return Described(
        inputs=tuple(spec for spec in inputs if spec.name not in fed),
        outputs=tuple(spec for spec in outputs if spec.name not in returned),
        states=tuple(by_name[state.input] for state in states),
        contract=contract,
        notes=tuple(notes),
    )


def _proven(
    request: _Request,
    fixed: Mapping[str, Array],
    written: Path,
    translation: Translation,
    runtimes: Runtimes,
    notes: Notes,
) -> Proof:
    try:
        return prove(
            request.source, fixed, written, translation, runtimes, notes, given=request.inputs
        )
    except StreamError:
        raise
    except MemoryError:
        raise AccuracyGateError(
            f"{request.path}: running the original takes more memory than a model of its size "
            f"needs, so nothing proves the import; {NO_GATE}"
        ) from None
    except AccuracyGateError as error:
        message = str(error).replace(f"{written}: ", "").replace(str(written), str(request.path))
        raise AccuracyGateError(f"{request.path}: {message}") from None
