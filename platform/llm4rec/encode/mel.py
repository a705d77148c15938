"""Sounds as log-mel frames, for the recurrent encoder that is trained with the model.

Shapes: S samples, T frames, W mel bands, n sounds.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F
from transformers.audio_utils import mel_filter_bank

from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.encoder import Encoder
from llm4rec.encode.sound import SAMPLE_RATE, open_sound
from llm4rec.schema import FloatMatrix, FloatVector

_WINDOW, _HOP, _FFT = 400, 160, 512  # 25 ms, 10 ms
_RANGE_DB = 80.0


class MelEncoder(Encoder[bytes, FloatVector]):
    """The log-mel spectrogram of a sound, averaged over time to a fixed number of frames.

    Values are decibels below the loudest band of the sound, from 0 (80 dB below or less) to 1.
    """

    INPUT = {"media": "the bytes of a sound file"}

    def __init__(self, config: EncodeConfig) -> None:
        self._config = config
        bank = mel_filter_bank(
            num_frequency_bins=_FFT // 2 + 1,
            num_mel_filters=config.mel_bands,
            min_frequency=20.0,
            max_frequency=SAMPLE_RATE / 2,
            sampling_rate=SAMPLE_RATE,
            mel_scale="htk",
        )
        self._bank = torch.from_numpy(bank.T.astype(np.float32))
        self._window = torch.hann_window(_WINDOW)

    @property
    def shape(self) -> tuple[int, int]:
        """What a vector stands for: frames and mel bands, one frame after the other."""
        return self._config.mel_frames, self._config.mel_bands

    @property
    def width(self) -> int:
        """Frames times mel bands."""
        return self._config.mel_frames * self._config.mel_bands

    def read(self, value: bytes) -> FloatVector:
        """The frames of one sound, flat.

        Raises:
            UnreadableError: as `open_sound`.
        """
        samples = torch.from_numpy(open_sound(value, self._config.audio_seconds))
        samples = F.pad(samples, (0, max(0, _WINDOW - len(samples))))
        spectrum = torch.stft(
            samples, _FFT, _HOP, _WINDOW, self._window, center=True, pad_mode="constant", return_complex=True
        )
        decibels_WT = 10 * (self._bank @ spectrum.abs().square()).clamp_min(1e-10).log10()
        level_WT = ((decibels_WT - decibels_WT.max()) / _RANGE_DB + 1).clamp_min(0)
        frames_WT = F.adaptive_avg_pool1d(level_WT[None], self._config.mel_frames)[0]
        return frames_WT.T.flatten().numpy()

    def run(self, ready: Sequence[FloatVector]) -> FloatMatrix:
        """The frames, shape (n, T * W)."""
        return np.stack(ready)
