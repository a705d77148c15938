"""An item that is put while the service runs: its record, item vector and text vector."""

import numpy as np

from llm4rec.cluster.catalogue import LiveCatalogue
from llm4rec.cluster.entry import Entry, Record
from llm4rec.schema import FloatVector

RECORD = {"title": "Solaris", "text": "A planet.", "categories": ["Drama", "Sci-Fi"], "numbers": {"year": 1972.0}}
VECTOR, TEXT_VECTOR = np.full(16, 0.25, np.float32), np.full(6, 2.0, np.float32)


def put(catalogue: LiveCatalogue, item_id: str, record: Record = RECORD, vector: FloatVector = VECTOR) -> LiveCatalogue:
    """A catalogue with one item more, or with another record of it."""
    return catalogue.put([Entry.of(item_id, record, vector, TEXT_VECTOR)])
