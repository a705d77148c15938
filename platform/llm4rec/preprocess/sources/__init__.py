"""Recognises what lies in a source's folder, and says which file and column holds what: one module a format."""

from dataclasses import replace

from llm4rec.preprocess.config import MovieLensConfig, SourceConfig, SyntheticConfig
from llm4rec.preprocess.folder import Folder
from llm4rec.preprocess.sources.amazon import find_amazon
from llm4rec.preprocess.sources.layout import CatalogueFile, DetailFile, Layout, LogFile
from llm4rec.preprocess.sources.movielens import find_movielens
from llm4rec.preprocess.sources.synthetic import find_synthetic
from llm4rec.preprocess.sources.tabular import find_tabular
from llm4rec.preprocess.sources.yelp import find_yelp

__all__ = ["CatalogueFile", "DetailFile", "Layout", "LogFile", "find_layout"]


def find_layout(source: SourceConfig) -> Layout:
    """Recognise the layout of a source.

    Raises:
        DataError: the folder or a needed file is missing or empty, or a named column does not exist; the message says
            what was found and what is expected.
    """
    return replace(_find(source), images=source.images, audio=source.audio)


def _find(source: SourceConfig) -> Layout:
    if source.format == "synthetic":
        return find_synthetic(source.path, source.synthetic or SyntheticConfig())
    folder = Folder(source.path)
    if source.tabular is not None:
        return find_tabular(folder, source.tabular)
    if source.format == "amazon-2023":
        return find_amazon(folder)
    if source.format == "yelp":
        return find_yelp(folder)
    return find_movielens(folder, source.movielens or MovieLensConfig())
