"""What exact and approximate indexes have in common, and what only the approximate one does."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm4rec.artifacts import RunStore
from llm4rec.errors import ArtifactError, DataError
from llm4rec.index.approximate import CODES, FEWEST_ITEMS, MEMBERS, SIZES, ApproximateIndex, read_near
from llm4rec.index.parts import Part, cut, merge
from llm4rec.index.vectors import NO_ITEM, ItemIndex

NUM_ITEMS, WIDTH = 3000, 16
KINDS = (ItemIndex, ApproximateIndex)


def clustered(seed: int, rows: int) -> np.ndarray:
    """Vectors that lie in clumps, as those of items do."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(50, WIDTH))
    return (centres[rng.integers(50, size=rows)] + 0.5 * rng.normal(size=(rows, WIDTH))).astype(np.float32)


VECTORS, QUERIES = clustered(1, NUM_ITEMS), clustered(2, 40)


@pytest.fixture(scope="module")
def approximate() -> ApproximateIndex:
    return ApproximateIndex.build(VECTORS)


@pytest.fixture(params=KINDS)
def index(request: pytest.FixtureRequest) -> ItemIndex | ApproximateIndex:
    return request.getfixturevalue("approximate") if request.param is ApproximateIndex else ItemIndex.build(VECTORS)


def test_scores_are_exact_inner_products_best_first(index: ItemIndex | ApproximateIndex) -> None:
    codes, scores = index.search(QUERIES, 20)
    assert (codes.dtype, codes.shape, scores.shape) == (np.int32, (40, 20), (40, 20))
    np.testing.assert_allclose(scores, np.einsum("bkd,bd->bk", VECTORS[codes], QUERIES), rtol=1e-4, atol=1e-4)
    assert (np.diff(scores, axis=1) <= 1e-5).all()
    assert all(len(set(row)) == 20 for row in codes.tolist())


def test_nearly_all_of_the_best_items_are_found(index: ItemIndex | ApproximateIndex) -> None:
    best = np.argsort(-QUERIES @ VECTORS.T, axis=1)[:, :20]
    codes, _ = index.search(QUERIES, 20)
    recall = np.mean([len(set(row) & set(expected)) / 20 for row, expected in zip(codes, best, strict=True)])
    assert recall >= (1.0 if isinstance(index, ItemIndex) else 0.95)


def test_excluded_items_are_not_found(index: ItemIndex | ApproximateIndex) -> None:
    first, _ = index.search(QUERIES, 10)
    second, _ = index.search(QUERIES, 10, exclude=list(first))
    assert not any(set(a) & set(b) for a, b in zip(first.tolist(), second.tolist(), strict=True))
    with pytest.raises(DataError, match="one entry a query"):
        index.search(QUERIES, 10, exclude=[first[0]])


def test_short_rows_are_padded(index: ItemIndex | ApproximateIndex) -> None:
    rest = np.array([7, 11], np.int32)
    codes, scores = index.search(QUERIES[:1], 4, exclude=[np.setdiff1d(np.arange(NUM_ITEMS), rest)])
    found = codes[0][codes[0] != NO_ITEM]
    assert set(found) <= set(rest.tolist())
    assert (codes[0, len(found) :] == NO_ITEM).all() and np.isneginf(scores[0, len(found) :]).all()


@pytest.mark.parametrize(("queries", "k"), [(np.zeros((1, WIDTH + 1)), 1), (np.zeros(WIDTH), 1), (QUERIES, 0)])
def test_unusable_queries_are_refused(index: ItemIndex | ApproximateIndex, queries: np.ndarray, k: int) -> None:
    with pytest.raises(DataError):
        index.search(queries.astype(np.float32), k)


@pytest.mark.parametrize("kind", KINDS)
def test_unusable_vectors_are_refused(kind: type[ItemIndex] | type[ApproximateIndex]) -> None:
    bad = VECTORS.copy()
    bad[3, 2] = np.nan
    for vectors in (bad, VECTORS[0], np.zeros((NUM_ITEMS, 0), np.float32)):
        with pytest.raises(DataError):
            kind.build(vectors)


def test_too_few_items_or_an_odd_width_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=f"needs {FEWEST_ITEMS} items or more, got {FEWEST_ITEMS - 1}"):
        ApproximateIndex.build(VECTORS[: FEWEST_ITEMS - 1])
    with pytest.raises(DataError, match="even width, got 15"):
        ApproximateIndex.build(VECTORS[:, :15])


def test_equal_vectors_and_seeds_make_equal_indexes(approximate: ApproximateIndex) -> None:
    again = ApproximateIndex.build(VECTORS)
    assert all(
        np.array_equal(a, b) for a, b in zip(again.search(QUERIES, 9), approximate.search(QUERIES, 9), strict=True)
    )


@pytest.fixture
def written(approximate: ApproximateIndex, tmp_path: Path) -> RunStore:
    store = RunStore(str(tmp_path))
    with store.write("index", {}) as writer:
        approximate.write(writer)
    return store


def test_an_index_comes_back_as_it_was_written(approximate: ApproximateIndex, written: RunStore) -> None:
    found = ApproximateIndex.read(written.open("index"), VECTORS)
    for a, b in zip(found.search(QUERIES, 30), approximate.search(QUERIES, 30), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("vectors", [VECTORS[:-1], VECTORS[:, :8]])
def test_an_index_of_other_vectors_is_refused(written: RunStore, vectors: np.ndarray) -> None:
    with pytest.raises(ArtifactError, match="was made of other vectors; run jobs/index.py again"):
        ApproximateIndex.read(written.open("index"), vectors)


@pytest.mark.parametrize("part", [SIZES, MEMBERS])
def test_numbers_that_would_lead_outside_are_refused(approximate: ApproximateIndex, tmp_path: Path, part: str) -> None:
    store = RunStore(str(tmp_path))
    with store.write("whole", {}) as writer:
        approximate.write(writer)
    whole = store.open("whole")
    with store.write("index", {}) as writer:
        for name in whole.manifest["files"]:
            values = np.frombuffer(whole.read_bytes(name), np.uint8)
            if name == f"near/{part}.bin":
                numbers = values.view(np.int64).copy()
                numbers[0] += 10**12
                values = numbers.view(np.uint8)
            writer.write_bytes(name, values.tobytes())
    with pytest.raises(ArtifactError, match="not every item is in one list"):
        ApproximateIndex.read(store.open("index"), VECTORS)
    assert f"near/{CODES}.bin" in whole.manifest["files"]


@given(num_items=st.integers(0, 1000), parts=st.integers(1, 9))
def test_parts_cover_every_code_once_and_are_alike(num_items: int, parts: int) -> None:
    found = cut(num_items, parts)
    assert len(found) == parts
    assert [code for start, stop in found for code in range(start, stop)] == list(range(num_items))
    sizes = [stop - start for start, stop in found]
    assert max(sizes) - min(sizes) <= 1


def test_equal_scores_are_put_in_the_order_of_codes() -> None:
    late, early = (np.array([[7, 3]], np.int32), np.ones((1, 2))), (np.array([[5, 1]], np.int32), np.ones((1, 2)))
    assert merge([late, early], 3)[0].tolist() == [[1, 3, 5]]


@given(seed=st.integers(0, 2**32 - 1), parts=st.integers(1, 5), k=st.integers(1, 12))
def test_parts_searched_apart_find_what_the_whole_finds(seed: int, parts: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = rng.normal(size=(20, 4)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)
    found = []
    for start, stop in cut(20, parts):
        codes, scores = ItemIndex.build(vectors[start:stop]).search(queries, k)
        found.append((np.where(codes == NO_ITEM, NO_ITEM, codes + start), scores))
    codes, scores = merge(found, k)
    expected, best = ItemIndex.build(vectors).search(queries, k)
    assert np.array_equal(codes, expected)
    np.testing.assert_allclose(scores, best, rtol=1e-5)
    assert merge(found, 25)[0].shape == (3, 25) and (merge(found, 25)[0][:, 20:] == NO_ITEM).all()


def test_parts_of_an_index_find_together_what_the_whole_finds_or_better(
    approximate: ApproximateIndex, written: RunStore
) -> None:
    edges, whole, artifact = cut(NUM_ITEMS, 3), ItemIndex.build(VECTORS), written.open("index")
    read = [read_near(artifact, whole, 0, within=edge) for edge in edges]
    parts = [Part(own, start) for own, (start, _) in zip(read, edges, strict=True) if own is not None]
    assert [part.num_items for part in parts] == [stop - start for start, stop in edges]
    expected, best = approximate.search(QUERIES, 20)
    found, scores = merge([part.search(QUERIES, 20) for part in parts], 20)
    assert (scores >= best - 1e-5).all()
    assert np.mean([len(set(a) & set(b)) / 20 for a, b in zip(found, expected, strict=True)]) > 0.95
    np.testing.assert_allclose(scores, np.einsum("bkd,bd->bk", VECTORS[found], QUERIES), rtol=1e-4, atol=1e-4)


def test_a_catalogue_that_is_not_large_has_nothing_to_read(written: RunStore) -> None:
    assert read_near(written.open("index"), ItemIndex.build(VECTORS), NUM_ITEMS) is None
    assert read_near(written.open("index"), ItemIndex.build(VECTORS), NUM_ITEMS - 1) is not None


def test_a_part_speaks_in_codes_of_the_catalogue() -> None:
    part = Part(ItemIndex.build(VECTORS[1000:1003]), 1000)
    exclude = [np.array([1, 999, 1001, 1003], np.int32)] * len(QUERIES)
    codes, scores = part.search(QUERIES, 3, exclude)
    assert {*map(tuple, np.sort(codes, axis=1).tolist())} == {(NO_ITEM, 1000, 1002)}
    assert (codes[:, 2] == NO_ITEM).all() and np.isneginf(scores[:, 2]).all()
