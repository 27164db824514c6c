#!/usr/bin/env python3
"""Synthesise the spoken digits that ship with the ``keywords`` task.

    python scripts/synthesize_digits.py [-o FILE]

Needs ``espeak-ng`` (Debian: ``apt-get install espeak-ng``). The same version of espeak-ng gives
the same file, byte for byte; the shipped file was made with version 1.51.

The file holds 8 kHz audio as 8-bit mu-law (ITU-T G.711 companding curve, without its segment
approximation), one utterance per voice and digit. A voice is an accent with a variant (timbre,
pitch contour) of espeak-ng. No variant occurs in two splits, so the test measures unheard voices.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "toolkit"))

from edgernn.audio import read_wav, resample  # noqa: E402  (after the path is set)
from edgernn.tasks.keywords.data import RATE_HZ, SHIPPED, WORDS, mu_law_encode  # noqa: E402

ACCENTS = (
    "en-us",
    "en-gb",
    "en-029",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-us-nyc",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
)
# Split -> variants of espeak-ng; "" is the plain voice.
VARIANTS = {
    "train": (
        "",
        "m1",
        "m2",
        "m3",
        "m5",
        "m6",
        "m8",
        "f1",
        "f2",
        "f5",
        "klatt",
        "klatt3",
        "klatt4",
        "adam",
        "linda",
        "steph",
        "paul",
        "miguel",
        "Annie",
        "Gene",
    ),
    "validation": ("m7", "f4", "klatt6"),
    "test": ("m4", "f3", "klatt2", "Andy", "belinda", "robert"),
}
ACCENTS_PER_VARIANT = 2


def main() -> None:
    """Parse the command line, synthesise everything, write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=SHIPPED)
    arguments = parser.parse_args()

    plan = [
        (split, variant, ACCENTS[(3 * number + take) % len(ACCENTS)], digit)
        for split, variants in VARIANTS.items()
        for number, variant in enumerate(variants)
        for take in range(ACCENTS_PER_VARIANT)
        for digit in range(len(WORDS))
    ]
    with ThreadPoolExecutor() as pool:
        clips = list(pool.map(lambda row: speak(*row[1:]), plan))
    voices = [f"{accent}+{variant}" if variant else accent for _, variant, accent, _ in plan]
    names = sorted(set(voices))
    splits = sorted(VARIANTS)
    np.savez_compressed(
        arguments.output,
        audio=np.concatenate([mu_law_encode(clip) for clip in clips]),
        lengths=np.array([len(clip) for clip in clips], np.int32),
        digits=np.array([digit for *_, digit in plan], np.uint8),
        voices=np.array([names.index(voice) for voice in voices], np.uint8),
        voice_names=np.array(names),
        splits=np.array([splits.index(split) for split, *_ in plan], np.uint8),
        split_names=np.array(splits),
    )
    size = arguments.output.stat().st_size
    print(f"{len(clips)} utterances, {len(names)} voices, {size} bytes: {arguments.output}")


def speak(variant: str, accent: str, digit: int) -> NDArray[np.float32]:
    """Synthesise one digit at 8 kHz, trimmed, with a peak of 0.5.

    Speed and pitch are drawn per utterance from the hash of its description, so that adding a
    voice leaves the others as they are.
    """
    voice = f"{accent}+{variant}" if variant else accent
    seed = hashlib.sha256(f"{voice} {digit}".encode()).digest()
    words_per_minute, pitch = 110 + seed[0] * 100 // 256, 20 + seed[1] * 60 // 256
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "digit.wav"
        voicing = ["-v", voice, "-s", str(words_per_minute), "-p", str(pitch)]
        subprocess.run(["espeak-ng", *voicing, "-w", str(path), WORDS[digit]], check=True)
        samples, rate_hz = read_wav(path)
    samples = trim(resample(samples, rate_hz, RATE_HZ))
    return samples * np.float32(0.5 / np.abs(samples).max())


def trim(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut what is 35 dB below the loudest 10 ms at both ends, but for 20 ms."""
    block = RATE_HZ // 100
    energy = (samples[: len(samples) // block * block].reshape(-1, block) ** 2).mean(axis=1)
    loud = np.flatnonzero(energy > energy.max() * 10**-3.5)
    return samples[max(0, loud[0] - 2) * block : (loud[-1] + 3) * block]


if __name__ == "__main__":
    main()
