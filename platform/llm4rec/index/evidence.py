"""The evidence store: passages and their vectors, searched by cosine among the passages of given items."""

from collections.abc import Sequence
from dataclasses import dataclass

import faiss
import numpy as np
import pyarrow as pa

from llm4rec.artifacts import Artifact, ArtifactWriter
from llm4rec.errors import DataError
from llm4rec.index.flat import build_flat, check_queries, read_flat, search_among, stored_vectors, write_flat
from llm4rec.index.passages import Passage
from llm4rec.schema import FloatMatrix, FloatVector

TABLE, FILE = "evidence", "evidence.faiss"
_SCHEMA = pa.schema(
    [
        ("passage_id", pa.string()),
        ("item", pa.int32()),
        ("source", pa.string()),
        ("text", pa.string()),
        ("subjects", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class Evidence:
    """A passage found for a query, and its cosine with the query."""

    passage: Passage
    score: float


class EvidenceStore:
    """Passages by row, with their unit vectors in an exact index."""

    def __init__(self, passages: Sequence[Passage], index: faiss.IndexFlatIP) -> None:
        self.passages = list(passages)
        self._index = index
        items = np.asarray([passage.item for passage in self.passages], np.int64)
        self._rows_by_item = np.argsort(items, kind="stable")
        self._items = items[self._rows_by_item]

    @classmethod
    def build(cls, passages: Sequence[Passage], vectors: FloatMatrix) -> "EvidenceStore":
        """Index passages with the vectors of their texts, shape (P, D), of any length.

        Raises:
            DataError: not one vector a passage, or vectors that cannot be indexed.
        """
        if len(passages) != len(vectors):
            raise DataError(f"{len(passages)} passages but {len(vectors)} vectors; encode every passage's text once")
        return cls(passages, build_flat(unit_rows(vectors)))

    @property
    def width(self) -> int:
        """D, the width that queries must have."""
        return int(self._index.d)

    @property
    def vectors(self) -> FloatMatrix:
        """The passages' vectors, of length 1, shape (P, D)."""
        return stored_vectors(self._index)

    def about(self, item: int) -> list[Passage]:
        """All passages of one item, in the order they were built."""
        return [self.passages[row] for row in self._rows([item])]

    def retrieve(self, query: FloatVector, item_codes: Sequence[int], top_n: int) -> list[Evidence]:
        """The `top_n` passages about the given items that are nearest to a query of shape (D,), best first.

        Raises:
            DataError: the query has another width or `top_n` is below 1.
        """
        queries = unit_rows(check_queries(np.asarray(query, np.float32)[None], self.width))
        if top_n < 1:
            raise DataError(f"top_n must be at least 1, got {top_n}")
        rows = self._rows(item_codes)
        if not len(rows):
            return []
        scores, found = search_among(self._index, queries, min(top_n, len(rows)), faiss.IDSelectorBatch(rows))
        return [Evidence(self.passages[row], float(score)) for row, score in zip(found, scores, strict=True)]

    def write(self, writer: ArtifactWriter) -> None:
        """Write `evidence.faiss` and `evidence.parquet`."""
        columns = {name: [getattr(passage, name) for passage in self.passages] for name in _SCHEMA.names}
        writer.write_table(TABLE, pa.table(columns, schema=_SCHEMA))
        write_flat(writer, FILE, self._index)

    @classmethod
    def read(cls, artifact: Artifact, width: int | None = None) -> "EvidenceStore":
        """Read the store of an opened artifact; `width` is that of the caller's text encoder.

        Raises:
            ArtifactError: a file is missing, no exact inner-product index, or not one vector of `width` a passage.
        """
        rows = artifact.read_table(TABLE).to_pylist()
        passages = [Passage(**{**row, "subjects": tuple(row["subjects"])}) for row in rows]
        return cls(passages, read_flat(artifact, FILE, len(passages), width))

    def _rows(self, item_codes: Sequence[int]) -> np.ndarray:
        codes = np.unique(np.asarray(item_codes, np.int64))
        starts = np.searchsorted(self._items, codes, side="left")
        ends = np.searchsorted(self._items, codes, side="right")
        spans = [self._rows_by_item[a:b] for a, b in zip(starts, ends, strict=True)]
        return np.concatenate(spans) if spans else np.empty(0, np.int64)


def unit_rows(vectors: FloatMatrix) -> FloatMatrix:
    """Rows scaled to length one; zero rows stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
