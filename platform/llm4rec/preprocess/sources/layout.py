"""What a source holds: its files, how the bytes of each become columns, and what the columns mean."""

from dataclasses import dataclass
from typing import Literal

from llm4rec.config import StrictModel
from llm4rec.preprocess.config import InteractionsFile, ItemsFile, UsersFile
from llm4rec.preprocess.folder import Folder
from llm4rec.preprocess.records import FileForm


class LogFile(StrictModel):
    """A file of interactions."""

    form: FileForm
    mapping: InteractionsFile


class CatalogueFile(StrictModel):
    """A file of items."""

    form: FileForm
    mapping: ItemsFile
    reader: Literal["plain", "movies", "amazon", "yelp"] = "plain"
    """How a record becomes an item. plain: as `mapping` says. movies: also takes titles such as "Net, The (1995)"
    apart. amazon: picks the main image, and takes a price that cannot be read as unknown. yelp: `mapping.text` is city,
    state and attributes, which become sentences and the price range."""
    flags: tuple[str, ...] = ()
    """0/1 columns that name categories."""
    year: str | None = None
    """Column of release years, where they are not in the titles."""


class DetailFile(StrictModel):
    """A file that says more about items of the catalogue."""

    form: FileForm
    mapping: ItemsFile
    kind: Literal["items", "tags", "genome", "photos"] = "items"
    """What a record is. items: an item, as `mapping` says. tags: a tag (`mapping.text`) that a user gave. genome: how
    relevant a tag is. photos: a photo (`mapping.image`) and its label."""
    tag_names: FileForm | None = None
    """genome only: the file of the tags' names."""


@dataclass(frozen=True)
class Layout:
    """The files of a source.

    Attributes:
        folder: where they are.
        interactions: the log; several files stand in the order of their names.
        items: the catalogue; may be several files.
        details: small files that say more about items of the catalogue.
        users: the users file and what its columns mean, if there is one.
        images: where the image of an item lies inside the folder, with `{item_id}` in the file name.
        audio: the same for sounds.
    """

    folder: Folder
    interactions: tuple[LogFile, ...]
    items: tuple[CatalogueFile, ...] = ()
    details: tuple[DetailFile, ...] = ()
    users: tuple[FileForm, UsersFile] | None = None
    images: str | None = None
    audio: str | None = None

    @property
    def files(self) -> list[str]:
        """Names of the files that are read, sorted, without the media."""
        forms = [file.form for part in (self.interactions, self.items, self.details) for file in part]
        forms += [file.tag_names for file in self.details if file.tag_names is not None]
        return sorted({form.file for form in [*forms, *([self.users[0]] if self.users else [])]})
