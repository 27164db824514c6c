"""Run the decoder of a pair on known sequences, from what its encoder reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from edgernn.errors import InputError
from edgernn.metadata import Metadata
from edgernn.pairs import Pair, PairLink, lone_decoder
from edgernn.sessions import Array, Arrays, Session
from edgernn_exporters.inspection import inspect

Play = Callable[[Session, Mapping[str, Array]], Iterator[Arrays]]
"""From a session and the inputs of a sequence to the outputs of each call."""


def encoder_for(
    source: str | os.PathLike[str], metadata: Metadata, encoder: str | os.PathLike[str] | None
) -> Path | None:
    """Return the encoder of a model that is a decoder, else None.

    Args:
        source: ONNX file of the model.
        metadata: Of the model.
        encoder: ONNX file of the encoder, or None.

    Raises:
        UsageError: The model is a decoder, and there is no encoder.
        ContractError: The two are no pair.
    """
    if metadata.pair is None and encoder is None:
        return None
    link = PairLink.from_json(metadata.pair, str(source))
    if encoder is None:
        raise lone_decoder(str(source))
    found = inspect(encoder)
    link.check_encoder(found.sha256, found.metadata.parent, str(encoder), str(source))
    return Path(encoder)


def decoder_play(
    source: str | os.PathLike[str], encoder_file: str | os.PathLike[str], encoder: Session
) -> Play:
    """Return how a decoder is run on a sequence: token by token, whatever it would choose itself.

    A sequence has the encoder's inputs, and the decoder's tokens ``[rows, steps]`` by the name of
    their input.

    Args:
        source: ONNX file of the decoder.
        encoder_file: ONNX file of the encoder.
        encoder: The same, loaded.

    Raises:
        ContractError: The two do not fit.
        InputError: An input of the encoder has the name of the decoder's tokens.
    """
    first, second = inspect(encoder_file), inspect(source)
    link, side = PairLink.from_json(second.metadata.pair, str(source)), second.side()
    link.check(first.side(), side)
    tokens_known = {spec.name: spec.shape[-1] for spec in side.outputs}[link.logits]
    if any(spec.name == link.token for spec in encoder.inputs):
        raise InputError(
            f"{source}: its tokens and an input of the encoder are both named {link.token!r}, so "
            f"calibration data cannot tell them apart; rename one and export both again"
        )

    def play(session: Session, inputs: Mapping[str, Array]) -> Iterator[Arrays]:
        given = dict(inputs)
        tokens = given.pop(link.token, None)
        if tokens is None or tokens.ndim != 2 or tokens.dtype.kind not in "iu":
            raise InputError(
                f"a decoder is calibrated on the encoder's inputs and {link.token!r}, integers "
                f"[rows, steps]; got {sorted(inputs)}"
            )
        low, high = int(tokens.min(initial=0)), int(tokens.max(initial=0))
        if low < 0 or (isinstance(tokens_known, int) and high >= tokens_known):
            raise InputError(
                f"{link.token!r} has tokens from {low} to {high}, the decoder knows 0 to "
                f"{tokens_known - 1 if isinstance(tokens_known, int) else 'more'}; give sequences "
                f"of different lengths as x.0, {link.token}.0, x.1, {link.token}.1, … instead of "
                f"filling them up"
            )
        live = Pair(link, encoder, side, lambda _: session).decode(given)
        if len(tokens) != live.rows:
            raise InputError(
                f"{link.token!r} has {len(tokens)} rows, the encoder's inputs have {live.rows}"
            )
        for step in np.moveaxis(tokens, 1, 0):
            yield live.advance(step)

    return play
