import numpy as np
import pyarrow as pa
import pytest

from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.text import TextEncoder, encode_texts, item_text, item_texts
from llm4rec.errors import ConfigError, DataError


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


def test_order_and_batching_do_not_matter(encoder):
    texts = ["a", "a much longer text about a film and its many heroes", "another", "b c", "d"]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_texts_are_cut_at_max_tokens(encoder):
    long = "word " * 64
    np.testing.assert_allclose(encoder.encode([long]), encoder.encode([long + "and quite another end"]), atol=1e-6)


def test_no_texts_give_no_vectors(encoder):
    assert encoder.encode([]).shape == (0, 384)


def test_batches_gain_a_vector_column(encoder):
    batch = {"item_id": np.array(["1", "2"]), "text": np.array(["one", "two"], dtype=object)}
    out = encoder(batch)
    assert list(out) == ["item_id", "text", "vector"]
    np.testing.assert_allclose(out["vector"], encoder.encode(["one", "two"]))
    with pytest.raises(DataError, match=r"needs the column text: the text to encode; the batch has \['title'\]"):
        encoder({"title": np.array(["x"])})


def test_items_without_text_are_absent(encoder):
    modality = encode_texts(ITEMS, encoder)
    assert modality.present.tolist() == [True, False, True, True]
    assert not modality.vectors[1].any()
    np.testing.assert_allclose(modality.vectors[2], encoder.encode(["Babe. 1998."])[0], atol=1e-5)


def test_a_model_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigError, match="encode.text_model .* cannot be loaded: .*; use 'all-MiniLM-L6-v2'"):
        TextEncoder(EncodeConfig(text_model=str(tmp_path / "nothing")))
