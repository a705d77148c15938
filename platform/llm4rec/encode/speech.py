"""Sounds as vectors: the speech embedding that openWakeWord ships as two ONNX networks.

Shapes: n sounds, S samples, T mel frames, X windows, D width of a vector.
"""

from collections.abc import Sequence

import numpy as np
import onnxruntime
import torch

from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.encoder import Encoder, unit_length
from llm4rec.encode.sound import open_sound
from llm4rec.schema import FloatMatrix, FloatVector
from llm4rec.weights import packaged_folder

_WIDTH = 96
_WINDOW, _STEP = 76, 8  # mel frames, of 10 ms
_SHORTEST = 12_640  # samples that give one window
_WINDOWS_AT_ONCE = 64


class SpeechEncoder(Encoder[bytes, FloatVector]):
    """The mean of a sound's window embeddings (0.8 s each, 80 ms apart), as a vector of length 1.

    It was trained to tell words apart, and hears tempo, timbre and voices in music.

    Raises:
        ConfigError: the package with the networks is missing.
    """

    INPUT = {"media": "the bytes of a sound file"}

    def __init__(self, config: EncodeConfig) -> None:
        self._config = config
        self._melspectrogram = _session("melspectrogram.onnx")
        self._embedding = _session("embedding_model.onnx")

    @property
    def width(self) -> int:
        """D, the width of a vector."""
        return _WIDTH

    def read(self, value: bytes) -> FloatVector:
        """The samples as the first network wants them: the range of 16-bit integers; a short sound ends in silence.

        Raises:
            UnreadableError: as `open_sound`.
        """
        samples = open_sound(value, self._config.audio_seconds)
        samples = np.pad(samples, (0, max(0, _SHORTEST - len(samples))))
        return np.trunc(samples * 32767)

    def run(self, ready: Sequence[FloatVector]) -> FloatMatrix:
        """Vectors of length 1, shape (n, D)."""
        return unit_length(np.stack([self._embed(samples) for samples in ready]))

    def _embed(self, samples: FloatVector) -> FloatVector:
        (mel,) = self._melspectrogram.run(None, {"input": samples[None]})
        # The second network was trained on frames of another scale.
        frames_TM = mel.reshape(-1, mel.shape[-1]) / 10 + 2
        windows_XMT = np.lib.stride_tricks.sliding_window_view(frames_TM, _WINDOW, axis=0)[::_STEP]
        windows = np.ascontiguousarray(windows_XMT.transpose(0, 2, 1)[..., None], np.float32)
        total = np.zeros(_WIDTH, np.float64)
        for start in range(0, len(windows), _WINDOWS_AT_ONCE):
            (found,) = self._embedding.run(None, {"input_1": windows[start : start + _WINDOWS_AT_ONCE]})
            total += found.reshape(-1, _WIDTH).sum(axis=0)
        return (total / len(windows)).astype(np.float32)


def _session(name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    path = packaged_folder("openwakeword", "encode.audio 'speech'") / "resources" / "models" / name
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
