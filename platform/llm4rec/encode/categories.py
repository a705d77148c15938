"""Categories as vectors."""

import numpy as np
import pyarrow as pa

from llm4rec.schema import CATEGORIES, Modality


def encode_categories(items: pa.Table) -> Modality | None:
    """Multi-hot categories scaled to length 1: an item with k distinct categories has 1 / sqrt(k) at each.

    Returns:
        Aligned to the rows of `items`, one column a category in alphabetical order; items without categories are
        absent. None where no item has any.
    """
    rows = [sorted(set(row or ())) for row in items[CATEGORIES].to_pylist()]
    names = sorted({name for row in rows for name in row})
    if not names:
        return None
    places = {name: place for place, name in enumerate(names)}
    vectors = np.zeros((len(rows), len(names)), np.float32)
    for vector, row in zip(vectors, rows, strict=True):
        if row:
            vector[[places[name] for name in row]] = 1 / np.sqrt(len(row))
    return Modality(vectors, np.asarray([bool(row) for row in rows], bool))
