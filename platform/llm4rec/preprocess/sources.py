"""Recognises what lies in a source's folder, and says which file and column holds what."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from llm4rec.errors import DataError
from llm4rec.preprocess.config import InteractionsFile, ItemsFile, SourceConfig, TabularConfig, UsersFile
from llm4rec.preprocess.folder import Folder
from llm4rec.preprocess.records import FileForm

# The flags of u.item, in file order.
ML100K_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
EXPECTED = (
    "one of: *.inter (RecBole, with *.item and *.user), u.data (ml-100k, with u.item and u.user), ratings.dat (ml-1m, "
    "with movies.dat and users.dat), ratings.csv (ml-latest, 25m, 32m, with movies.csv); each also as .gz"
)
_RATING = "rating"


@dataclass(frozen=True)
class Layout:
    """The files of a source with their forms and column roles.

    Attributes:
        folder: where they are.
        interactions: the interactions file and how to read it.
        items: the catalogue, if there is one.
        users: the users file, if there is one.
        movies: whether titles follow MovieLens habits ("Net, The (1995)").
        year: column of release years, where it is not in the title.
        flags: 0/1 columns that name categories.
    """

    folder: Folder
    interactions: tuple[FileForm, InteractionsFile]
    items: tuple[FileForm, ItemsFile] | None = None
    users: tuple[FileForm, UsersFile] | None = None
    movies: bool = False
    year: str | None = None
    flags: tuple[str, ...] = ()

    @property
    def files(self) -> list[str]:
        """Names of the files that are read, sorted."""
        parts = (self.interactions, self.items, self.users)
        return sorted({part[0].file for part in parts if part is not None})


def find_layout(source: SourceConfig) -> Layout:
    """Recognise the layout of a source.

    Raises:
        DataError: the folder or a named file is missing or empty, a named column does not exist, or no MovieLens
            layout fits; the message says what was found and what is expected.
    """
    folder = Folder(source.path)
    if source.tabular is not None:
        return _tabular(folder, source.tabular)
    names = set(folder.names())
    inter = next((name for name in sorted(names) if name.removesuffix(".gz").endswith(".inter")), None)
    if inter is not None:
        return _recbole(folder, names, inter)
    for file, layout in (("u.data", _ml_100k), ("ratings.dat", _ml_1m), ("ratings.csv", _ml_latest)):
        if _stored(names, file):
            return layout(folder, names)
    found = ", ".join(sorted(names)[:8]) or "no files"
    raise DataError(f"no MovieLens data in {source.path!r}: found {found}; expected {EXPECTED}")


def _stored(names: set[str], file: str) -> str | None:
    """The name that a file is stored under, plain or compressed."""
    return next((name for name in (file, f"{file}.gz") if name in names), None)


def _recbole(folder: Folder, names: set[str], inter: str) -> Layout:
    stem = inter.removesuffix(".gz").removesuffix(".inter")
    items, users = _stored(names, f"{stem}.item"), _stored(names, f"{stem}.user")
    ratings = InteractionsFile(file=inter, timestamp="timestamp", value="rating", default_event=_RATING)
    catalogue = people = None
    if items:
        mapping = ItemsFile(file=items, title="movie_title", categories="class", separator=" ")
        catalogue = (_recbole_form(folder, items, _item_columns(mapping) | {"release_year"}), mapping)
    if users:
        attributes = UsersFile(file=users, attributes=("gender", "occupation"), numbers=("age",))
        people = (_recbole_form(folder, users, _user_columns(attributes)), attributes)
    form = _recbole_form(folder, inter, _interaction_columns(ratings))
    return Layout(folder, (form, ratings), catalogue, people, movies=True, year="release_year")


def _recbole_form(folder: Folder, file: str, wanted: set[str]) -> FileForm:
    """Tab separated; every name in the header carries its type: `user_id:token`."""
    columns = tuple(name.partition(":")[0] for name in folder.first_line(file).split("\t"))
    _require(file, columns, wanted)
    return FileForm(file=file, kind="delimited", columns=columns, delimiter="\t", header=True)


def _ml_100k(folder: Folder, names: set[str]) -> Layout:
    ratings = _ratings(_stored(names, "u.data"))
    columns = ("item_id", "title", "released", "video_released", "url", *ML100K_GENRES)
    items = _movies(folder, names, "u.item", "|", columns, ItemsFile(file="u.item", title="title"))
    users = _people(folder, names, "u.user", "|", ("user_id", "age", "gender", "occupation", "zip"))
    form = _headless(ratings.file, "\t", ("user_id", "item_id", "rating", "timestamp"))
    return Layout(folder, (form, ratings), items, users, movies=True, flags=ML100K_GENRES[1:])


def _ml_1m(folder: Folder, names: set[str]) -> Layout:
    ratings = _ratings(_stored(names, "ratings.dat"))
    mapping = ItemsFile(file="movies.dat", title="title", categories="genres")
    items = _movies(folder, names, "movies.dat", "::", ("item_id", "title", "genres"), mapping)
    users = _people(folder, names, "users.dat", "::", ("user_id", "gender", "age", "occupation", "zip"))
    form = _headless(ratings.file, "::", ("user_id", "item_id", "rating", "timestamp"))
    return Layout(folder, (form, ratings), items, users, movies=True)


def _ml_latest(folder: Folder, names: set[str]) -> Layout:
    ratings = InteractionsFile(
        file=_stored(names, "ratings.csv") or "",
        user_id="userId",
        item_id="movieId",
        timestamp="timestamp",
        value="rating",
        default_event=_RATING,
    )
    items = None
    if file := _stored(names, "movies.csv"):
        mapping = ItemsFile(file=file, item_id="movieId", title="title", categories="genres")
        items = (_form(folder, file, _item_columns(mapping)), mapping)
    return Layout(folder, (_form(folder, ratings.file, _interaction_columns(ratings)), ratings), items, movies=True)


def _ratings(file: str | None) -> InteractionsFile:
    return InteractionsFile(file=file or "", timestamp="timestamp", value="rating", default_event=_RATING)


def _headless(file: str, delimiter: str, columns: tuple[str, ...]) -> FileForm:
    return FileForm(file=file, kind="delimited", columns=columns, delimiter=delimiter, encoding="latin-1")


def _movies(
    folder: Folder, names: set[str], file: str, delimiter: str, columns: tuple[str, ...], mapping: ItemsFile
) -> tuple[FileForm, ItemsFile] | None:
    stored = _stored(names, file)
    if stored is None:
        return None
    folder.size(stored)
    return _headless(stored, delimiter, columns), mapping


def _people(
    folder: Folder, names: set[str], file: str, delimiter: str, columns: tuple[str, ...]
) -> tuple[FileForm, UsersFile] | None:
    stored = _stored(names, file)
    if stored is None:
        return None
    folder.size(stored)
    mapping = UsersFile(file=stored, attributes=("gender", "occupation"), numbers=("age",))
    return _headless(stored, delimiter, columns), mapping


def _tabular(folder: Folder, mapping: TabularConfig) -> Layout:
    log, items, users = mapping.interactions, mapping.items, mapping.users
    return Layout(
        folder,
        (_form(folder, log.file, _interaction_columns(log)), log),
        (_form(folder, items.file, _item_columns(items)), items) if items else None,
        (_form(folder, users.file, _user_columns(users)), users) if users else None,
    )


def _form(folder: Folder, file: str, wanted: set[str]) -> FileForm:
    """The form that a file's ending says, with its columns checked where the file lists them."""
    folder.size(file)
    ending = file.removesuffix(".gz").rpartition(".")[2].lower()
    if ending == "parquet":
        _require(file, _parquet_columns(folder, file), wanted)
        return FileForm(file=file, kind="parquet")
    if ending in {"jsonl", "ndjson", "json"}:
        return FileForm(file=file, kind="jsonl")
    if ending not in {"csv", "tsv"}:
        raise DataError(f"{file}: format not known by its ending; use .csv, .tsv, .jsonl (also .gz) or .parquet")
    delimiter = "," if ending == "csv" else "\t"
    columns = tuple(name.strip('"') for name in folder.first_line(file).split(delimiter))
    _require(file, columns, wanted)
    return FileForm(file=file, kind="delimited", columns=columns, delimiter=delimiter, quote=True, header=True)


def _parquet_columns(folder: Folder, file: str) -> Sequence[str]:
    try:
        with folder.open(file) as stream:
            return list(pq.read_schema(stream).names)
    except pa.ArrowInvalid as error:
        raise DataError(f"{file} in {folder.location!r} is not a Parquet file: {error}") from None


def _require(file: str, columns: Sequence[str], wanted: set[str]) -> None:
    if missing := sorted(wanted - set(columns)):
        raise DataError(f"{file}: no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, columns))}")


def _interaction_columns(mapping: InteractionsFile) -> set[str]:
    return {mapping.user_id, mapping.item_id} | _named(mapping.timestamp, mapping.value, mapping.event)


def _item_columns(mapping: ItemsFile) -> set[str]:
    optional = _named(mapping.title, mapping.text, mapping.categories, mapping.image, mapping.audio)
    return {mapping.item_id, *mapping.numbers} | optional


def _user_columns(mapping: UsersFile) -> set[str]:
    return {mapping.user_id, *mapping.attributes, *mapping.numbers}


def _named(*columns: str | None) -> set[str]:
    return {column for column in columns if column is not None}
