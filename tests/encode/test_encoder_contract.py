"""What holds for every encoder, whatever it reads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.encoder import Encoder, UnreadableError
from llm4rec.encode.image import ImageEncoder
from llm4rec.encode.mel import MelEncoder
from llm4rec.encode.speech import SpeechEncoder
from llm4rec.encode.text import TextEncoder
from llm4rec.errors import DataError
from tests.encode.media_files import HTML, image_file, picture, sound_file, tone

CONFIG = EncodeConfig(batch_size=2, image_batch_size=2)


@dataclass(frozen=True)
class Case:
    """An encoder, values that it can encode, and one that it cannot."""

    make: Callable[[EncodeConfig], Encoder]
    column: str
    width: int
    good: list[Any]
    bad: Any
    reason: str


CASES = {
    "text": Case(
        TextEncoder,
        "text",
        384,
        ["a dog", "a much longer text about dogs and the cats that they chase", "tea", "the moon", "jazz"],
        None,
        "not a text: None",
    ),
    "image": Case(
        ImageEncoder,
        "media",
        1280,
        [image_file(picture(seed)) for seed in range(5)],
        HTML,
        "not an image .*: starts with '<!DOCTYPE html>",
    ),
    "speech": Case(
        SpeechEncoder,
        "media",
        96,
        [sound_file(tone(hertz, seconds)) for hertz, seconds in ((100, 1), (300, 2), (900, 0.1), (2000, 1), (5000, 1))],
        HTML,
        "not a sound file .*: starts with '<!DOCTYPE html>",
    ),
    "mel": Case(
        MelEncoder,
        "media",
        64 * 64,
        [sound_file(tone(hertz, seconds)) for hertz, seconds in ((100, 1), (300, 2), (900, 0.1), (2000, 1), (5000, 1))],
        b"",
        "empty",
    ),
}


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(scope="module")
def encoder(case: Case) -> Encoder:
    return case.make(CONFIG)


@pytest.fixture(scope="module")
def vectors(case: Case, encoder: Encoder) -> np.ndarray:
    return encoder.encode(case.good)


def test_a_value_becomes_a_vector_of_the_declared_width(case, encoder, vectors):
    assert encoder.width == case.width
    assert vectors.shape == (5, case.width) and vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert list(encoder.INPUT) == [case.column] and set(encoder.OUTPUT) == {"vector", "reason"}


def test_different_values_have_different_vectors(vectors):
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    assert (apart[~np.eye(5, dtype=bool)] > 1e-3).all()


def test_order_and_neighbours_do_not_matter(case, encoder, vectors):
    order = [3, 0, 4, 2, 1]
    np.testing.assert_allclose(encoder.encode([case.good[place] for place in order]), vectors[order], atol=1e-5)
    alone = np.concatenate([encoder.encode([value]) for value in case.good])
    np.testing.assert_allclose(alone, vectors, atol=1e-5)


def test_the_same_values_give_the_same_bits_also_from_a_second_encoder(case, encoder, vectors):
    np.testing.assert_array_equal(encoder.encode(case.good), vectors)
    np.testing.assert_array_equal(case.make(CONFIG).encode(case.good), vectors)


def test_nothing_gives_nothing(encoder, case):
    assert encoder.encode([]).shape == (0, case.width)
    out = encoder({case.column: np.asarray([], object)})
    assert out["vector"].shape == (0, case.width) and len(out["reason"]) == 0


def test_a_bad_value_gets_a_reason_and_harms_no_neighbour(case, encoder, vectors):
    encoded = encoder.encode_readable([case.good[0], case.bad, case.good[1], UnreadableError("not there")])
    np.testing.assert_allclose(encoded.vectors[[0, 2]], vectors[:2], atol=1e-5)
    assert not encoded.vectors[[1, 3]].any()
    assert encoded.reasons[0] is None and encoded.reasons[2] is None and encoded.reasons[3] == "not there"
    with pytest.raises(DataError, match=f"{type(encoder).__name__} cannot encode value 2 of 2: {case.reason}"):
        encoder.encode([case.good[0], case.bad])


def test_only_bad_values_are_no_error_either(case, encoder):
    encoded = encoder.encode_readable([case.bad, case.bad])
    assert encoded.vectors.shape == (2, case.width) and not encoded.vectors.any()
    assert None not in encoded.reasons


def test_a_batch_gains_vectors_and_reasons(case, encoder, vectors):
    batch = {"item_id": np.asarray(["a", "b"]), case.column: np.asarray([case.good[0], case.bad], object)}
    out = encoder(batch)
    assert list(out) == ["item_id", case.column, "vector", "reason"]
    np.testing.assert_allclose(out["vector"][0], vectors[0], atol=1e-5)
    assert out["reason"][0] is None and out["reason"][1]


def test_a_batch_without_the_column_is_an_error_that_says_what_it_means(case, encoder):
    meaning = f"needs the column {case.column}: {encoder.INPUT[case.column]}; the batch has \\['title'\\]"
    with pytest.raises(DataError, match=meaning):
        encoder({"title": np.asarray(["x"])})
