"""A catalogue too large to score whole: IVF-PQ finds candidates, and their exact inner products order them."""

from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from llm4rec.artifacts import Artifact, ArtifactWriter
from llm4rec.errors import ArtifactError, DataError
from llm4rec.index.flat import check_search, check_vectors
from llm4rec.index.vectors import NO_ITEM, ItemIndex
from llm4rec.schema import FloatMatrix, IntVector

FEWEST_ITEMS = 1024
"""Below that there is nothing to learn lists and codes from, and exact search takes no time."""
BITS, NUMBERS_A_CODE = 8, 2
"""Each two numbers of a vector are kept as one of 256 pairs."""
POINTS_A_LIST, ITERATIONS = 40, 10
PROBED = 1 / 8
"""Share of the lists that a query looks into."""
CANDIDATES = 10
"""Candidates for each item asked for, which are then scored exactly."""

NEAR = "near"
"""Its folder in the index artifact."""

# One array each: FAISS's own format would be parsed in C++, where bytes that mean harm could do anything.
CENTROIDS, CODEBOOKS, SIZES, MEMBERS, CODES = "centroids", "codebooks", "sizes", "members", "codes"


def is_large(num_items: int, exact_up_to: int) -> bool:
    """Whether a catalogue is searched with an approximate index: there must be enough to learn one from."""
    return num_items > max(exact_up_to, FEWEST_ITEMS - 1)


class ApproximateIndex:
    """Item vectors by item code, searched in the lists nearest to a query; `ItemIndex` has the same methods.

    Source: Jegou, Douze, Schmid, "Product Quantization for Nearest Neighbor Search", 2011, section 4.
    """

    def __init__(self, lists: Any, vectors: FloatMatrix) -> None:
        self._lists = lists
        self.vectors = vectors
        self._probes = max(1, round(lists.nlist * PROBED))

    @classmethod
    def build(cls, vectors: FloatMatrix, seed: int = 0) -> "ApproximateIndex":
        """Index the vectors of a catalogue, shape (I, D).

        Raises:
            DataError: wrong shape, NaN or infinity among the values, or fewer than `FEWEST_ITEMS`.
        """
        vectors = check_vectors(vectors)
        num_items, width = vectors.shape
        if num_items < FEWEST_ITEMS:
            raise DataError(f"an approximate index needs {FEWEST_ITEMS} items or more, got {num_items}; use ItemIndex")
        lists = _empty(width, _num_lists(num_items))
        for process in (lists.cp, lists.pq.cp):
            process.seed, process.niter = seed + 1, ITERATIONS
        rng = np.random.default_rng(seed)
        sample = rng.choice(num_items, min(num_items, POINTS_A_LIST * max(lists.nlist, 1 << BITS)), replace=False)
        lists.train(vectors[np.sort(sample)])
        lists.add(vectors)
        return cls(lists, vectors)

    @property
    def num_items(self) -> int:
        """I."""
        return len(self.vectors)

    def search(
        self, queries: FloatMatrix, k: int, exclude: Sequence[IntVector] | None = None
    ) -> tuple[IntVector, FloatMatrix]:
        """Nearly always the k items of highest inner product with each query.

        Args:
            queries: shape (B, D).
            k: items a query.
            exclude: for each query, the item codes that must not be found.

        Returns:
            Item codes and exact inner products, each of shape (B, k), best first. Where fewer than k were found, the
            row ends in code -1 with score -inf.

        Raises:
            DataError: queries of another width, k below 1, or not one `exclude` a query.
        """
        queries = check_search(queries, self._lists.d, k, exclude)
        wanted = min(k * CANDIDATES, self.num_items)
        scores = np.full((len(queries), k), -np.inf, np.float32)
        codes = np.full((len(queries), k), NO_ITEM, np.int32)
        for at, query in enumerate(queries):
            params: Any = faiss.SearchParametersIVF()
            params.nprobe = self._probes
            if exclude is not None:
                params.sel = faiss.IDSelectorNot(faiss.IDSelectorBatch(np.asarray(exclude[at], np.int64)))
            _, rows = self._lists.search(query[None], wanted, params=params)
            found = rows[0][rows[0] != NO_ITEM]
            exact = self.vectors[found] @ query
            best = np.argsort(-exact, kind="stable")[:k]
            codes[at, : len(best)], scores[at, : len(best)] = found[best], exact[best]
        return codes, scores

    def write(self, writer: ArtifactWriter) -> None:
        """Write lists and codes as arrays; the vectors are in the exact index already."""
        lists = self._lists
        inverted = lists.invlists
        sizes = np.array([inverted.list_size(number) for number in range(lists.nlist)], np.int64)
        filled = [number for number in range(lists.nlist) if sizes[number]]
        members = [faiss.rev_swig_ptr(inverted.get_ids(n), int(sizes[n])).copy() for n in filled]
        codes = [faiss.rev_swig_ptr(inverted.get_codes(n), int(sizes[n]) * lists.code_size).copy() for n in filled]
        for part, values in {
            CENTROIDS: lists.quantizer.reconstruct_n(0, lists.nlist),
            CODEBOOKS: faiss.vector_to_array(lists.pq.centroids),
            SIZES: sizes,
            MEMBERS: np.concatenate(members).astype(np.int64),
            CODES: np.concatenate(codes),
        }.items():
            writer.write_bytes(f"{NEAR}/{part}.bin", np.ascontiguousarray(values).tobytes())

    @classmethod
    def read(
        cls, artifact: Artifact, vectors: FloatMatrix, *, first: int = 0, num_items: int | None = None
    ) -> "ApproximateIndex":
        """Read lists and codes over the vectors that they were made of, or over a part of them.

        Args:
            artifact: where they are.
            vectors: of neighbouring items, shape (N, D); the index numbers them from 0.
            first: the code of the first of them.
            num_items: I, of all that the lists were made of; N by default.

        Raises:
            ArtifactError: a file is missing, or they do not fit these vectors.
        """
        num_items, width = len(vectors) if num_items is None else num_items, vectors.shape[1]

        def array(part: str, kind: type, shape: tuple[int, ...]) -> NDArray[Any]:
            data, wanted = artifact.read_bytes(f"{NEAR}/{part}.bin"), int(np.prod(shape)) * np.dtype(kind).itemsize
            if len(data) != wanted:
                raise ArtifactError(
                    f"{artifact.path}/{NEAR}/{part}.bin has {len(data)} bytes, expected {wanted}: it was made of other "
                    "vectors; run jobs/index.py again"
                )
            return np.frombuffer(data, kind).reshape(shape)

        lists = _empty(width, _num_lists(num_items))
        size = lists.code_size
        lists.quantizer.add(array(CENTROIDS, np.float32, (lists.nlist, width)))
        faiss.copy_array_to_vector(array(CODEBOOKS, np.float32, (width << BITS,)), lists.pq.centroids)
        sizes = array(SIZES, np.int64, (lists.nlist,))
        members, codes = array(MEMBERS, np.int64, (num_items,)), array(CODES, np.uint8, (num_items, size))
        if (
            sizes.min() < 0
            or sizes.max() > num_items
            or sizes.sum() != num_items
            or not np.array_equal(np.sort(members), np.arange(num_items))
        ):
            raise ArtifactError(f"{artifact.path}/{NEAR}: not every item is in one list; run jobs/index.py again")
        ends = np.cumsum(sizes)
        for number, (start, stop) in enumerate(zip(ends - sizes, ends, strict=True)):
            inside = (members[start:stop] >= first) & (members[start:stop] < first + len(vectors))
            ids, own = members[start:stop][inside] - first, codes[start:stop][inside]
            if len(ids):
                lists.invlists.add_entries(number, len(ids), faiss.swig_ptr(ids), faiss.swig_ptr(own))
        lists.is_trained, lists.ntotal = True, len(vectors)
        return cls(lists, vectors)


def read_near(
    artifact: Artifact, index: ItemIndex, exact_up_to: int, within: tuple[int, int] | None = None
) -> ApproximateIndex | None:
    """The approximate index of a catalogue that is larger than what is scored one by one; None of a smaller one.

    Args:
        artifact: where it is.
        index: of the same artifact.
        exact_up_to: see `is_large`.
        within: the first code of a part and one past its last, if only that is wanted.

    Raises:
        ArtifactError: the catalogue is larger, and the artifact has no such index, or one of other vectors.
    """
    if not is_large(index.num_items, exact_up_to):
        return None
    if not any(name.startswith(f"{NEAR}/") for name in artifact.manifest["files"]):
        raise ArtifactError(
            f"{artifact.path} has no approximate index, and {index.num_items} items are more than index.exact_up_to, "
            f"{exact_up_to}: run jobs/index.py again, or raise that"
        )
    start, stop = within or (0, index.num_items)
    return ApproximateIndex.read(artifact, index.rows(start, stop), first=start, num_items=index.num_items)


def _num_lists(num_items: int) -> int:
    """A power of two of about the square root of the number of items."""
    return int(2 ** round(np.log2(np.sqrt(num_items))))


def _empty(width: int, num_lists: int) -> Any:
    """A FAISS IndexIVFPQ without vectors (its annotations leave out half of what it has).

    Raises:
        DataError: the width is odd.
    """
    if width % NUMBERS_A_CODE:
        raise DataError(
            f"an approximate index needs vectors of even width, got {width}: choose another "
            "train.model.embedding_size, or raise index.exact_up_to"
        )
    quantizer: Any = faiss.IndexFlatIP(width)
    lists: Any = faiss.IndexIVFPQ(
        quantizer, width, num_lists, width // NUMBERS_A_CODE, BITS, faiss.METRIC_INNER_PRODUCT
    )
    quantizer.this.disown()
    lists.own_fields = True
    return lists
