"""Run the decoder of a pair on known sequences, from what its encoder reads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from edgernn.errors import InputError
from edgernn.pairs import Pair, PairLink
from edgernn.sessions import Array, Arrays, Session
from edgernn_exporters.inspection import inspect

Play = Callable[[Session, Mapping[str, Array]], Iterator[Arrays]]
"""From a session and the inputs of a sequence to the outputs of each call."""


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
        ContractError: The two are no pair.
        InputError: An input of the encoder has the name of the decoder's tokens.
    """
    first, second = inspect(encoder_file), inspect(source)
    link = PairLink.from_json(second.metadata.pair, str(source))
    link.check_encoder(first.sha256, first.metadata.parent, str(encoder_file), str(source))
    side = second.side()
    link.check(first.side(), side)
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
                f"[rows, steps] that begin with the start token; got {sorted(inputs)}"
            )
        live = Pair(link, encoder, side, lambda _: session).decode(given)
        if len(tokens) != live.rows:
            raise InputError(
                f"{link.token!r} has {len(tokens)} rows, the encoder's inputs have {live.rows}"
            )
        for step in np.moveaxis(tokens, 1, 0):
            yield live.advance(step)

    return play
