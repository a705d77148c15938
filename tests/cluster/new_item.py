"""An item that is put while the service runs: its record, item vector and text vector."""

import numpy as np

RECORD = {"title": "Solaris", "text": "A planet.", "categories": ["Drama", "Sci-Fi"], "numbers": {"year": 1972.0}}
VECTOR, TEXT_VECTOR = np.full(16, 0.25, np.float32), np.full(6, 2.0, np.float32)
