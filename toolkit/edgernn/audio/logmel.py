"""Log-mel features: the numpy reference, and its parameters as JSON for a model's metadata.

A frame depends on its own window of samples and on one running number, the reference level, so
the features of a live stream equal those of the recording, one frame per hop.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgernn.errors import InputError, ModelError

Float32 = NDArray[np.float32]

KIND = "logmel"


@dataclass(frozen=True)
class LogMel:
    """Turn samples into standardised log-mel energies.

    The energy ``e`` of a band is the power of the periodic Hann window's spectrum, divided by the
    squared sum of the window and summed over one triangular band. The reference level of frame
    ``t`` follows the loudest frames so far and falls slowly::

        r[t] = max(level[t], r[t-1] - release, quietest)
        x[t] = (ln(e[t] + floor) - r[t] - offset) * scale

    where ``level[t]`` is the logarithm of the bands' mean ``e[t] + floor``, and
    ``r[-1] = quietest``. Whoever speaks far from the microphone thus looks as loud as whoever
    speaks close to it. Offset and scale are constants, not statistics of the input.

    Attributes:
        sample_rate_hz: Rate the samples must have.
        bands: Features per frame.
        window_ms: Length of the analysis window.
        hop_ms: Distance between the starts of two frames.
        n_fft: Length of the Fourier transform, at least the window, in samples.
        low_hz: Lower edge of the first band.
        high_hz: Upper edge of the last band, at most half the sample rate.
        floor: Power added before the logarithm, so that silence is finite.
        release: Fall of the reference level per frame, in units of the natural logarithm.
        quietest: Lowest reference level, natural logarithm.
        offset: Mean of the logarithm over the reference level, subtracted.
        scale: One over the standard deviation of the logarithm.

    Example:
        >>> import numpy as np
        >>> LogMel()(np.zeros(8000, np.float32)).shape
        (98, 40)
    """

    sample_rate_hz: int = 8000
    bands: int = 40
    window_ms: float = 25.0
    hop_ms: float = 10.0
    n_fft: int = 256
    low_hz: float = 60.0
    high_hz: float = 4000.0
    floor: float = 1e-10
    release: float = 0.05
    quietest: float = -20.0
    offset: float = -3.0
    scale: float = 0.27

    def __post_init__(self) -> None:
        """Refuse parameters that have no meaning.

        Raises:
            ModelError: A size is not positive or a limit is out of order.
        """
        numbers = [float(getattr(self, field.name)) for field in dataclasses.fields(self)]
        if not all(map(math.isfinite, numbers)):
            raise ModelError("log-mel parameters must be finite numbers; export the model again")
        if not 1 <= self.sample_rate_hz <= 1_000_000 or not 1 <= self.bands <= 1024:
            raise ModelError(
                f"log-mel sample_rate_hz {self.sample_rate_hz} or bands {self.bands} is out of "
                "range; expected 1..1000000 and 1..1024"
            )
        if not 1 <= self.hop <= self.window <= self.n_fft <= 65536 or self.window < 2:
            raise ModelError(
                f"log-mel window of {self.window} samples, hop of {self.hop} and n_fft "
                f"{self.n_fft} do not fit: expected 1 <= hop <= window <= n_fft <= 65536"
            )
        if not 0 <= self.low_hz < self.high_hz <= self.sample_rate_hz / 2:
            raise ModelError(
                f"log-mel bands from {self.low_hz} to {self.high_hz} Hz do not lie within 0 to "
                f"{self.sample_rate_hz / 2} Hz"
            )
        if self.floor <= 0 or self.scale <= 0 or self.release < 0:
            raise ModelError(
                "log-mel floor and scale must be positive and release not negative; "
                "export the model again"
            )

    @property
    def window(self) -> int:
        """Count the samples of the analysis window."""
        return round(self.sample_rate_hz * self.window_ms / 1000)

    @property
    def hop(self) -> int:
        """Count the samples between the starts of two frames."""
        return round(self.sample_rate_hz * self.hop_ms / 1000)

    @property
    def frame_rate_hz(self) -> float:
        """Count the frames per second."""
        return self.sample_rate_hz / self.hop

    def frames(self, samples: int) -> int:
        """Count the frames of a recording: ``1 + (N - window) // hop``, at least one."""
        return 1 + max(0, samples - self.window) // self.hop

    def power(self, samples: NDArray[Any]) -> Float32:
        """Compute the power spectrum of each frame.

        Args:
            samples: ``[N]`` in -1 to 1; fewer than one window are padded with zeros.

        Returns:
            Power ``[T, n_fft // 2 + 1]``.

        Raises:
            InputError: The samples are not one row of finite numbers.
        """
        x = np.asarray(samples, np.float32)
        if x.ndim != 1 or x.size == 0 or not np.isfinite(x).all():
            raise InputError(
                f"log-mel needs samples [N], N > 0, without NaN or infinity; got shape {x.shape}"
            )
        if x.size < self.window:
            x = np.pad(x, (0, self.window - x.size))
        strided = np.lib.stride_tricks.sliding_window_view(x, self.window)[:: self.hop]
        spectrum = np.fft.rfft(strided * _hann(self.window), self.n_fft, axis=1)
        return (spectrum.real**2 + spectrum.imag**2).astype(np.float32)

    def filterbank(self, warp: float = 1.0) -> Float32:
        """Return the triangular bands ``[n_fft // 2 + 1, bands]``, read-only.

        Args:
            warp: Factor on the frequency axis, for vocal-tract length perturbation: 1.1 reads
                every band 10 % higher (toward the upper edge by less, so that nothing leaves
                the spectrum).
        """
        return _filterbank(
            self.sample_rate_hz, self.n_fft, self.bands, self.low_hz, self.high_hz, warp
        )

    def compress(
        self, energy: Float32, reference: float | None = None
    ) -> tuple[Float32, NDArray[np.float64]]:
        """Turn band energies into features.

        Args:
            energy: ``[..., T, bands]``, not negative.
            reference: Reference level of the frame before, to continue a stream; None at the
                start.

        Returns:
            Features ``[..., T, bands]``, and the reference levels ``[..., T]``.
        """
        raised = energy + np.float32(self.floor)
        # The running maximum that falls is a plain one where all frames fall with time.
        fall = np.arange(energy.shape[-2]) * self.release
        level = np.log(raised.mean(axis=-1)).astype(np.float64)
        level[..., :1] = np.maximum(
            level[..., :1], self.quietest if reference is None else reference - self.release
        )
        level = np.maximum(np.maximum.accumulate(level + fall, axis=-1) - fall, self.quietest)
        features: Float32 = np.log(raised, out=raised)
        features -= (level + self.offset).astype(np.float32)[..., None]
        features *= np.float32(self.scale)
        return features, level

    def __call__(self, samples: NDArray[Any]) -> Float32:
        """Compute the features of a recording.

        Args:
            samples: ``[N]`` in -1 to 1, at ``sample_rate_hz``.

        Returns:
            Features ``[T, bands]``, ``T = frames(N)``.

        Raises:
            InputError: The samples are not one row of finite numbers.
        """
        return self.compress(self.power(samples) @ self.filterbank())[0]

    def to_json(self) -> dict[str, Any]:
        """Return the parameters under their names, and the kind ``"logmel"``."""
        return {"kind": KIND, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> LogMel:
        """Read what :meth:`to_json` wrote.

        Raises:
            ModelError: A key is unknown or missing, or a value has the wrong type.
        """
        if not isinstance(value, Mapping) or value.get("kind") != KIND:
            raise ModelError(
                f'the preprocessing of this model is not of the kind "{KIND}": {value!r:.80}; '
                "export the model again with this version of edgernn"
            )
        fields = {field.name: field.type for field in dataclasses.fields(cls)}
        given = {name: content for name, content in value.items() if name != "kind"}
        if given.keys() != fields.keys():
            odd = ", ".join(sorted(map(str, given.keys() ^ fields.keys())))
            raise ModelError(
                f"the log-mel parameters of this model have unknown or missing keys: {odd}; "
                "export the model again with this version of edgernn"
            )
        for name, content in given.items():
            # Fields are int or float; JSON writers may shorten 25.0 to 25, bool is neither.
            allowed: tuple[type, ...] = (int,) if fields[name] == "int" else (int, float)
            if isinstance(content, bool) or not isinstance(content, allowed):
                raise ModelError(
                    f"log-mel parameter {name} must be of type {fields[name]}, got {content!r:.40};"
                    " export the model again"
                )
        try:
            typed: dict[str, Any] = {
                name: int(content) if fields[name] == "int" else float(content)
                for name, content in given.items()
            }
            return cls(**typed)
        except OverflowError as error:
            raise ModelError(
                "log-mel parameters must be finite numbers; export the model again"
            ) from error


@functools.lru_cache(maxsize=16)
def _hann(size: int) -> Float32:
    """Return the periodic Hann window, divided by its sum."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    result: Float32 = (window / window.sum()).astype(np.float32)
    result.flags.writeable = False
    return result


def _mel(hz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Convert to mel (O'Shaughnessy's formula, as in HTK)."""
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hz, np.float64) / 700.0))


@functools.lru_cache(maxsize=256)
def _filterbank(
    rate: int, n_fft: int, bands: int, low_hz: float, high_hz: float, warp: float
) -> Float32:
    """Build triangles that are equally wide in mel and overlap by half."""
    edges = np.linspace(_mel(low_hz), _mel(high_hz), bands + 2)
    edges_hz = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)
    if warp != 1.0:
        # Piecewise linear (Jaitly and Hinton, 2013): scale up to a knee, then straight to high_hz.
        knee = 0.8 * high_hz / max(warp, 1.0)
        slope = (high_hz - warp * knee) / (high_hz - knee)
        edges_hz = np.where(
            edges_hz <= knee, warp * edges_hz, high_hz - slope * (high_hz - edges_hz)
        )
    centres = np.arange(n_fft // 2 + 1) * rate / n_fft
    # A band narrower than a bin would fall between two bins: no side under one bin.
    width = np.maximum(np.diff(edges_hz), rate / n_fft)
    rising = 1 - (edges_hz[1:-1] - centres[:, None]) / width[:-1]
    falling = 1 - (centres[:, None] - edges_hz[1:-1]) / width[1:]
    result: Float32 = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    result.flags.writeable = False
    return result
