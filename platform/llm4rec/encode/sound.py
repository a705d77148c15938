"""Bytes of a sound file to samples, or the reason why there are none.

Shapes: S samples.
"""

from fractions import Fraction
from io import BytesIO

import numpy as np
import soundfile
from scipy.signal import resample_poly

from llm4rec.encode.encoder import UnreadableError
from llm4rec.encode.media import first_bytes
from llm4rec.schema import FloatVector

SAMPLE_RATE = 16_000
"""Samples a second that every encoder of sounds works with."""

_RATES = (1_000, 384_000)
_MAX_CHANNELS = 32
_BLOCK = 65_536
_NEEDED = "WAV, FLAC, OGG or MP3"


def open_sound(media: bytes, seconds: float) -> FloatVector:
    """Decode the first `seconds` of a sound file to one channel; one that was cut off is used as far as it goes.

    Returns:
        Samples in [-1, 1] at `SAMPLE_RATE`, shape (S,), S > 0.

    Raises:
        UnreadableError: the bytes are no sound file or a damaged one, or hold nothing but silence.
    """
    if not media:
        raise UnreadableError("empty")
    try:
        with soundfile.SoundFile(BytesIO(media)) as file:
            rate = _checked_rate(file)
            samples = _mono(file, int(seconds * rate))
    except soundfile.LibsndfileError as error:
        detail = " ".join(str(error.error_string).split())
        raise UnreadableError(f"not a sound file ({_NEEDED}), {detail}: starts with {first_bytes(media)}") from None
    except (RuntimeError, ValueError, OSError) as error:
        raise UnreadableError(f"damaged sound file: {' '.join(str(error).split())}") from None
    if not np.isfinite(samples).all():
        raise UnreadableError("damaged sound file: samples that are no finite numbers")
    if not len(samples):
        raise UnreadableError("no samples")
    if not samples.any():
        raise UnreadableError("silent: every sample is 0")
    return np.clip(_resampled(samples, rate), -1, 1).astype(np.float32)


def _resampled(samples: FloatVector, rate: int) -> FloatVector:
    if rate == SAMPLE_RATE:
        return samples
    # Within a millionth of the true ratio; the exact one could take a filter of millions of taps.
    ratio = Fraction(SAMPLE_RATE, rate).limit_denominator(1000)
    return resample_poly(samples, ratio.numerator, ratio.denominator)


def _checked_rate(file: soundfile.SoundFile) -> int:
    rate, (low, high) = int(file.samplerate), _RATES
    if not low <= rate <= high:
        raise UnreadableError(f"sample rate {rate}; {low} to {high} can be read")
    if file.channels > _MAX_CHANNELS:
        raise UnreadableError(f"{file.channels} channels; at most {_MAX_CHANNELS} can be read")
    return rate


def _mono(file: soundfile.SoundFile, count: int) -> FloatVector:
    """The mean of the channels, block by block: a small file can unpack to gigabytes."""
    blocks: list[FloatVector] = [np.zeros(0, np.float32)]
    while count > 0 and len(block := file.read(min(count, _BLOCK), dtype="float32", always_2d=True)):
        blocks.append(block.mean(axis=1))
        count -= len(block)
    return np.concatenate(blocks)
