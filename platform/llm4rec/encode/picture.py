"""Bytes of an image file to a picture in RGB, or the reason why they are none."""

import warnings
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from llm4rec.encode.encoder import UnreadableError
from llm4rec.encode.media import first_bytes

# Pillow reads more, some of it by starting other programs.
_FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
_NEEDED = "JPEG, PNG, GIF, WebP, BMP, TIFF or AVIF"
_WHITE = (255, 255, 255, 255)


def open_picture(media: bytes, shortest: int, max_pixels: int) -> Image.Image:
    """Decode an image: the first one of an animation, turned as its EXIF block says, on white where it is transparent.

    A JPEG may come out smaller than it is, which saves most of the work, but no side shorter than `shortest` unless it
    was.

    Returns:
        A picture in mode RGB.

    Raises:
        UnreadableError: the bytes are no image, a damaged or cut-off one, one of more than `max_pixels` pixels, or a
            placeholder of a single pixel.
    """
    image = _open(media, max_pixels)
    kind = image.format
    try:
        image.draft("RGB", (shortest, shortest))
        image.load()
    except Exception as error:  # decoders raise nearly anything on damaged bytes
        raise _damaged(str(kind), error) from None
    return _rgb(_upright(image))


def _open(media: bytes, max_pixels: int) -> Image.Image:
    if not media:
        raise UnreadableError("empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on sizes, which are checked below, and on odd metadata
            image = Image.open(BytesIO(media), formats=_FORMATS)
    except UnidentifiedImageError:
        if kind := _begins_like(media):
            raise UnreadableError(f"truncated or damaged {kind}: its header is not whole") from None
        raise UnreadableError(f"not an image ({_NEEDED}): starts with {first_bytes(media)}") from None
    except Exception as error:  # headers make decoders raise nearly anything too
        raise _damaged("image", error) from None
    width, height = image.size
    if width * height > max_pixels:
        raise UnreadableError(f"{width} x {height} pixels; encode.max_pixels allows {max_pixels}")
    if width * height <= 1:
        raise UnreadableError("a placeholder of 1 x 1 pixels")
    return image


def _begins_like(media: bytes) -> str | None:
    """The format that the first bytes announce."""
    for kind in _FORMATS:
        _, accept = Image.OPEN.get(kind, (None, None))
        if accept is not None and accept(media[:16]) is True:  # a text says why a format could not be read here
            return kind
    return None


def _damaged(kind: str, error: Exception) -> UnreadableError:
    detail = " ".join(str(error).split()) or type(error).__name__
    return UnreadableError(f"{'truncated' if 'truncated' in detail.lower() else 'damaged'} {kind}: {detail}")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block says nothing, and the picture is good without it
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _from_deep_grey(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Grey values of 16 bits or more, which Pillow would cut off at 255: from their range to that of a byte."""
    values = np.asarray(image).astype(np.float64)
    values = np.where(np.isfinite(values), values, 0)
    low, high = (0.0, 65535.0) if image.mode.startswith("I;16") else (values.min(), values.max())
    grey = np.clip((values - low) / ((high - low) or 1.0), 0, 1) * 255
    return Image.fromarray(grey.round().astype(np.uint8)).convert("RGB")
