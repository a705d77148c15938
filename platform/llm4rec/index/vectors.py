"""The catalogue's item vectors, searched exactly by inner product."""

from collections.abc import Sequence

import faiss
import numpy as np

from llm4rec.artifacts import Artifact, ArtifactWriter
from llm4rec.index.flat import build_flat, check_search, read_flat, rows_of, search_among, stored_vectors, write_flat
from llm4rec.schema import FloatMatrix, IntVector, LongVector

FILE = "items.faiss"
NO_ITEM = -1


class ItemIndex:
    """Item vectors by item code; the row of a vector is the code of its item."""

    def __init__(self, index: faiss.IndexFlatIP) -> None:
        self._index = index

    @classmethod
    def build(cls, vectors: FloatMatrix) -> "ItemIndex":
        """Index the vectors of a catalogue, shape (I, D).

        Raises:
            DataError: wrong shape, or NaN or infinity among the values.
        """
        return cls(build_flat(vectors))

    @property
    def num_items(self) -> int:
        """I."""
        return int(self._index.ntotal)

    @property
    def vectors(self) -> FloatMatrix:
        """A copy of all vectors, shape (I, D)."""
        return stored_vectors(self._index)

    def rows(self, start: int, stop: int) -> FloatMatrix:
        """A copy of the vectors of the items from one code up to before another, shape (`stop` - `start`, D)."""
        return rows_of(self._index, start, stop)

    def search(
        self, queries: FloatMatrix, k: int, exclude: Sequence[IntVector] | None = None
    ) -> tuple[IntVector, FloatMatrix]:
        """The k items of highest inner product with each query.

        Args:
            queries: shape (B, D).
            k: items a query.
            exclude: for each query, the item codes that must not be found.

        Returns:
            Item codes and inner products, each of shape (B, k), best first. Where fewer than k items are left, the
            row ends in code -1 with score -inf.

        Raises:
            DataError: queries of another width, k below 1, or not one `exclude` a query.
        """
        queries = check_search(queries, self._index.d, k, exclude)
        if exclude is None:
            scores, rows = self._index.search(queries, k)
        else:
            scores, rows = self._search_without(queries, k, exclude)
        scores[rows == NO_ITEM] = -np.inf
        return rows.astype(np.int32), scores

    def write(self, writer: ArtifactWriter, name: str = FILE) -> None:
        """Write the index as one file of an artifact."""
        write_flat(writer, name, self._index)

    @classmethod
    def read(
        cls, artifact: Artifact, name: str = FILE, *, num_items: int | None = None, width: int | None = None
    ) -> "ItemIndex":
        """Read the index of an opened artifact; `num_items` (I) and `width` (D) are what the caller expects.

        Raises:
            ArtifactError: the file is missing, no exact inner-product index, or of another size.
        """
        return cls(read_flat(artifact, name, num_items, width))

    def _search_without(
        self, queries: FloatMatrix, k: int, exclude: Sequence[IntVector]
    ) -> tuple[FloatMatrix, LongVector]:
        scores = np.full((len(queries), k), -np.inf, np.float32)
        rows = np.full((len(queries), k), NO_ITEM, np.int64)
        for at, codes in enumerate(exclude):
            allowed = faiss.IDSelectorNot(faiss.IDSelectorBatch(np.asarray(codes, np.int64)))
            scores[at], rows[at] = search_among(self._index, queries[at : at + 1], k, allowed)
        return scores, rows
