"""Audio in, features out; numpy only."""

from edgernn.audio.logmel import LogMel
from edgernn.audio.stream import LogMelStream
from edgernn.audio.wav import read_wav, resample, write_wav

__all__ = ["LogMel", "LogMelStream", "read_wav", "resample", "write_wav"]
