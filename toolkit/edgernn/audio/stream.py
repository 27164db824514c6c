"""Features of a live stream, from chunks of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.audio.logmel import LogMel
from edgernn.errors import InputError

Float32 = NDArray[np.float32]


class LogMelStream:
    """Turn chunks of samples into the frames that they complete.

    All frames together equal ``mel`` of the whole recording (but for a recording shorter than
    one window, which it fills up with zeros).

    Example:
        >>> import numpy as np
        >>> stream = LogMelStream(LogMel())
        >>> [len(stream.push(np.zeros(100, np.float32))) for _ in range(4)]
        [0, 1, 1, 1]
    """

    def __init__(self, mel: LogMel) -> None:
        self._mel = mel
        self.reset()

    def reset(self) -> None:
        """Begin a new recording."""
        self._pending = np.zeros(0, np.float32)
        self._reference: float | None = None

    def push(self, samples: NDArray[Any]) -> Float32:
        """Take the next samples ``[N]``; returns features ``[T, bands]``, T may be 0.

        Raises:
            InputError: The samples are not one row of finite numbers; the stream is unchanged.
        """
        x = np.asarray(samples, np.float32)
        if x.ndim != 1 or not np.isfinite(x).all():
            raise InputError(
                f"a stream takes samples [N] without NaN or infinity; got shape {x.shape}"
            )
        pending = np.concatenate([self._pending, x])
        if len(pending) < self._mel.window:
            self._pending = pending
            return np.zeros((0, self._mel.bands), np.float32)
        energy = self._mel.power(pending) @ self._mel.filterbank()
        features, levels = self._mel.compress(energy, self._reference)
        self._reference = float(levels[-1])
        self._pending = pending[len(features) * self._mel.hop :]
        return features
