"""What a source is and how a corpus is made from it."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from llm4rec.config import StrictModel

ITEM_ID_PLACE = "{item_id}"


class RawFile(StrictModel):
    """A file of a source.

    The ending of the name says the format: .csv, .tsv, .jsonl (or .ndjson, .json: one object a line), .parquet, or
    RecBole's .inter, .item and .user; any other ending (.dat, .txt) is delimited text and needs a `delimiter`. All
    texts may also be .gz. In .csv and .tsv double quotes may enclose values, elsewhere quotes mean nothing.
    """

    file: str = Field(min_length=1)
    """File name inside `source.path`; `../` leads out of it."""
    columns: tuple[str, ...] = ()
    """Names of the columns, in file order, of delimited text that has no header line."""
    delimiter: str | None = Field(default=None, min_length=1)
    """What separates the columns of delimited text, one character or more. None: what the ending says."""
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    """How delimited text is stored."""


class InteractionsFile(RawFile):
    """The file of interactions and the columns that hold them; a row of delimited text is one line.

    `file` may also be a folder, or end in a name with wildcards (`reviews/*.jsonl.gz`): then it is all those files, in
    the order of their names.
    """

    user_id: str = "user_id"
    """Column of user ids."""
    item_id: str = "item_id"
    """Column of item ids."""
    other_item_id: str | None = None
    """Column of the item ids to take where `item_id` is empty."""
    timestamp: str | None = None
    """Column of times: seconds, milliseconds or ISO dates, 20240105 too where most are such; what happened within one
    second stays in order. None: the order of the file stands for time."""
    value: str | None = None
    """Column of values such as ratings. None: every value is 1.0."""
    event: str | None = None
    """Column of event names. None: every event is `default_event`."""
    event_names: dict[str, str] = {}
    """What to call the values of the event column, as in {"true": "purchase", "false": "review"}; any other value stays
    as it is."""
    default_event: str = Field(default="interaction", min_length=1)
    """Event name where there is no event column, or it is empty and `event_names` is given."""
    text: str | None = None
    """Column of texts that users wrote, such as reviews."""

    @property
    def wanted(self) -> list[str]:
        """The columns to read, each once."""
        optional = (self.other_item_id, self.timestamp, self.value, self.event, self.text)
        return list(dict.fromkeys([self.user_id, self.item_id, *(name for name in optional if name)]))


class ItemsFile(RawFile):
    """The catalogue file; every column but the id is optional.

    `file` may be a folder or end in a name with wildcards, as that of the interactions.
    """

    item_id: str = "item_id"
    """Column of item ids."""
    title: str | None = None
    """Column of display titles. None, or an empty cell: the id is the title."""
    titles: Literal["plain", "movielens"] = "plain"
    """movielens: titles such as "Net, The (1995)" become "The Net (1995)", and the year becomes the number `year`."""
    text: tuple[str, ...] = ()
    """Columns of free text, such as a description, joined in this order, without HTML; one name may stand alone."""
    categories: tuple[str, ...] = ()
    """Columns of categories: lists, or text with a separator; one name may stand alone."""
    separator: str = Field(default="|", min_length=1)
    """What separates categories in text."""
    numbers: tuple[str, ...] = ()
    """Columns of numbers, such as a price; "$1,299.00" and "from 12.99" count as numbers too."""
    missing: tuple[str, ...] = ()
    """Cells that mean that a number is not known, beside empty ones, dashes and "n/a": such as "0" for a budget."""
    image: str | None = None
    """Column of images: paths inside `source.path`, URLs or (Parquet) bytes."""
    audio: str | None = None
    """Column of sounds: paths inside `source.path`, URLs or (Parquet) bytes."""

    @field_validator("text", "categories", "numbers", "missing", mode="before")
    @classmethod
    def _one_name_may_stand_alone(cls, value: Any) -> Any:
        if value is None:
            return ()
        return (value,) if isinstance(value, str) else value

    @property
    def wanted(self) -> list[str]:
        """The columns to read, each once."""
        single = (self.title, self.image, self.audio)
        names = (self.item_id, *self.text, *self.categories, *self.numbers, *(name for name in single if name))
        return list(dict.fromkeys(names))


class UsersFile(RawFile):
    """The file of user attributes."""

    user_id: str = "user_id"
    """Column of user ids."""
    attributes: tuple[str, ...] = ()
    """Columns of categorical attributes, kept as text."""
    numbers: tuple[str, ...] = ()
    """Columns of whole-number attributes, such as an age."""
    years: tuple[str, ...] = ()
    """Columns of dates, of which the year is kept."""

    @property
    def wanted(self) -> list[str]:
        """The columns to read, each once."""
        return list(dict.fromkeys([self.user_id, *self.attributes, *self.numbers, *self.years]))


class TabularConfig(StrictModel):
    """Column mapping of a team's own files."""

    interactions: InteractionsFile
    """The interactions; the only file that must exist."""
    items: ItemsFile | None = None
    """The catalogue. None: made from the item ids seen."""
    more_items: tuple[ItemsFile, ...] = ()
    """Files that say more about items of the catalogue, by the same ids: their texts and categories are added to those
    of `items`, their numbers and media fill what is missing there."""
    users: UsersFile | None = None
    """User attributes. None: made from the user ids seen."""

    @model_validator(mode="after")
    def _more_items_add_to_items(self) -> "TabularConfig":
        if self.more_items and self.items is None:
            raise ValueError("more_items needs items: it only adds to a catalogue")
        if named := [more.file for more in self.more_items if more.title or more.titles != "plain"]:
            raise ValueError(f"more_items {named[0]!r} has titles, which only items may; leave title and titles out")
        return self


class MovieLensConfig(StrictModel):
    """What else of a MovieLens folder is read."""

    tags: bool = True
    """Put an item's 10 tags that most users gave it (tags.csv, tags.dat) into its text. Users may have written them
    after the moment that the test part begins at; false for a strict temporal evaluation."""
    genome: bool = True
    """Put an item's 10 most relevant tags of the tag genome (genome-scores.csv, genome-tags.csv) into its text. The
    genome was computed from all tags and reviews of its day; false for a strict temporal evaluation."""


class SyntheticConfig(StrictModel):
    """A world to try things on, whose causal effects are known; see docs/concepts/causal.md."""

    users: int = Field(default=500, ge=10)
    """Users, about half of them women."""
    items: int = Field(default=200, ge=20)
    """Items of six kinds."""
    interactions: int = Field(default=40, ge=5)
    """Interactions of each user."""
    popularity_effect: float = 0.2
    """What one unit of log popularity adds to a man's rating."""
    women_more: float = 0.2
    """What it adds to a woman's beyond that."""
    prominence_effect: float = 0.3
    """What being shown prominently adds to a rating."""
    seed: int = Field(default=0, ge=0)
    """Of everything random."""

    @model_validator(mode="after")
    def _something_is_left_to_show(self) -> "SyntheticConfig":
        if self.interactions >= self.items:
            raise ValueError(f"interactions {self.interactions} must stay below items {self.items}")
        return self


class SourceConfig(StrictModel):
    """Where the raw files are and how to read them."""

    format: Literal["movielens", "amazon-2023", "yelp", "tabular", "synthetic"] = "movielens"
    """movielens: the layout (RecBole atomic, ml-100k, ml-1m, ml-10m, ml-latest/20m/25m/32m) is recognised from the
    files. amazon-2023: Amazon Reviews 2023, one or more categories. yelp: the Yelp Open Dataset. tabular: a team's own
    files. synthetic: a made-up world with known causal effects, written to `path` if nothing is there."""
    path: str = Field(min_length=1)
    """Folder of the source: a local path, s3:// or gs://."""
    images: str | None = None
    """Where the image of an item lies, such as "../posters/{item_id}.jpg", for items that no column gives one. Only
    files that exist count."""
    audio: str | None = None
    """The same for sounds."""
    movielens: MovieLensConfig | None = None
    """Settings that only format movielens has."""
    tabular: TabularConfig | None = None
    """Column mapping; required by, and only allowed with, format tabular."""
    synthetic: SyntheticConfig | None = None
    """Size and effects of a synthetic world."""

    @field_validator("images", "audio")
    @classmethod
    def _item_id_is_in_the_file_name(cls, value: str | None) -> str | None:
        if value is not None and (value.count(ITEM_ID_PLACE) != 1 or ITEM_ID_PLACE not in value.rpartition("/")[2]):
            raise ValueError(f"must hold {ITEM_ID_PLACE} once, in the file name, such as 'images/{ITEM_ID_PLACE}.jpg'")
        return value

    @model_validator(mode="after")
    def _mapping_goes_with_format(self) -> "SourceConfig":
        if self.format == "tabular" and self.tabular is None:
            raise ValueError("format 'tabular' needs a 'tabular' section that names the files and their columns")
        for name in ("movielens", "tabular", "synthetic"):
            if self.format != name and getattr(self, name) is not None:
                raise ValueError(f"a {name!r} section needs format {name!r}, got format {self.format!r}")
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
    chunk_bytes: int = Field(default=16 * 2**20, ge=1)
    """Size of the pieces that the files are read in."""
    bucket_bytes: int = Field(default=32 * 2**20, ge=1)
    """Size, as the raw files have it, of the buckets of users that the interactions are put in order by."""

    @model_validator(mode="after")
    def _train_part_is_not_empty(self) -> "PreprocessConfig":
        if self.valid_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"valid_fraction {self.valid_fraction} + test_fraction {self.test_fraction} must stay below 1"
            )
        return self
