"""User attributes as groups: every user column that divides the users into a few levels."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from llm4rec.debias.config import DebiasConfig
from llm4rec.errors import DataError
from llm4rec.schema import USER_ID, FloatMatrix, IntVector

MAX_LEVELS = 25
UNKNOWN, OTHER = "unknown", "other"


@dataclass(frozen=True)
class Attribute:
    """One user column as groups.

    Attributes:
        name: the column.
        codes: shape (U,), the level of each user.
        levels: what the codes stand for.
    """

    name: str
    codes: IntVector
    levels: tuple[str, ...]

    def indicators(self) -> FloatMatrix:
        """One 0/1 column a level but the first (the reference), shape (U, levels - 1)."""
        return (self.codes[:, None] == np.arange(1, len(self.levels))).astype(np.float32)


def user_attributes(users: pa.Table, config: DebiasConfig) -> list[Attribute]:
    """The attributes of the users that effects are reported for.

    Nulls form the level `unknown`, levels below `min_group_users` the level `other`. A column that is named in
    the config is kept even with one level, so that the caller can say so.

    Raises:
        DataError: a configured column does not exist or has too many levels.
    """
    columns = [name for name in users.column_names if name != USER_ID]
    if config.groups is None:
        found = [_attribute(users, name, config) for name in columns]
        return [attribute for attribute in found if 2 <= len(attribute.levels) <= MAX_LEVELS]
    return [_named(users, name, columns, config) for name in config.groups]


def _named(users: pa.Table, name: str, columns: list[str], config: DebiasConfig) -> Attribute:
    if name not in columns:
        raise DataError(
            f"debias.groups names {name!r}, which is no user column; available: {', '.join(columns) or 'none'}"
        )
    attribute = _attribute(users, name, config)
    if len(attribute.levels) > MAX_LEVELS:
        raise DataError(
            f"debias.groups: column {name!r} has {len(attribute.levels)} levels of at least "
            f"{config.min_group_users} users, at most {MAX_LEVELS} can be reported; raise debias.min_group_users"
        )
    return attribute


def _attribute(users: pa.Table, name: str, config: DebiasConfig) -> Attribute:
    values = users[name].to_pandas()
    if name == "age":  # sources often carry it as text
        values = _as_numbers(values)
    if pd.api.types.is_numeric_dtype(values) and values.nunique() > config.numeric_bins:
        labels, order = _quantile_bins(values, config.numeric_bins)
    else:
        labels = values.astype("string").astype("object")
        order = sorted(labels.dropna().unique())
    labels = labels.where(labels.notna(), UNKNOWN)
    counts = labels.value_counts()
    rare = set(counts.index[counts < config.min_group_users])
    if len(rare) > 1:
        labels = labels.where(~labels.isin(rare), OTHER)
    present = set(labels)
    levels = tuple(level for level in dict.fromkeys([*order, OTHER, UNKNOWN]) if level in present)
    codes = labels.map({level: code for code, level in enumerate(levels)})
    return Attribute(name, codes.to_numpy().astype(np.int32), levels)


def _as_numbers(values: pd.Series) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce")
    return numbers if numbers.notna().sum() == values.notna().sum() else values


def _quantile_bins(values: pd.Series, bins: int) -> tuple[pd.Series, list[str]]:
    """Labels such as `25 to 31` (the smallest and largest value in the bin), and their order."""
    codes = pd.qcut(values, bins, labels=False, duplicates="drop")
    spans = values.groupby(codes).agg(["min", "max"])
    names = {code: f"{low:g} to {high:g}" for code, low, high in spans.itertuples()}
    return codes.map(names).astype("object"), list(names.values())
