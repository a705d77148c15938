import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    ConvNextImageProcessorPil,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    ViTModel,
)

from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.image import ImageEncoder
from llm4rec.errors import ConfigError
from tests.encode.media_files import image_file, picture

VISION = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}


@pytest.fixture(scope="module")
def encoder() -> ImageEncoder:
    return ImageEncoder(EncodeConfig())


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    """A temple and a flower, which scikit-learn ships."""
    return [Image.fromarray(array) for array in load_sample_images().images]


def test_parts_of_one_photograph_are_closer_than_two_photographs(encoder, photographs):
    parts = [one.crop(box) for one in photographs for box in ((60, 0, 420, 360), (140, 40, 500, 400))]
    vectors = encoder.encode([image_file(part) for part in parts])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    cosine = vectors @ vectors.T
    assert min(cosine[0, 1], cosine[2, 3]) > cosine[:2, 2:].max() + 0.2


def test_the_middle_of_the_shorter_side_is_seen(encoder):
    framed = picture(1, (640, 320))
    for box in ((0, 0, 160, 320), (480, 0, 640, 320), (0, 0, 640, 18), (0, 302, 640, 320)):
        other = framed.copy()
        other.paste("black", box)
        vectors = encoder.encode([image_file(framed, "PNG"), image_file(other, "PNG")])
        assert vectors[0] @ vectors[1] > 0.995
    framed.paste("black", (240, 80, 400, 240))
    assert encoder.encode([image_file(framed, "PNG")])[0] @ vectors[0] < 0.9


def test_a_large_jpeg_has_the_vector_of_a_small_one(encoder, photographs):
    large = photographs[0].resize((2560, 1708), Image.Resampling.BICUBIC)
    vectors = encoder.encode([image_file(large, quality=95), image_file(photographs[0], "PNG")])
    assert vectors[0] @ vectors[1] > 0.99


@pytest.mark.parametrize("size", [(1, 900), (900, 1), (2, 2), (5, 3000)])
def test_odd_sizes_can_be_encoded(encoder, size):
    assert np.isfinite(encoder.encode([image_file(picture(0, size), "PNG")])).all()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Tiny networks of three families, and one without its pooler, each with its processor."""
    folder = tmp_path_factory.mktemp("vision")
    torch.manual_seed(0)
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    text |= {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    square = ViTImageProcessorPil(size={"height": 32, "width": 32})
    made = {
        "vit": (ViTModel(ViTConfig(**VISION)), square),
        "no-pooler": (ViTForImageClassification(ViTConfig(**VISION)), square),
        "clip": (
            CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=8)),
            CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        ),
        "resnet": (
            ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")),
            ConvNextImageProcessorPil(size={"shortest_edge": 32}),
        ),
    }
    for name, (model, processor) in made.items():
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    return {name: str(folder / name) for name in made}


@pytest.mark.parametrize(("name", "width"), [("vit", 16), ("no-pooler", 16), ("clip", 8), ("resnet", 12)])
def test_any_vision_model_of_hugging_face_will_do(models, name, width):
    media = [image_file(picture(seed)) for seed in range(3)]
    vectors = ImageEncoder(EncodeConfig(image_model=models[name])).encode(media)
    assert vectors.shape == (3, width)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    # a pooler drawn at random would be another one in each process
    torch.manual_seed(1)
    np.testing.assert_array_equal(ImageEncoder(EncodeConfig(image_model=models[name])).encode(media), vectors)


def test_a_model_that_lacks_weights_is_refused(models, tmp_path):
    model = ViTModel(ViTConfig(**VISION))
    kept = {key: value for key, value in model.state_dict().items() if "embeddings" not in key}
    model.save_pretrained(tmp_path, state_dict=kept)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="encode.image_model .* lacks weights, such as 'embeddings"):
        ImageEncoder(EncodeConfig(image_model=str(tmp_path)))


def test_a_model_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigError, match="encode.image_model .* cannot be loaded: .*; use 'efficientnet-lite0'"):
        ImageEncoder(EncodeConfig(image_model=str(tmp_path / "nothing")))
    with pytest.raises(ConfigError, match="encode.image_model is null"):
        ImageEncoder(EncodeConfig(image_model=None))
