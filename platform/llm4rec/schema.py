"""The one vocabulary: column names, splits, and the in-memory corpus and features that every stage speaks.

Shapes use: N interactions, U users, I items, D width of a modality. Ids are strings outside and dense int32 codes
inside; a code is the row of the item (or user) in the corpus's `items` (or `users`) table.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.artifacts import Artifact
from llm4rec.errors import DataError

USER_ID, ITEM_ID = "user_id", "item_id"
TIMESTAMP, VALUE, EVENT, REVIEW = "timestamp", "value", "event", "review"
SPLIT, SPLIT_TEMPORAL = "split", "split_temporal"
USER, ITEM = "user", "item"
TITLE, TEXT, CATEGORIES, NUMBERS, IMAGE, AUDIO = "title", "text", "categories", "numbers", "image", "audio"
WARM = "warm"

TRAIN, VALID, TEST = 0, 1, 2
SPLIT_NAMES = ("train", "valid", "test")

SplitName = Literal["leave_one_out", "temporal"]
SPLIT_COLUMNS: dict[str, str] = {"leave_one_out": SPLIT, "temporal": SPLIT_TEMPORAL}

IntVector = npt.NDArray[np.int32]
LongVector = npt.NDArray[np.int64]
FloatVector = npt.NDArray[np.float32]
FloatMatrix = npt.NDArray[np.float32]
BoolVector = npt.NDArray[np.bool_]

QUARANTINE_SCHEMA = pa.schema([("row", pa.int64()), ("source", pa.string()), ("reason", pa.string())])

SLATE_SCHEMA = pa.schema(
    [
        (USER_ID, pa.string()),
        (ITEM_ID, pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float32()),
        ("propensity", pa.float32()),
    ]
)


def user_hash(user_id: str) -> str:
    """What a user is remembered by after being forgotten: sha256."""
    return hashlib.sha256(user_id.encode()).hexdigest()


@dataclass(frozen=True)
class Interactions:
    """Parallel arrays of shape (N,), sorted by (user, moment, order in the source file)."""

    user: IntVector
    item: IntVector
    timestamp: LongVector
    value: FloatVector
    event: IntVector
    split: IntVector

    def __len__(self) -> int:
        return len(self.user)

    def where(self, mask: BoolVector) -> "Interactions":
        """The interactions a mask of shape (N,) selects, order kept."""
        return Interactions(*(getattr(self, name)[mask] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class History:
    """One user's time-ordered interactions before a cut: parallel arrays, oldest first."""

    item: IntVector
    timestamp: LongVector
    value: FloatVector
    event: IntVector

    def __len__(self) -> int:
        return len(self.item)

    def first(self, count: int) -> "History":
        """The oldest `count` interactions."""
        return History(self.item[:count], self.timestamp[:count], self.value[:count], self.event[:count])

    def last(self, count: int) -> "History":
        """The newest `count` interactions."""
        start = max(0, len(self) - count)
        return History(self.item[start:], self.timestamp[start:], self.value[start:], self.event[start:])


EMPTY_HISTORY = History(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int32))


@dataclass(frozen=True)
class Choices:
    """What users chose, each after a history: R rows.

    Attributes:
        users: user codes, ascending, shape (R,).
        histories: what each had chosen up to that moment, oldest first.
        items: codes of what was chosen then, shape (R,).
    """

    users: IntVector
    histories: Sequence[History]
    items: IntVector

    def at_most(self, count: int) -> "Choices":
        """At most so many of the rows, evenly spread, first and last among them."""
        rows = evenly(len(self.users), count)
        return Choices(self.users[rows], [self.histories[row] for row in rows], self.items[rows])


def evenly(count: int, most: int) -> LongVector:
    """At most `most` of `count` rows, evenly spread, first and last among them."""
    return np.linspace(0, max(count - 1, 0), min(count, most)).round().astype(np.int64)


@dataclass(frozen=True)
class Corpus:
    """A preprocessed corpus.

    Attributes:
        interactions: all interactions, with codes instead of ids.
        items: the catalogue, one row an item; the first `num_warm_items` rows have interactions, the rest are cold.
        users: one row a user: `user_id` and attributes.
        events: the names that `interactions.event` codes stand for.
    """

    interactions: Interactions
    items: pa.Table
    users: pa.Table
    events: tuple[str, ...]
    num_warm_items: int

    @property
    def num_items(self) -> int:
        """Catalogue size, cold items included."""
        return int(self.items.num_rows)

    @property
    def num_users(self) -> int:
        """Number of users."""
        return int(self.users.num_rows)

    @cached_property
    def item_ids(self) -> list[str]:
        """External ids by item code."""
        return list(self.items[ITEM_ID].to_pylist())

    @cached_property
    def user_ids(self) -> list[str]:
        """External ids by user code."""
        return list(self.users[USER_ID].to_pylist())

    @cached_property
    def item_codes(self) -> dict[str, int]:
        """Item codes by external id."""
        return {item_id: code for code, item_id in enumerate(self.item_ids)}

    @cached_property
    def user_codes(self) -> dict[str, int]:
        """User codes by external id."""
        return {user_id: code for code, user_id in enumerate(self.user_ids)}

    @cached_property
    def titles(self) -> list[str]:
        """Display titles by item code."""
        return list(self.items[TITLE].to_pylist())

    def part(self, *splits: int) -> Interactions:
        """The interactions of the named splits (TRAIN, VALID, TEST)."""
        return self.interactions.where(np.isin(self.interactions.split, splits))

    def as_train(self) -> "Corpus":
        """The same with every interaction in the train split, which nothing can be measured on any more."""
        split = np.full(len(self.interactions), TRAIN, np.int32)
        return replace(self, interactions=replace(self.interactions, split=split))

    def train_popularity(self) -> IntVector:
        """Training interactions of each warm item, shape (warm items,)."""
        return np.bincount(self.part(TRAIN).item, minlength=self.num_warm_items).astype(np.int32)

    def histories(self, *splits: int) -> list[History]:
        """Every user's history within the named splits, by user code; users without any get an empty one."""
        part = self.part(*splits)
        bounds = np.searchsorted(part.user, np.arange(self.num_users + 1))
        return [
            History(part.item[a:b], part.timestamp[a:b], part.value[a:b], part.event[a:b])
            for a, b in zip(bounds[:-1], bounds[1:], strict=True)
        ]

    def choices(self, split: int, before: tuple[int, ...]) -> Choices:
        """Every interaction of a split with a warm item, after the user's history up to that moment, if there is any.

        Histories begin with the splits `before` and hold earlier interactions of the split itself too. With one
        interaction a user in the split, as leave-one-out has it, there is a row a user; a temporal split has users with
        hundreds of rows, and users who came after it began and count from their second interaction on.
        """
        histories, part = self.histories(*before, split), self.part(split)
        users, first, counts = np.unique(part.user, return_index=True, return_counts=True)
        lengths = np.array([len(histories[user]) for user in users], np.int64)
        # A user's interactions of the split are the last ones of the history that includes them.
        place = np.arange(len(part)) + np.repeat(lengths - counts - first, counts)
        kept = np.flatnonzero((place > 0) & (part.item < self.num_warm_items))
        chosen = [histories[part.user[row]].first(place[row]) for row in kept]
        return Choices(part.user[kept], chosen, part.item[kept])

    @classmethod
    def read(cls, artifact: Artifact, split: SplitName = "leave_one_out") -> "Corpus":
        """Read a corpus artifact, with the split that was asked for."""
        split_column = SPLIT_COLUMNS[split]
        # Ids as text take most of the bytes, and codes stand for them.
        table = artifact.read_table("interactions", [USER, ITEM, TIMESTAMP, VALUE, EVENT, split_column])
        info = artifact.read_json("corpus.json")
        interactions = Interactions(
            user=table[USER].to_numpy(),
            item=table[ITEM].to_numpy(),
            timestamp=table[TIMESTAMP].to_numpy(),
            value=table[VALUE].to_numpy(),
            event=_codes(table[EVENT], info["events"]),
            split=_codes(table[split_column], SPLIT_NAMES),
        )
        return cls(
            interactions=interactions,
            items=artifact.read_table("items"),
            users=artifact.read_table("users"),
            events=tuple(info["events"]),
            num_warm_items=int(info["num_warm_items"]),
        )


def _codes(names: pa.ChunkedArray, known: Sequence[str]) -> IntVector:
    """The place of each name in `known`, shape (N,)."""
    return pc.index_in(names, value_set=pa.array(known, pa.string())).to_numpy().astype(np.int32)


@dataclass(frozen=True)
class Modality:
    """One modality of the whole catalogue.

    Attributes:
        vectors: shape (I, D), float32; rows of items without the modality are zero.
        present: shape (I,), which items have it.
        shape: what a flat vector of D values stands for, e.g. (frames, mels); None where it is a plain vector.
    """

    vectors: FloatMatrix
    present: BoolVector
    shape: tuple[int, ...] | None = None

    @property
    def width(self) -> int:
        """D."""
        return int(self.vectors.shape[1])


Features = Mapping[str, Modality]


def modality_table(item_ids: list[str], modality: Modality) -> pa.Table:
    """One modality, or the part of it that some items have: (item_id, vector), null where the modality is missing."""
    values = pa.FixedSizeListArray.from_arrays(
        pa.array(modality.vectors.ravel()), modality.width, mask=pa.array(~modality.present)
    )
    return pa.table({ITEM_ID: pa.array(item_ids, pa.string()), "vector": values})


def read_features(artifact: Artifact, item_ids: list[str]) -> dict[str, Modality]:
    """Read every modality of a features artifact, in the order of `item_ids`.

    Raises:
        DataError: the features were made for another catalogue.
    """
    features = {}
    info = artifact.read_json("features.json")
    for name in info["modalities"]:
        vectors, present = _read_modality(artifact, name, item_ids)
        shape = info.get("shapes", {}).get(name)
        features[name] = Modality(vectors, present, tuple(shape) if shape else None)
    return features


def _read_modality(artifact: Artifact, name: str, item_ids: list[str]) -> tuple[FloatMatrix, BoolVector]:
    """Fills one matrix part by part: all parts and the matrix together would take twice the memory."""
    vectors, present = np.zeros((0, 0), np.float32), np.zeros(len(item_ids), bool)
    start = 0
    for part in artifact.read_parts(name):
        stop = start + part.num_rows
        if part[ITEM_ID].to_pylist() != item_ids[start:stop]:
            break
        column = part["vector"].combine_chunks()
        if not vectors.size:
            vectors = np.zeros((len(item_ids), column.type.list_size), np.float32)
        present[start:stop] = column.is_valid().to_numpy(zero_copy_only=False)
        rows = column.drop_null().flatten().to_numpy(zero_copy_only=False)
        vectors[start:stop][present[start:stop]] = rows.reshape(-1, vectors.shape[1])
        start = stop
    if start != len(item_ids):
        raise DataError(f"features of modality {name!r} were encoded for another corpus; run jobs/encode.py again")
    return vectors, present
