import numpy as np
import pyarrow as pa
import pytest

from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.text import TextEncoder, item_text, item_texts
from llm4rec.errors import ConfigError


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return TextEncoder(EncodeConfig(batch_size=2))


ITEMS = pa.table(
    {
        "item_id": ["1", "2", "3", "4"],
        "title": ["Toy Story (1995)", "2", "Babe", "4"],
        "categories": pa.array([["Animation", "Comedy"], [], None, ["Drama"]], pa.list_(pa.string())),
        "numbers": pa.array([{"year": 1995.0}, {"year": None}, {"year": 1998.0}, None]),
        "text": ["Toys come alive.", None, None, None],
    }
)


def test_item_texts_hold_what_is_known_and_nothing_else():
    assert item_texts(ITEMS) == [
        "Toy Story (1995). Animation, Comedy. Toys come alive.",
        "",
        "Babe. 1998.",
        "Drama.",
    ]
    assert item_text("a", "a", None, None, "Only text.") == "Only text."


def test_items_without_numbers_have_texts_too():
    bare = ITEMS.set_column(3, "numbers", pa.nulls(4))
    assert item_texts(bare)[2] == "Babe."


def test_similar_titles_are_closer_than_others(encoder):
    vectors = encoder.encode(["Star Wars (1977)", "The Empire Strikes Back (1980)", "Gardening for beginners"])
    assert vectors.shape == (3, 384) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_texts_are_cut_at_max_tokens(encoder):
    long = "word " * 64
    np.testing.assert_allclose(encoder.encode([long]), encoder.encode([long + "and quite another end"]), atol=1e-6)


def test_a_model_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigError, match="encode.text_model .* cannot be loaded: .*; use 'all-MiniLM-L6-v2'"):
        TextEncoder(EncodeConfig(text_model=str(tmp_path / "nothing")))


def test_texts_that_are_switched_off_cannot_be_encoded():
    with pytest.raises(ConfigError, match="encode.text_model is null"):
        TextEncoder(EncodeConfig(text_model=None))
