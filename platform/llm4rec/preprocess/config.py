"""What a source is and how a corpus is made from it."""

from typing import Literal

from pydantic import Field, model_validator

from llm4rec.config import StrictModel


class InteractionsFile(StrictModel):
    """The file of interactions and the columns that hold them.

    The ending of the name says the format: .csv, .tsv, .jsonl (each also .gz) or .parquet. A CSV row is one line.
    """

    file: str
    """File name inside `source.path`."""
    user_id: str = "user_id"
    """Column of user ids."""
    item_id: str = "item_id"
    """Column of item ids."""
    timestamp: str | None = None
    """Column of times: seconds, milliseconds or ISO dates. None: the order of the file stands for time."""
    value: str | None = None
    """Column of values such as ratings. None: every value is 1.0."""
    event: str | None = None
    """Column of event names. None: every event is `default_event`."""
    default_event: str = Field(default="interaction", min_length=1)
    """Event name where there is no event column."""


class ItemsFile(StrictModel):
    """The catalogue file; every column but the id is optional."""

    file: str
    """File name inside `source.path`."""
    item_id: str = "item_id"
    """Column of item ids."""
    title: str | None = None
    """Column of display titles. None, or an empty cell: the id is the title."""
    text: str | None = None
    """Column of free text, such as a description."""
    categories: str | None = None
    """Column of categories: a list, or text with a separator."""
    separator: str = Field(default="|", min_length=1)
    """What separates categories in text."""
    numbers: tuple[str, ...] = ()
    """Columns of numbers, such as a price."""
    image: str | None = None
    """Column of image paths, URLs or (Parquet) bytes."""
    audio: str | None = None
    """Column of audio paths, URLs or (Parquet) bytes."""


class UsersFile(StrictModel):
    """The file of user attributes."""

    file: str
    """File name inside `source.path`."""
    user_id: str = "user_id"
    """Column of user ids."""
    attributes: tuple[str, ...] = ()
    """Columns of categorical attributes, kept as text."""
    numbers: tuple[str, ...] = ()
    """Columns of whole-number attributes, such as an age."""


class TabularConfig(StrictModel):
    """Column mapping of a team's own files."""

    interactions: InteractionsFile
    """The interactions; the only file that must exist."""
    items: ItemsFile | None = None
    """The catalogue. None: made from the item ids seen."""
    users: UsersFile | None = None
    """User attributes. None: made from the user ids seen."""


class SourceConfig(StrictModel):
    """Where the raw files are and how to read them."""

    format: Literal["movielens", "tabular"] = "movielens"
    """movielens: the layout (RecBole atomic, ml-100k, ml-1m, ml-latest/25m/32m) is recognised from the files."""
    path: str = Field(min_length=1)
    """Folder of the source: a local path, s3:// or gs://."""
    tabular: TabularConfig | None = None
    """Column mapping; required by, and only allowed with, format tabular."""

    @model_validator(mode="after")
    def _mapping_goes_with_format(self) -> "SourceConfig":
        if self.format == "tabular" and self.tabular is None:
            raise ValueError("format 'tabular' needs a 'tabular' section that names the files and their columns")
        if self.format != "tabular" and self.tabular is not None:
            raise ValueError(f"a 'tabular' section needs format 'tabular', got format {self.format!r}")
        return self


class PreprocessConfig(StrictModel):
    """Filters and splits."""

    min_user_interactions: int = Field(default=5, ge=1)
    """k-core: users with fewer interactions are left out, repeated with items until nothing changes."""
    min_item_interactions: int = Field(default=5, ge=1)
    """k-core: items with fewer interactions are left out of the interactions (they stay in the catalogue, cold)."""
    max_users: int | None = Field(default=None, ge=1)
    """Keep only this many users, the first by sha256 of their id, before the k-core. For smoke runs."""
    valid_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of interactions, by time, in the temporal split's valid part."""
    test_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of interactions, by time, in the temporal split's test part."""
    chunk_bytes: int = Field(default=64 * 2**20, ge=1)
    """Size of the pieces that the interactions are read in."""

    @model_validator(mode="after")
    def _train_part_is_not_empty(self) -> "PreprocessConfig":
        if self.valid_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"valid_fraction {self.valid_fraction} + test_fraction {self.test_fraction} must stay below 1"
            )
        return self
