"""The one vocabulary: column names, splits, and the in-memory corpus and features that every stage speaks.

Shapes use: N interactions, U users, I items, D width of a modality. Ids are strings outside and dense int32 codes
inside; a code is the row of the item (or user) in the corpus's `items` (or `users`) table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm4rec.artifacts import Artifact, ArtifactWriter
from llm4rec.errors import DataError

USER_ID, ITEM_ID = "user_id", "item_id"
TIMESTAMP, VALUE, EVENT = "timestamp", "value", "event"
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

SLATE_SCHEMA = pa.schema(
    [
        (USER_ID, pa.string()),
        (ITEM_ID, pa.string()),
        ("rank", pa.int32()),
        ("score", pa.float32()),
        ("propensity", pa.float32()),
    ]
)


@dataclass(frozen=True)
class Interactions:
    """Parallel arrays of shape (N,), sorted by (user, timestamp, order in the source file)."""

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

    def last(self, count: int) -> "History":
        """The newest `count` interactions."""
        start = max(0, len(self) - count)
        return History(self.item[start:], self.timestamp[start:], self.value[start:], self.event[start:])


EMPTY_HISTORY = History(np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.int32))


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

    def histories(self, *splits: int) -> list[History]:
        """Every user's history within the named splits, by user code; users without any get an empty one."""
        part = self.part(*splits)
        bounds = np.searchsorted(part.user, np.arange(self.num_users + 1))
        return [
            History(part.item[a:b], part.timestamp[a:b], part.value[a:b], part.event[a:b])
            for a, b in zip(bounds[:-1], bounds[1:], strict=True)
        ]

    @classmethod
    def read(cls, artifact: Artifact, split: SplitName = "leave_one_out") -> "Corpus":
        """Read a corpus artifact, with the split that was asked for."""
        table = artifact.read_table("interactions")
        info = artifact.read_json("corpus.json")
        split_codes = np.zeros(table.num_rows, np.int32)
        names = np.asarray(table[SPLIT_COLUMNS[split]].to_pylist(), dtype=object)
        for code, name in enumerate(SPLIT_NAMES):
            split_codes[names == name] = code
        event_codes = {name: code for code, name in enumerate(info["events"])}
        interactions = Interactions(
            user=table[USER].to_numpy(),
            item=table[ITEM].to_numpy(),
            timestamp=table[TIMESTAMP].to_numpy(),
            value=table[VALUE].to_numpy(),
            event=np.asarray([event_codes[name] for name in table[EVENT].to_pylist()], np.int32),
            split=split_codes,
        )
        return cls(
            interactions=interactions,
            items=artifact.read_table("items"),
            users=artifact.read_table("users"),
            events=tuple(info["events"]),
            num_warm_items=int(info["num_warm_items"]),
        )


@dataclass(frozen=True)
class Modality:
    """One modality of the whole catalogue.

    Attributes:
        vectors: shape (I, D), float32; rows of items without the modality are zero.
        present: shape (I,), which items have it.
    """

    vectors: FloatMatrix
    present: BoolVector

    @property
    def width(self) -> int:
        """D."""
        return int(self.vectors.shape[1])


Features = Mapping[str, Modality]


def write_modality(writer: ArtifactWriter, name: str, item_ids: list[str], modality: Modality) -> None:
    """Write one modality as a table (item_id, vector), the vector null where the modality is missing."""
    values = pa.FixedSizeListArray.from_arrays(
        pa.array(modality.vectors.ravel()), modality.width, mask=pa.array(~modality.present)
    )
    writer.write_table(name, pa.table({ITEM_ID: item_ids, "vector": values}))


def read_features(artifact: Artifact, item_ids: list[str]) -> dict[str, Modality]:
    """Read every modality of a features artifact, in the order of `item_ids`.

    Raises:
        DataError: the features were made for another catalogue.
    """
    features = {}
    for name in artifact.read_json("features.json")["modalities"]:
        table = artifact.read_table(name)
        if table[ITEM_ID].to_pylist() != item_ids:
            raise DataError(f"features of modality {name!r} were encoded for another corpus; run jobs/encode.py again")
        column = table["vector"].combine_chunks()
        present = column.is_valid().to_numpy(zero_copy_only=False)
        width = column.type.list_size
        vectors = np.zeros((len(item_ids), width), np.float32)
        vectors[present] = column.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        features[name] = Modality(vectors, present)
    return features
