"""Prove that an imported file computes what the original does, by running both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from edgernn.contract import Contract
from edgernn.errors import AccuracyGateError, EdgernnError, InputError, ModelError
from edgernn.sessions import Array, Arrays, Session
from edgernn.streaming import measure_sequences, run_in_chunks
from edgernn_exporters.onnx_import.comparing import (
    NO_GATE,
    TOLERANCE,
    Checker,
    StreamError,
    kind_of,
)
from edgernn_exporters.onnx_import.feeding import Feeder
from edgernn_exporters.onnx_import.notes import Notes
from edgernn_exporters.onnx_import.translating import Translation
from edgernn_exporters.onnx_import.walking import described, nodes_of
from edgernn_exporters.onnx_nodes import attributes, is_standard

STEPS = 1000
_CHUNKS = (1, 7, 64)
_LENGTHS = (5, 37, 130)
_LONG_CHUNKS = (1, 7)
_LEFT_OUT = ("activations", "activation_alpha", "activation_beta", "clip", "input_forget")

Run = Callable[[Arrays], Arrays]
_Case = tuple[str, Arrays, Arrays]  # description, inputs, outputs


@dataclass(frozen=True)
class Runtimes:
    """What runs files.

    Attributes:
        plain: Opens a file as the function that it is, states among inputs and outputs.
        load: Opens a file with its contract.
    """

    plain: Callable[[Path], Run]
    load: Callable[[Path], Session]


@dataclass(frozen=True)
class Proof:
    """Report a proof that succeeded.

    Attributes:
        cases: Outputs compared.
        max_error: Largest ``max|a - b| / max(1, max|original|)``.
        tolerance: The most that was allowed.
        steps: Steps with states fed back that were compared; 0 if the file does not stream.
        against: What ran the original: ``"onnxruntime"`` or ``"onnx.reference"``.
    """

    cases: int
    max_error: float
    tolerance: float
    steps: int
    against: str


def prove(
    original: Path,
    fixed: Mapping[str, Array],
    written: Path,
    translation: Translation,
    runtimes: Runtimes,
    notes: Notes,
    *,
    given: Mapping[str, Array] | None = None,
    steps: int = STEPS,
) -> Proof:
    """Run both files on random and given inputs, and with states fed back, and compare.

    A file that streams is compared with itself, too: pieces of a sequence with the whole. One file
    is open at a time, so that memory is that of one.

    Args:
        original: The file that was imported.
        fixed: Its inputs that were fixed.
        written: The file that was made from it.
        translation: What of the one is what of the other.
        runtimes: What opens them.
        notes: Receives what ran the original if it was not ONNX Runtime.
        given: Inputs of the user's by name; states may be left out and start at their first value.
        steps: Length of the comparison with states fed back.

    Raises:
        StreamError: The new file is the same function, but gives something else in pieces.
        AccuracyGateError: The original does not run, or the new file gives something else.
        InputError: The original does not take the given inputs.
    """
    cases, streamed, against = _of_original(
        original, fixed, translation, runtimes, notes, given, steps
    )
    if against != "onnxruntime":
        _check_runs(written, runtimes)
    checker = Checker()
    _compare_cases(written, cases, translation, runtimes, checker)
    if _is_cut(translation.contract):
        with closing(_attempt("opening it", partial(runtimes.load, written))) as session:
            if streamed is not None:
                _compare_stream(session, streamed, translation, checker)
            _compare_chunks(session, checker)
    done = streamed.steps if streamed is not None else 0
    return Proof(checker.cases, checker.max_error, TOLERANCE, done, against)


def _of_original(
    path: Path,
    fixed: Mapping[str, Array],
    translation: Translation,
    runtimes: Runtimes,
    notes: Notes,
    given: Mapping[str, Array] | None,
    steps: int,
) -> tuple[list[_Case], _Streamed | None, str]:
    """Return what the original gives, and what ran it; it is closed again."""
    opened, against = _open_original(path, runtimes, notes)

    def run(inputs: Arrays) -> Arrays:
        return opened({**inputs, **fixed})

    cases = list(_cases(run, translation, given))
    return cases, _stream_of(run, translation, steps), against


def _check_runs(written: Path, runtimes: Runtimes) -> None:
    """Check that ONNX Runtime takes the import where it did not take the original."""
    try:
        runtimes.plain(written)
    except ModelError as error:
        raise AccuracyGateError(
            f"ONNX Runtime runs neither the original nor its import: {error}; {NO_GATE}"
        ) from None


def _compare_cases(
    written: Path,
    cases: list[_Case],
    translation: Translation,
    runtimes: Runtimes,
    checker: Checker,
) -> None:
    plain = _attempt("opening it", partial(runtimes.plain, written))
    for label, inputs, outputs in cases:
        got = _attempt(label, partial(plain, translation.feeds(inputs)))
        checker.compare(label, translation.expected(outputs), got)


def _open_original(path: Path, runtimes: Runtimes, notes: Notes) -> tuple[Run, str]:
    try:
        return runtimes.plain(path), "onnxruntime"
    except ModelError as error:
        reason = str(error)
    model = onnx.load(path)
    for node in nodes_of(model):
        if is_standard(node, "Loop"):
            raise AccuracyGateError(
                f"{reason}; ONNX's reference implementation cannot be stopped in "
                f"{described(node)}, which may have no end, so nothing can prove the import; "
                f"{NO_GATE}"
            )
        if is_standard(node, "LSTM", "GRU", "RNN"):
            lengths = len(node.input) > 4 and bool(node.input[4])
            if lengths or not set(_LEFT_OUT).isdisjoint(attributes(node)):
                raise AccuracyGateError(
                    f"{reason}; ONNX's reference implementation leaves out what {node.op_type} "
                    f"nodes of the file have (lengths, activations or clip), so nothing can prove "
                    f"the import; {NO_GATE}"
                )
    try:
        evaluator = ReferenceEvaluator(model)
    except Exception as error:  # it raises whatever an operator raises
        raise AccuracyGateError(
            f"{reason}; nor does ONNX's reference implementation run it ({kind_of(error)}); "
            f"{NO_GATE}"
        ) from None
    notes.add(f"ONNX Runtime does not run the original ({reason}); ONNX's reference did.")
    names = list(evaluator.output_names)

    def run(inputs: Arrays) -> Arrays:
        try:
            with np.errstate(all="ignore"):  # its results are compared, infinite ones, too
                values: Any = evaluator.run(names, inputs)
        except Exception as error:  # likewise
            raise ModelError(f"ONNX's reference implementation fails: {kind_of(error)}") from None
        return dict(zip(names, map(np.asarray, values), strict=True))

    return run, "onnx.reference"


def _cases(
    run: Run, translation: Translation, given: Mapping[str, Array] | None
) -> Iterator[_Case]:
    """Yield a description, the inputs and the original's outputs of each case that it takes."""
    if given is not None:
        inputs = _completed(given, translation)
        try:
            yield "the given inputs", inputs, run(inputs)
        except ModelError as error:
            raise InputError(f"the original does not take the given inputs: {error}") from None
    reason, taken = "", 0
    for label, inputs in Feeder(
        tuple(translation.inputs.values()), translation.original_contract
    ).cases():
        try:
            outputs = run(inputs)
        except ModelError as error:  # sizes that it was not made for
            reason = str(error)
            continue
        taken += 1
        yield f"random inputs {label}", inputs, outputs
    if not taken and given is None:
        raise AccuracyGateError(
            f"the original does not run on random inputs ({reason}); give inputs that it takes "
            f"with --inputs FILE.npz"
        )


def _completed(given: Mapping[str, Array], translation: Translation) -> Arrays:
    """Add first values of states that were left out."""
    names = list(translation.inputs)
    missing = {name for name in names if name not in given}
    if not set(given) <= set(names) or not missing <= set(translation.wiring):
        raise InputError(
            f"--inputs has {sorted(given)}, but the original takes {names}; give all, states may "
            f"be left out"
        )
    first = translation.first_states(translation.batch(given)) if missing else {}
    return {**given, **{name: first[name] for name in missing}}


@dataclass(frozen=True)
class _Streamed:
    """A long sequence, and what the original made of it.

    Attributes:
        inputs: Of each call, or of one call with the whole sequence.
        outputs: Likewise.
        steps: Time steps.
    """

    inputs: list[Arrays]
    outputs: list[Arrays]
    steps: int


def _stream_of(run: Run, translation: Translation, steps: int) -> _Streamed | None:
    """Run the original over a long sequence, with its own states fed back by hand."""
    contract, wiring = translation.original_contract, translation.wiring
    if contract is None or not _is_cut(contract):
        return None
    specs = [spec for name, spec in translation.inputs.items() if name not in wiring]
    feeder = Feeder(specs, contract)
    times = [
        spec.shape[place.time]
        for spec in specs
        if (place := contract.stream.inputs.get(spec.name)) and place.time is not None
    ]
    if not times and not translation.added_time:
        return None
    inputs = feeder.draw(1, steps, seed=0)
    batch = translation.batch(inputs)
    if translation.has_new_states:  # so the original has to run the whole at once
        state = translation.first_states(batch)
        try:
            outputs = run({**inputs, **state})
        except ModelError:  # it does not take sequences of that length
            return None
        size = times[0]
        return _Streamed([inputs], [outputs], size if isinstance(size, int) else steps)
    state = translation.first_states(batch)
    every, results = [], []
    for call in range(steps):
        inputs = feeder.draw(1, 1, seed=call)
        outputs = run({**inputs, **state})
        state = {name: outputs[output] for name, output in wiring.items()}
        every.append(inputs)
        results.append(outputs)
    return _Streamed(every, results, steps)


def _is_cut(contract: Contract | None) -> bool:
    """Tell whether sequences may be cut into calls."""
    return contract is not None and contract.stream.causal and contract.stream.lengths is None


def _compare_chunks(session: Session, checker: Checker) -> None:
    """Compare sequences that are cut into calls with the whole, if their length is free."""
    times, contract = _times(session), session.metadata.contract
    if not times or any(isinstance(size, int) for size in times):
        return
    feeder = Feeder(session.inputs, contract)
    for seed, steps in enumerate(_LENGTHS):
        inputs = feeder.draw(1 + seed % 2, steps, seed=seed)
        whole = _attempt(f"{steps} time steps", partial(session.run, inputs))
        _compare_pieces(session, inputs, whole, _CHUNKS, checker)


def _times(session: Session) -> set[int | str]:
    """Return the sizes of time axes, names of dynamic ones."""
    contract = session.metadata.contract
    assert contract is not None
    return {
        spec.shape[place.time]
        for spec in session.inputs
        if (place := contract.stream.inputs[spec.name]).time is not None
    }


def _compare_pieces(
    session: Session, inputs: Arrays, whole: Arrays, chunks: Sequence[int], checker: Checker
) -> None:
    steps, _ = measure_sequences(session, inputs)
    for chunk in chunks:
        label = f"{steps} time steps in calls of {chunk}"
        pieces = _attempt(label, partial(run_in_chunks, session, inputs, chunk))
        checker.compare(label, whole, pieces, in_pieces=True)


def _compare_stream(
    session: Session, streamed: _Streamed, translation: Translation, checker: Checker
) -> None:
    names = [spec.name for spec in session.outputs]
    if len(streamed.inputs) == 1:
        if streamed.steps > 1 and any(isinstance(size, int) for size in _times(session)):
            raise StreamError(
                f"it takes {streamed.steps} time steps in each call and starts anew, so that "
                f"nothing shows what follows them"
            )
        whole = {name: streamed.outputs[0][name] for name in names}
        _compare_pieces(session, streamed.inputs[0], whole, _LONG_CHUNKS, checker)
        return
    label = f"{len(streamed.inputs)} calls with states fed back"
    batch = translation.batch(streamed.inputs[0])
    stream = _attempt(label, partial(session.stream, batch))
    got: dict[str, list[Array]] = {name: [] for name in names}
    for inputs in streamed.inputs:
        result = _attempt(label, partial(stream.step, translation.timed(inputs)))
        for name in names:
            got[name].append(result[name])
    expected = [translation.timed(outputs) for outputs in streamed.outputs]
    checker.compare(
        label,
        {name: np.stack([step[name] for step in expected]) for name in names},
        {name: np.stack(values) for name, values in got.items()},
    )


def _attempt(label: str, run: Callable[[], Any]) -> Any:
    try:
        return run()
    except EdgernnError as error:
        raise AccuracyGateError(
            f"the imported model does not run ({label}): {error}; this is a defect to report; "
            f"{NO_GATE}"
        ) from None
