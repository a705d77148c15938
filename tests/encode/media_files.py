"""Images and sounds made for tests, and ways to damage them."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import soundfile
from PIL import Image

HTML = b"<!DOCTYPE html><html><body>404 Not Found</body></html>"


def picture(seed: int = 0, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Smooth coloured blobs, another one for every seed."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def image_file(image: Image.Image | None = None, kind: str = "JPEG", **options: Any) -> bytes:
    """An image as a file."""
    stream = BytesIO()
    (image or picture()).save(stream, kind, **options)
    return stream.getvalue()


def tone(hertz: float = 440.0, seconds: float = 1.0, rate: int = 16_000, loudness: float = 0.5) -> np.ndarray:
    """Samples of a sine."""
    return (loudness * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def sound_file(samples: np.ndarray | None = None, kind: str = "WAV", rate: int = 16_000, **options: Any) -> bytes:
    """Samples, shape (S,) or (S, channels), as a file."""
    stream = BytesIO()
    soundfile.write(stream, tone() if samples is None else samples, rate, format=kind, **options)
    return stream.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG of that size whose pixels are missing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def wav_header(rate: int, channels: int = 1, data: bytes = b"") -> bytes:
    """A WAV with any header, however senseless."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * channels * 2, channels * 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data
