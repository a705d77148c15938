"""Image files of every kind, whole and damaged."""

import numpy as np
import pytest
from PIL import Image
from PIL.ImageCms import ImageCmsProfile, createProfile

from llm4rec.encode.encoder import UnreadableError
from llm4rec.encode.picture import open_picture
from tests.encode.media_files import HTML, image_file, picture, png_header

LIMIT = 1_000_000


def colours(media: bytes, shortest: int = 1000) -> np.ndarray:
    return np.asarray(open_picture(media, shortest, LIMIT))


def reason(media: bytes, limit: int = LIMIT) -> str:
    with pytest.raises(UnreadableError) as caught:
        open_picture(media, 256, limit)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG"])
def test_every_kind_comes_out_as_the_picture_that_went_in(kind):
    options = {"quality": 95} if kind in {"WEBP", "AVIF", "JPEG"} else {}
    found = colours(image_file(picture(), kind, **options))
    assert found.shape == (64, 96, 3) and found.dtype == np.uint8
    difference = np.abs(found.astype(int) - np.asarray(picture()))
    assert difference.mean() < (12 if kind == "GIF" else 6)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr"])
def test_other_colour_modes_become_rgb(mode):
    grey = Image.new("RGB", (20, 10), (255, 255, 255)).convert(mode)
    kind = "JPEG" if mode in {"CMYK", "YCbCr"} else "PNG"
    found = colours(image_file(grey, kind))
    assert found.shape == (10, 20, 3) and (found > 240).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_are_white(mode):
    image = Image.new("RGBA", (20, 10), (200, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 10, 10))
    found = colours(image_file(image.convert(mode), "PNG"))
    assert (found[:, :10] < 10).all() and (found[:, 10:] == 255).all()


def test_grey_of_16_bits_keeps_its_range():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)
    found = colours(image_file(Image.fromarray(np.tile(ramp, (4, 1))), "PNG"))
    np.testing.assert_allclose(found[0, :, 0], np.arange(256), atol=1)


def test_grey_of_real_numbers_is_stretched_to_its_range():
    ramp = np.tile(np.linspace(-3, 5, 256, dtype=np.float32), (4, 1))
    found = colours(image_file(Image.fromarray(ramp), "TIFF"))
    np.testing.assert_allclose(found[0, :, 0], np.arange(256), atol=1)


def test_of_an_animation_the_first_picture_counts():
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    found = colours(image_file(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert (found == (255, 0, 0)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_block_says(orientation):
    image = Image.new("RGB", (40, 20))
    image.paste("white", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = colours(image_file(image, "PNG", exif=exif)).astype(float)[..., 0]
    # where the bright corner is seen once the picture is upright: (bottom, right)
    corner = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[orientation]
    assert found.shape == ((20, 40) if orientation < 5 else (40, 20))
    height, width = found.shape
    halves = found.reshape(2, height // 2, 2, width // 2).mean(axis=(1, 3))
    assert np.unravel_index(halves.argmax(), (2, 2)) == corner


def test_a_damaged_exif_block_leaves_the_picture_good():
    found = colours(image_file(picture(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff\xff\xff\xff"))
    assert found.shape == (64, 96, 3)


def test_colour_profiles_do_no_harm():
    profile = ImageCmsProfile(createProfile("sRGB")).tobytes()
    assert colours(image_file(picture(), "JPEG", icc_profile=profile)).shape == (64, 96, 3)


def test_a_large_jpeg_is_read_smaller_but_no_side_under_the_shortest():
    large = image_file(picture(0, (3000, 1200)))
    found = open_picture(large, 256, 10_000_000)
    assert min(found.size) >= 256 and found.size[0] < 1500
    whole = np.asarray(open_picture(large, 3000, 10_000_000).resize((100, 40)), float)
    np.testing.assert_allclose(np.asarray(found.resize((100, 40)), float), whole, atol=8)


def test_what_is_no_image_is_shown_by_its_first_bytes():
    assert reason(b"") == "empty"
    assert "not an image" in reason(HTML) and "starts with '<!DOCTYPE html>" in reason(HTML)
    assert "starts with '%PDF-1.7'" in reason(b"%PDF-1.7")
    assert "not an image" in reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")


def test_cut_off_files_are_called_so():
    whole = image_file(picture(0, (300, 200)))
    assert reason(whole[: len(whole) // 2]).startswith("truncated JPEG: ")
    png = image_file(picture(0, (300, 200)), "PNG")
    assert reason(png[: len(png) // 2]).startswith("truncated PNG: ")
    assert reason(whole[:20]) == "truncated or damaged JPEG: its header is not whole"
    assert reason(whole[:3])


def test_a_bomb_is_refused_before_it_is_unpacked():
    assert reason(png_header(12_000, 10_000)) == "12000 x 10000 pixels; encode.max_pixels allows 1000000"
    assert "limit" in reason(png_header(2**31 - 1, 2**31 - 1), limit=2**62)
    assert reason(image_file(picture()), limit=96 * 64 - 1) == "96 x 64 pixels; encode.max_pixels allows 6143"


def test_a_placeholder_of_one_pixel_is_no_picture():
    assert reason(image_file(Image.new("RGB", (1, 1)), "GIF")) == "a placeholder of 1 x 1 pixels"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF"])
def test_whatever_the_damage_there_is_a_picture_or_a_reason(kind):
    rng = np.random.default_rng(0)
    whole = np.frombuffer(image_file(picture(), kind), np.uint8)
    for _ in range(60):
        damaged = whole.copy()
        places = rng.integers(0, len(whole), rng.integers(1, 20))
        damaged[places] = rng.integers(0, 256, len(places))
        try:
            assert open_picture(damaged[: rng.integers(1, len(whole) + 1)].tobytes(), 256, LIMIT).mode == "RGB"
        except UnreadableError as error:
            assert str(error)
