"""Run folders: written after each epoch so that a kill at any moment leaves a usable one.

A folder holds

- ``run.json``: what is trained, how far, and the hashes of the tensor files (`RunInfo`),
- ``model.safetensors``: the best weights so far, under the module's own names,
- ``last.safetensors``: what continuing needs, ``model.*`` and ``optimizer.*`` (AdamW's moments
  and step counts) and, if the recipe averages the weights, ``ema.*``,
- ``metrics.jsonl``: one line per epoch.

An epoch is saved in four steps: the tensors are written beside the old ones, as
``model.epoch-7.safetensors``; ``run.json`` is replaced by one that has their hashes, which is the
moment the epoch counts; the tensors are renamed over the old ones; ``metrics.jsonl`` is replaced.
A reader takes whichever of the two names has the hash in ``run.json``, so it finds a whole
checkpoint between any two of these steps. `settle` brings an interrupted folder back in order.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

from edgernn.errors import CheckpointError
from edgernn.files import write_bytes, write_text
from edgernn.training.models import Model, build_model
from edgernn.training.quantized import to_quantized
from edgernn.training.runs import RUN_FILE, RunInfo, SavedFile, read_run
from edgernn.training.tensors import Tensors, from_bytes, put_into, read_tensors, to_bytes

WEIGHTS, LAST, METRICS = "model", "last", "metrics.jsonl"
_READS = 3
_LEFT_OVER = re.compile(
    r"(model|last)\.epoch-\d+\.safetensors"
    r"|\.(run\.json|metrics\.jsonl|(model|last)(\.epoch-\d+)?\.safetensors)\.[0-9a-f]{8}\.tmp"
)


def load_run(folder: str | Path) -> tuple[Model, RunInfo]:
    """Load the best network of a run, in evaluation mode, on the CPU.

    After quantization-aware training its layers are quantized ones.

    Raises:
        CheckpointError: The folder holds no run, no epoch of it has ended, or a file is broken.

    Example:
        >>> model, run = load_run("runs/kw")  # doctest: +SKIP
        >>> run.best.validation  # doctest: +SKIP
        0.994
    """
    run, tensors = _read(Path(folder), WEIGHTS)
    model = build_model(run.model)
    if run.qat is not None:
        model = to_quantized(model, run.qat.precision)
    put_into(model, tensors, Path(folder) / f"{WEIGHTS}.safetensors")
    return model.eval(), run


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Copy the weights of a safetensors file into a module of the user's own.

    Raises:
        CheckpointError: The file is missing, a pickle or broken, or belongs to another
            architecture; the module is untouched then.

    Example:
        >>> load_weights(module, "weights.safetensors")  # doctest: +SKIP
    """
    put_into(module, read_tensors(path), path)


def load_last(folder: Path) -> Tensors:
    """Read what continuing the run needs: ``model.*``, ``optimizer.*`` and perhaps ``ema.*``.

    Raises:
        CheckpointError: As `load_run`.
    """
    return _read(folder, LAST)[1]


def save_epoch(
    run: RunInfo, last: Mapping[str, Tensor], best: Mapping[str, Tensor] | None
) -> RunInfo:
    """Save the end of an epoch.

    Args:
        run: The run with this epoch in its history; its file entries are still the old ones.
        last: What continuing needs.
        best: The weights, if this epoch is the best so far.

    Returns:
        The run with its new file entries.

    Raises:
        OutputError: The folder cannot be written; what it held before is intact.
    """
    run = replace(run, last=_stage(run, LAST, last))
    if best is not None:
        run = replace(run, weights=_stage(run, WEIGHTS, best))
    write_run(run)
    settle(run)
    return run


def write_run(run: RunInfo) -> None:
    """Replace ``run.json``."""
    text = json.dumps(run.to_json(), indent=1, ensure_ascii=False, default=dict)
    write_text(run.folder / RUN_FILE, text + "\n")


def settle(run: RunInfo) -> None:
    """Give the files that ``run.json`` names their final names and remove what a kill left over.

    ``metrics.jsonl`` is written anew from the history in ``run.json``.
    """
    for name, saved in ((WEIGHTS, run.weights), (LAST, run.last)):
        if saved is not None:
            staged = _staged(run.folder, name, saved.epoch)
            content = _bytes_of(staged)
            if content is not None and _hash(content) == saved.sha256:
                staged.replace(run.folder / f"{name}.safetensors")
    for path in run.folder.iterdir():
        if _LEFT_OVER.fullmatch(path.name):
            path.unlink()
    lines = [json.dumps(record.to_metrics(run.metric)) + "\n" for record in run.history]
    write_text(run.folder / METRICS, "".join(lines))


def _stage(run: RunInfo, name: str, tensors: Mapping[str, Tensor]) -> SavedFile:
    content = to_bytes(tensors)
    write_bytes(_staged(run.folder, name, run.epoch), content)
    return SavedFile(run.epoch, _hash(content))


def _staged(folder: Path, name: str, epoch: int) -> Path:
    return folder / f"{name}.epoch-{epoch}.safetensors"


def _read(folder: Path, name: str) -> tuple[RunInfo, Tensors]:
    # A training may save an epoch between our reading of run.json and of the tensors: try again.
    for _ in range(_READS):
        run = read_run(folder)
        saved = run.weights if name == WEIGHTS else run.last
        if saved is None:
            raise CheckpointError(
                f"{folder}: no epoch of this run has ended; continue it with --resume"
            )
        final = folder / f"{name}.safetensors"
        for path in (final, _staged(folder, name, saved.epoch)):
            content = _bytes_of(path)
            if content is not None and _hash(content) == saved.sha256:
                return run, from_bytes(content, path)
    if not final.exists():
        raise CheckpointError(f"{final} is missing; restore it or train again in another folder")
    read_tensors(final)  # says so if it is a pickle or broken in itself
    raise CheckpointError(
        f"{final} is not the file that {folder / RUN_FILE} describes (its SHA-256 differs); "
        f"restore both from one copy or train again in another folder"
    )


def _bytes_of(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
