"""The corpus and the features in memory, by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llm4rec.artifacts import RunStore
from llm4rec.errors import DataError
from llm4rec.schema import EMPTY_HISTORY, TEST, TRAIN, VALID, Corpus, modality_table, read_features
from tests.corpora import ITEM_IDS, history, random_features, write_features, write_small_corpus


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    store = RunStore(str(tmp_path))
    with store.write("corpus", {}) as writer:
        write_small_corpus(writer)
    return store


def test_a_corpus_by_hand(store: RunStore) -> None:
    corpus = Corpus.read(store.open("corpus"))
    assert (corpus.num_items, corpus.num_warm_items, corpus.num_users, len(corpus.interactions)) == (5, 4, 3, 6)
    assert corpus.interactions.event.tolist() == [1, 0, 0, 1, 0, 0]
    assert corpus.interactions.split.tolist() == [TRAIN, TRAIN, VALID, TEST, TRAIN, TEST]
    assert corpus.item_codes["cold"] == 4 and corpus.user_codes == {"u0": 0, "u1": 1, "u2": 2}
    assert corpus.titles[1] == "Babe (1995)"


def test_the_temporal_split_is_read_where_asked_for(store: RunStore) -> None:
    corpus = Corpus.read(store.open("corpus"), "temporal")
    assert corpus.interactions.split.tolist() == [TRAIN, TEST, TEST, TEST, TRAIN, VALID]


def test_parts_and_histories_by_hand(store: RunStore) -> None:
    corpus = Corpus.read(store.open("corpus"))
    assert corpus.part(VALID, TEST).item.tolist() == [2, 3, 0]
    assert corpus.part(VALID, TEST).user.tolist() == [0, 0, 1]
    first, second, third = corpus.histories(TRAIN, VALID)
    assert (first.item.tolist(), first.timestamp.tolist()) == ([0, 1, 2], [10, 20, 30])
    assert (first.value.tolist(), first.event.tolist()) == ([5, 3, 4], [1, 0, 0])
    assert second.item.tolist() == [3]
    assert len(third) == 0
    assert [len(h) for h in corpus.histories(TEST)] == [1, 1, 0]


def test_as_train_nothing_is_held_out(store: RunStore) -> None:
    corpus = Corpus.read(store.open("corpus"))
    everything = corpus.as_train()
    assert [len(everything.part(split)) for split in (TRAIN, VALID, TEST)] == [6, 0, 0]
    np.testing.assert_array_equal(everything.part(TRAIN).item, corpus.interactions.item)
    assert everything.train_popularity().tolist() == [2, 1, 1, 2]
    assert len(corpus.part(TRAIN)) == 3


def test_the_dtypes_are_those_of_the_contract(store: RunStore) -> None:
    log = Corpus.read(store.open("corpus")).interactions
    assert [a.dtype for a in (log.user, log.item, log.event, log.split)] == [np.int32] * 4
    assert (log.timestamp.dtype, log.value.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize(("count", "left"), [(0, []), (1, [3]), (2, [2, 3]), (3, [1, 2, 3]), (9, [1, 2, 3])])
def test_the_newest_part_of_a_history(count: int, left: list[int]) -> None:
    assert history(1, 2, 3).last(count).item.tolist() == left
    assert len(EMPTY_HISTORY.last(count)) == 0


def features_store(tmp_path: Path, missing: dict[str, list[int]]) -> tuple[RunStore, dict]:
    store, features = RunStore(str(tmp_path)), random_features(5, missing)
    with store.write("features", {}) as writer:
        write_features(writer, ITEM_IDS, features)
    return store, features


@pytest.mark.parametrize("missing", [{}, {"text": [0, 4], "categories": [2]}, {"text": [0, 1, 2, 3, 4]}])
def test_features_come_back_with_missing_rows_as_zeros(tmp_path: Path, missing: dict[str, list[int]]) -> None:
    store, written = features_store(tmp_path, missing)
    found = read_features(store.open("features"), ITEM_IDS)
    assert set(found) == {"text", "categories"}
    for name, modality in found.items():
        np.testing.assert_array_equal(modality.present, written[name].present)
        np.testing.assert_array_equal(modality.vectors, written[name].vectors)
        assert modality.vectors.dtype == np.float32 and not modality.vectors[~modality.present].any()


@pytest.mark.parametrize("shape", [None, (2, 3)])
def test_what_a_flat_vector_stands_for_comes_back(tmp_path: Path, shape: tuple[int, ...] | None) -> None:
    store, written = RunStore(str(tmp_path)), random_features(5)["text"]
    with store.write("features", {}) as writer:
        write_features(writer, ITEM_IDS, {"mel": replace(written, shape=shape)})
    found = read_features(store.open("features"), ITEM_IDS)["mel"]
    assert found.shape == shape and found.width == 6


def test_features_without_a_word_on_shapes_are_plain_vectors(tmp_path: Path) -> None:
    store, written = RunStore(str(tmp_path)), random_features(5)["text"]
    with store.write("features", {}) as writer:
        writer.write_table("text", modality_table(ITEM_IDS, written))
        writer.write_json("features.json", {"modalities": ["text"]})
    assert read_features(store.open("features"), ITEM_IDS)["text"].shape is None


@pytest.mark.parametrize("item_ids", [ITEM_IDS[:-1], [*ITEM_IDS, "more"], ITEM_IDS[::-1], ["a", "b", "c", "d", "x"]])
def test_features_of_another_catalogue_are_refused(tmp_path: Path, item_ids: list[str]) -> None:
    store, _ = features_store(tmp_path, {})
    with pytest.raises(DataError, match="modality 'categories' were encoded for another corpus; run jobs/encode.py"):
        read_features(store.open("features"), item_ids)
