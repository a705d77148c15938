"""Exact inner-product FAISS indexes, and their way to and from an artifact."""

import struct
from collections.abc import Sequence
from typing import cast

import faiss
import numpy as np
import numpy.typing as npt

from llm4rec.artifacts import Artifact, ArtifactWriter
from llm4rec.errors import ArtifactError, DataError
from llm4rec.schema import FloatMatrix, IntVector

# One thread a search: replicas and Ray workers bring their own parallelism, and FAISS would start a pool in each.
faiss.omp_set_num_threads(1)


def build_flat(vectors: FloatMatrix) -> faiss.IndexFlatIP:
    """An exact inner-product index over the rows of a matrix of shape (N, D).

    Raises:
        DataError: the matrix is not two-dimensional, has no columns or holds NaN or infinity.
    """
    vectors = check_vectors(vectors)
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def check_vectors(vectors: FloatMatrix) -> npt.NDArray[np.float32]:
    """Vectors of shape (N, D) as contiguous float32.

    Raises:
        DataError: the matrix is not two-dimensional, has no columns or holds NaN or infinity.
    """
    if vectors.ndim != 2 or not vectors.shape[1]:
        raise DataError(f"vectors to index must have shape (rows, width) with width >= 1, got {vectors.shape}")
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(bad):
        raise DataError(f"{len(bad)} of {len(vectors)} vectors hold NaN or infinity, first at row {bad[0]}")
    return np.ascontiguousarray(vectors, np.float32)


def write_flat(writer: ArtifactWriter, name: str, index: faiss.IndexFlatIP) -> None:
    """Write an index as one file of an artifact."""
    writer.write_bytes(name, faiss.serialize_index(index).tobytes())


def read_flat(artifact: Artifact, name: str, rows: int | None, width: int | None) -> faiss.IndexFlatIP:
    """Read an index.

    FAISS, written in C++, parses only what has the length and the head of a flat index: bytes of another kind could
    make it allocate or read what they like, whatever their sha256.

    Raises:
        ArtifactError: the file is no index, of another type, or without the `rows` and `width` expected (None: any).
    """
    data = artifact.read_bytes(name)
    if not _is_flat(data):
        raise ArtifactError(f"{artifact.path}/{name} is not a FAISS IndexFlatIP; run jobs/index.py again")
    index = cast(faiss.IndexFlatIP, faiss.deserialize_index(np.frombuffer(data, np.uint8)))
    for what, found, expected in (("vectors", index.ntotal, rows), ("numbers a vector", index.d, width)):
        if expected is not None and found != expected:
            raise ArtifactError(
                f"{artifact.path}/{name} holds {found} {what}, expected {expected}: "
                "it was made from another model or corpus; run jobs/index.py again"
            )
    return index


HEAD = struct.Struct("<4siqqq?iq")
"""Of FAISS's format: kind, width, vectors, two unused, whether trained, metric, numbers that follow."""


def _is_flat(data: bytes) -> bool:
    if len(data) < HEAD.size:
        return False
    kind, width, rows, _, _, trained, metric, numbers = HEAD.unpack_from(data)
    of_kind = kind == b"IxFI" and trained and metric == faiss.METRIC_INNER_PRODUCT
    return of_kind and width > 0 and rows >= 0 and numbers == width * rows and len(data) == HEAD.size + 4 * numbers


def search_among(
    index: faiss.IndexFlatIP, query: FloatMatrix, k: int, selector: faiss.IDSelector
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Scores and rows, each of shape (k,), of the best rows that a selector admits for one query of shape (1, D)."""
    params = faiss.SearchParameters()
    params.sel = selector
    scores, rows = index.search(query, k, params=params)
    return scores[0], rows[0]


def stored_vectors(index: faiss.IndexFlatIP) -> FloatMatrix:
    """All vectors of an index, shape (N, D), in the order they were added."""
    return rows_of(index, 0, index.ntotal)


def rows_of(index: faiss.IndexFlatIP, start: int, stop: int) -> FloatMatrix:
    """A copy of the vectors from one row up to before another."""
    return np.asarray(index.reconstruct_n(start, stop - start), np.float32).reshape(stop - start, index.d)


def check_search(
    queries: FloatMatrix, width: int, k: int, exclude: Sequence[IntVector] | None
) -> npt.NDArray[np.float32]:
    """Queries of shape (B, `width`) as contiguous float32.

    Raises:
        DataError: they have another shape, k is below 1, or there is not one `exclude` a query.
    """
    queries = check_queries(queries, width)
    if k < 1:
        raise DataError(f"k must be at least 1, got {k}")
    if exclude is not None and len(exclude) != len(queries):
        raise DataError(f"exclude must have one entry a query: {len(queries)} queries, {len(exclude)} entries")
    return queries


def check_queries(queries: FloatMatrix, width: int) -> npt.NDArray[np.float32]:
    """Queries of shape (B, `width`) as contiguous float32.

    Raises:
        DataError: they have another shape.
    """
    if queries.ndim != 2 or queries.shape[1] != width:
        raise DataError(f"queries must have shape (rows, {width}), the width of the index, got {queries.shape}")
    return np.ascontiguousarray(queries, np.float32)
