"""Open models and pairs of them for the verbs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgernn.sessions import Session

if TYPE_CHECKING:
    from edgernn.pairs import Pair

PathLike = str | os.PathLike[str]

_FOREIGN_SECONDS = 300


def load(path: PathLike, target: str = "cpu", **options: Any) -> Session:
    """Load a model on a target (see `edgernn_runtimes.load`).

    Example:
        >>> stream = edgernn.load("kw.onnx", "cpu", threads=1).stream()
    """
    from edgernn_runtimes import TARGETS
    from edgernn_runtimes import load as run_load

    if target in TARGETS and TARGETS[target].needs_compile:
        from edgernn_exporters.codegen import compile as generate

        options["compile"] = generate
    return run_load(path, target, **options)


def opened(model: PathLike | Session, target: str, **options: Any) -> Session:
    """Load a file; a session is returned as it is."""
    if isinstance(model, str | os.PathLike):
        return load(model, target, **options)
    return model


def one_thread() -> Any:
    """Return what opens a file on one thread of the processor, as gates and proofs do."""
    from edgernn_runtimes import load as run_load

    return partial(run_load, target="cpu", threads=1)


def open_pair(encoder: PathLike, decoder: PathLike, target: str = "cpu", **options: Any) -> Pair:
    """Open an encoder and its decoder, to decode with (see `edgernn.decoding`).

    Generated C has fixed sizes: on such a target the decoder is built again for each new length of
    the encoder's output.

    Args:
        encoder: ONNX file, the one that the decoder was exported with or one quantized from it.
        decoder: ONNX file of `edgernn.export_pair`, or one quantized from it.
        target: Where both are loaded.
        **options: For the target, such as ``threads=1``.

    Raises:
        ContractError: The decoder names no encoder, or another one, or the two do not fit.
        ModelError, TargetUnavailable, UsageError: As `load`.

    Example:
        >>> pair = edgernn.open_pair("encoder.onnx", "decoder.onnx")
    """
    from edgernn.pairs import Pair, PairLink
    from edgernn_exporters.inspection import inspect
    from edgernn_runtimes import TARGETS

    first, second = inspect(encoder), inspect(decoder)
    link = PairLink.from_json(second.metadata.pair, str(decoder))
    link.check_encoder(first.sha256, first.metadata.parent, str(encoder), str(decoder))
    described = second.side()
    link.check(first.side(), described)

    @lru_cache(maxsize=16)
    def opened_for(sizes: tuple[tuple[str, int], ...]) -> Session:
        return load(decoder, target, **options, **({"fixed": dict(sizes)} if sizes else {}))

    def open_decoder(sizes: Mapping[str, int]) -> Session:
        needed = target in TARGETS and TARGETS[target].needs_compile
        return opened_for(tuple(sorted(sizes.items())) if needed else ())

    session = load(encoder, target, **options)
    return Pair(link, session, described, open_decoder)


def encoder_of(decoder: PathLike) -> Path | None:
    """Return the encoder beside a decoder, ``NAME.encoder.onnx``, or None.

    None, too, where the file is no decoder of a pair.
    """
    from edgernn.model_props import read_metadata

    beside = encoder_name(decoder)
    metadata = read_metadata(decoder) if beside.is_file() else None
    return None if metadata is None or metadata.pair is None else beside


def encoder_name(decoder: PathLike) -> Path:
    """Return where the encoder of a task's decoder is written."""
    path = Path(decoder)
    return path.with_suffix(f".encoder{path.suffix}")


def plain() -> Any:
    """Return what opens a foreign file on one thread of the processor, for its proof.

    A run may take five minutes, for a loop in such a file may have no end.
    """
    from edgernn_runtimes.plain import open_plain

    return partial(open_plain, threads=1, seconds=_FOREIGN_SECONDS)
