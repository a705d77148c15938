"""Labels that cut the users of an evaluation set into slices."""

import numpy as np
import pyarrow as pa

from llm4rec.evaluate.metrics import Labels
from llm4rec.schema import Corpus, IntVector

UNKNOWN = "unknown"
NUM_BANDS = 4


def user_groups(corpus: Corpus, attribute: str, users: IntVector) -> Labels:
    """The value of an attribute for each user, shape (len(users),), "unknown" where it is null, empty or NaN.

    A numeric attribute with more than four values is cut into four bands at its quartiles, named by the lowest and the
    highest value in each.
    """
    column = corpus.users[attribute]
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        values = np.array([np.nan if v is None else float(v) for v in column.to_pylist()])[users]
        if len(np.unique(values[~np.isnan(values)])) > NUM_BANDS:
            return _bands(values)
    labels = [UNKNOWN if _is_unknown(value) else str(value) for value in column.to_pylist()]
    return np.array(labels)[users]


def _is_unknown(value: object) -> bool:
    return value is None or value == "" or (isinstance(value, float) and np.isnan(value))


TARGETS = ("popular", "middle", "tail")


def target_popularity(popular: np.ndarray, popularity: IntVector, targets: IntVector) -> Labels:
    """Where each target stands in the catalogue: "popular", "middle", or "tail" (the less popular half)."""
    middle = popularity > np.median(popularity)
    return np.where(popular[targets], "popular", np.where(middle[targets], "middle", "tail"))


def _bands(values: np.ndarray) -> Labels:
    known = values[~np.isnan(values)]
    edges = np.unique(np.quantile(known, np.linspace(0, 1, NUM_BANDS + 1)))
    # The last band holds its upper edge too.
    band = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(len(edges) - 2, 0))
    labels = np.full(len(values), UNKNOWN, dtype=object)
    for number in np.unique(band[~np.isnan(values)]).tolist():
        members = (band == number) & ~np.isnan(values)
        low, high = values[members].min(), values[members].max()
        labels[members] = f"{low:.15g} to {high:.15g}" if low < high else f"{low:.15g}"
    return labels.astype(str)
