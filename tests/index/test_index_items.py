"""The item index: exact answers, exclusions, and refusal of what is not the index expected."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm4rec.artifacts import RunStore
from llm4rec.errors import ArtifactError, DataError
from llm4rec.index.vectors import FILE, NO_ITEM, ItemIndex

VECTORS = np.array([[1, 0], [0, 2], [3, 3], [-1, 0]], np.float32)


def test_search_gives_inner_products_best_first():
    codes, scores = ItemIndex.build(VECTORS).search(np.array([[1, 0], [0, 1]], np.float32), 2)
    assert codes.tolist() == [[2, 0], [2, 1]]
    assert scores.tolist() == [[3, 1], [3, 2]]
    assert codes.dtype == np.int32


def test_excluded_items_are_not_found_and_short_rows_are_padded():
    queries = np.array([[1, 0], [1, 0]], np.float32)
    codes, scores = ItemIndex.build(VECTORS).search(queries, 3, exclude=[np.array([2, 0]), np.array([], np.int32)])
    assert codes.tolist() == [[1, 3, NO_ITEM], [2, 0, 1]]
    assert scores[0, 2] == -np.inf


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 8), st.integers(1, 25))
def test_search_agrees_with_a_plain_sort(seed, num_items, width, k):
    rng = np.random.default_rng(seed)
    vectors, query = rng.normal(size=(num_items, width)), rng.normal(size=(1, width))
    codes, scores = ItemIndex.build(vectors.astype(np.float32)).search(query.astype(np.float32), k)
    expected = np.sort(vectors @ query[0])[::-1][:k]
    assert scores[0, : len(expected)] == pytest.approx(expected, abs=1e-4)
    assert (codes[0, num_items:] == NO_ITEM).all()


@pytest.mark.parametrize(
    ("queries", "k", "exclude"),
    [(np.zeros((1, 3)), 1, None), (np.zeros(2), 1, None), (np.zeros((1, 2)), 0, None), (np.zeros((2, 2)), 1, [[0]])],
)
def test_unusable_queries_are_refused(queries, k, exclude):
    with pytest.raises(DataError):
        ItemIndex.build(VECTORS).search(queries.astype(np.float32), k, exclude)


@pytest.mark.parametrize("vectors", [np.array([[1, np.nan]]), np.array([[np.inf, 0]]), np.zeros(3), np.zeros((2, 0))])
def test_unusable_vectors_are_refused(vectors):
    with pytest.raises(DataError):
        ItemIndex.build(vectors.astype(np.float32))


def test_an_index_comes_back_as_it_was_written(tmp_path):
    store = RunStore(str(tmp_path))
    with store.write("index", {}) as writer:
        ItemIndex.build(VECTORS).write(writer)
    index = ItemIndex.read(store.open("index"), num_items=4, width=2)
    assert np.array_equal(index.vectors, VECTORS)
    with pytest.raises(ArtifactError, match="holds 4 vectors, expected 5"):
        ItemIndex.read(store.open("index"), num_items=5, width=2)
    with pytest.raises(ArtifactError, match="width|numbers a vector"):
        ItemIndex.read(store.open("index"), num_items=4, width=3)


def test_a_damaged_file_never_reaches_faiss(tmp_path):
    store = RunStore(str(tmp_path))
    with store.write("index", {}) as writer:
        ItemIndex.build(VECTORS).write(writer)
    data = bytearray((tmp_path / "index" / FILE).read_bytes())
    data[-1] ^= 1
    (tmp_path / "index" / FILE).write_bytes(data)
    with pytest.raises(ArtifactError, match="sha256"):
        store.open("index")


@pytest.mark.parametrize("kind", ["not an index", "another type"])
def test_a_file_that_is_no_exact_inner_product_index_is_refused(tmp_path, kind):
    other = faiss.IndexFlatL2(2)
    other.add(VECTORS)
    store = RunStore(str(tmp_path))
    with store.write("index", {}) as writer:
        writer.write_bytes(FILE, b"hello" if kind == "not an index" else faiss.serialize_index(other).tobytes())
    with pytest.raises(ArtifactError, match="not a FAISS IndexFlatIP"):
        ItemIndex.read(store.open("index"))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data[:-4],
        lambda data: data + bytes(4),
        lambda data: data[:8] + (2**60).to_bytes(8, "little") + data[16:],
        lambda data: data[:37] + (2**62).to_bytes(8, "little") + data[45:],
        lambda data: data[:4] + (2**31 - 1).to_bytes(4, "little") + data[8:],
        lambda data: b"IxFl" + data[4:],
        lambda data: data[:20],
    ],
)
def test_a_head_that_promises_other_numbers_than_follow_never_reaches_faiss(tmp_path, monkeypatch, change):
    store = RunStore(str(tmp_path))
    with store.write("index", {}) as writer:
        ItemIndex.build(VECTORS).write(writer)
    data = change((tmp_path / "index" / FILE).read_bytes())
    with store.write("index", {}) as writer:
        writer.write_bytes(FILE, data)
    monkeypatch.setattr(faiss, "deserialize_index", lambda _: pytest.fail("FAISS was given the bytes"))
    with pytest.raises(ArtifactError, match="not a FAISS IndexFlatIP"):
        ItemIndex.read(store.open("index"))
