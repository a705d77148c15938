"""MovieLens as it is published: RecBole's atomic files, ml-100k, ml-1m, ml-10m, and the CSV folders from ml-20m on."""

from collections.abc import Callable

from llm4rec.errors import DataError
from llm4rec.preprocess.config import InteractionsFile, ItemsFile, MovieLensConfig, UsersFile
from llm4rec.preprocess.folder import Folder, shown
from llm4rec.preprocess.records import FileForm
from llm4rec.preprocess.sources.forms import find_form, require, stored
from llm4rec.preprocess.sources.layout import CatalogueFile, DetailFile, Layout, LogFile

# The flags of u.item, in file order.
ML100K_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
EXPECTED = (
    "one of: *.inter (RecBole, with *.item and *.user), u.data (ml-100k, with u.item and u.user), ratings.dat (ml-1m "
    "and ml-10m, with movies.dat, users.dat, tags.dat), ratings.csv (ml-latest, 20m, 25m, 32m, with movies.csv, "
    "tags.csv, genome-scores.csv and genome-tags.csv); each also as .gz"
)
USER_COLUMN = "userId"
"""The column of a tags file that says who gave the tag."""
_TAG_COLUMNS = (USER_COLUMN, "movieId", "tag", "timestamp")
_RATING_COLUMNS = ("user_id", "item_id", "rating", "timestamp")


def find_movielens(folder: Folder, config: MovieLensConfig) -> Layout:
    """Recognise a MovieLens folder.

    Raises:
        DataError: no layout fits, or a file is empty or lacks a column.
    """
    names = folder.names()
    inter = [name for name in names if name.removesuffix(".gz").endswith(".inter")]
    if len(inter) > 1:
        raise DataError(
            f"{folder.location!r} holds {len(inter)} logs, {shown(inter)}; put all interactions into one file, which "
            "run.split splits"
        )
    if inter:
        return _recbole(folder, names, inter[0])
    layouts: dict[str, Callable[[Folder, list[str], str, MovieLensConfig], Layout]] = {
        "u.data": _ml_100k,
        "ratings.dat": _ml_1m,
        "ratings.csv": _ml_latest,
    }
    for file, layout in layouts.items():
        if ratings := stored(names, file):
            return layout(folder, names, ratings, config)
    raise DataError(f"no MovieLens data in {folder.location!r}: found {shown(names)}; expected {EXPECTED}")


def _recbole(folder: Folder, names: list[str], inter: str) -> Layout:
    stem = inter.removesuffix(".gz").removesuffix(".inter")
    items, users = stored(names, f"{stem}.item"), stored(names, f"{stem}.user")
    catalogue: tuple[CatalogueFile, ...] = ()
    if items:
        form = find_form(folder, ItemsFile(file=items), ["item_id", "movie_title", "release_year"])
        genres = "genre" if "genre" in form.columns else "class"
        require(items, form.columns, [genres])
        mapping = ItemsFile(file=items, title="movie_title", categories=(genres,), separator=" ")
        catalogue = (CatalogueFile(form=form, mapping=mapping, reader="movies", year="release_year"),)
    ratings = _ratings(inter)
    people = UsersFile(file=users, attributes=("gender", "occupation"), numbers=("age",)) if users else None
    return Layout(folder, (_log(folder, ratings),), catalogue, users=_people(folder, people))


def _ml_100k(folder: Folder, names: list[str], ratings: str, config: MovieLensConfig) -> Layout:
    log = _ratings(ratings, columns=_RATING_COLUMNS, delimiter="\t", encoding="latin-1")
    catalogue: tuple[CatalogueFile, ...] = ()
    if items := stored(names, "u.item"):
        columns = ("item_id", "title", "released", "video_released", "url", *ML100K_GENRES)
        mapping = ItemsFile(file=items, columns=columns, delimiter="|", encoding="latin-1", title="title")
        form = find_form(folder, mapping, mapping.wanted)
        catalogue = (CatalogueFile(form=form, mapping=mapping, reader="movies", flags=ML100K_GENRES[1:]),)
    users = _users(stored(names, "u.user"), ("user_id", "age", "gender", "occupation", "zip"), "|")
    return Layout(folder, (_log(folder, log),), catalogue, users=_people(folder, users))


def _ml_1m(folder: Folder, names: list[str], ratings: str, config: MovieLensConfig) -> Layout:
    """Of ml-1m and ml-10m; only the latter has tags, and only it is UTF-8."""
    tags = stored(names, "tags.dat")
    written = {"delimiter": "::", "encoding": "utf-8" if tags else "latin-1"}
    log = _ratings(ratings, columns=_RATING_COLUMNS, **written)
    catalogue: tuple[CatalogueFile, ...] = ()
    if items := stored(names, "movies.dat"):
        columns = ("item_id", "title", "genres")
        mapping = ItemsFile(file=items, columns=columns, title="title", categories=("genres",), **written)
        form = find_form(folder, mapping, mapping.wanted)
        catalogue = (CatalogueFile(form=form, mapping=mapping, reader="movies"),)
    details = _tags(folder, ItemsFile(file=tags, columns=_TAG_COLUMNS, **written)) if tags and config.tags else ()
    users = _users(stored(names, "users.dat"), ("user_id", "gender", "age", "occupation", "zip"), "::")
    return Layout(folder, (_log(folder, log),), catalogue, details, _people(folder, users))


def _ml_latest(folder: Folder, names: list[str], ratings: str, config: MovieLensConfig) -> Layout:
    log = _ratings(ratings, user_id="userId", item_id="movieId")
    if not (items := stored(names, "movies.csv")):
        return Layout(folder, (_log(folder, log),))
    mapping = ItemsFile(file=items, item_id="movieId", title="title", categories=("genres",))
    catalogue = CatalogueFile(form=find_form(folder, mapping, mapping.wanted), mapping=mapping, reader="movies")
    details: tuple[DetailFile, ...] = ()
    if config.tags and (tags := stored(names, "tags.csv")):
        details += _tags(folder, ItemsFile(file=tags))
    scores, tag_names = stored(names, "genome-scores.csv"), stored(names, "genome-tags.csv")
    if config.genome and scores and tag_names:
        details += _genome(folder, scores, tag_names)
    return Layout(folder, (_log(folder, log),), (catalogue,), details)


def _ratings(file: str, **settings: object) -> InteractionsFile:
    roles = {"timestamp": "timestamp", "value": "rating", "default_event": "rating"}
    return InteractionsFile.model_validate({"file": file, **roles, **settings})


def _log(folder: Folder, mapping: InteractionsFile) -> LogFile:
    return LogFile(form=find_form(folder, mapping, mapping.wanted), mapping=mapping)


def _tags(folder: Folder, raw: ItemsFile) -> tuple[DetailFile, ...]:
    mapping = raw.model_copy(update={"item_id": "movieId", "text": ("tag",)})
    return (DetailFile(form=find_form(folder, mapping, [USER_COLUMN, *mapping.wanted]), mapping=mapping, kind="tags"),)


def _genome(folder: Folder, scores: str, tag_names: str) -> tuple[DetailFile, ...]:
    mapping = ItemsFile(file=scores, item_id="movieId", text=("tagId",), numbers=("relevance",))
    form = find_form(folder, mapping, mapping.wanted)
    named = find_form(folder, ItemsFile(file=tag_names), ["tagId", "tag"])
    return (DetailFile(form=form, mapping=mapping, kind="genome", tag_names=named),)


def _users(file: str | None, columns: tuple[str, ...], delimiter: str) -> UsersFile | None:
    if file is None:
        return None
    written = {"columns": columns, "delimiter": delimiter, "encoding": "latin-1"}
    roles = {"attributes": ("gender", "occupation"), "numbers": ("age",)}
    return UsersFile.model_validate({"file": file, **written, **roles})


def _people(folder: Folder, mapping: UsersFile | None) -> tuple[FileForm, UsersFile] | None:
    return None if mapping is None else (find_form(folder, mapping, mapping.wanted), mapping)
