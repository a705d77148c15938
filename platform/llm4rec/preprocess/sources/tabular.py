"""A team's own files, with a column mapping."""

from collections.abc import Iterator

from llm4rec.preprocess.config import InteractionsFile, ItemsFile, TabularConfig, UsersFile
from llm4rec.preprocess.folder import Folder
from llm4rec.preprocess.records import FileForm
from llm4rec.preprocess.sources.forms import find_form, require_keys
from llm4rec.preprocess.sources.layout import CatalogueFile, DetailFile, Layout, LogFile


def find_tabular(folder: Folder, config: TabularConfig) -> Layout:
    """Find the files that a mapping names; folders and patterns become one entry a file.

    Raises:
        DataError: a named file is missing or empty, its form is not known, or a named column does not exist.
    """
    log = config.interactions
    logs = (log.model_copy(update={"file": file}) for file in folder.matching(log.file))
    users = config.users
    return Layout(
        folder,
        tuple(LogFile(form=_form(folder, mapping), mapping=mapping) for mapping in logs),
        tuple(_catalogue_file(folder, mapping) for mapping in _each(folder, config.items)),
        tuple(
            DetailFile(form=_form(folder, mapping), mapping=mapping)
            for more in config.more_items
            for mapping in _each(folder, more)
        ),
        (_form(folder, users), users) if users else None,
    )


def _form(folder: Folder, mapping: InteractionsFile | ItemsFile | UsersFile) -> FileForm:
    """The form of a file whose columns somebody has named, and may have misspelt."""
    form = find_form(folder, mapping, mapping.wanted)
    if form.kind == "jsonl":
        require_keys(folder, mapping.file, mapping.wanted)
    return form


def _each(folder: Folder, mapping: ItemsFile | None) -> Iterator[ItemsFile]:
    if mapping is not None:
        for file in folder.matching(mapping.file):
            yield mapping.model_copy(update={"file": file})


def _catalogue_file(folder: Folder, mapping: ItemsFile) -> CatalogueFile:
    form = _form(folder, mapping)
    return CatalogueFile(form=form, mapping=mapping, reader="movies" if mapping.titles == "movielens" else "plain")
