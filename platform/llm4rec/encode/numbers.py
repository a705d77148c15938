"""Numbers as vectors."""

import numpy as np
import pyarrow as pa

from llm4rec.schema import NUMBERS, FloatMatrix, FloatVector, Modality

# Prices and counts have long tails: beyond this many inter-quartile ranges only the side matters.
_LIMIT = 5.0


def encode_numbers(items: pa.Table) -> Modality | None:
    """Robustly scaled numbers and, behind them, one flag a number that says it is missing.

    A number x becomes (x - median) / IQR over the items that have it, cut at +-5; with an IQR of 0 it is only
    centred. A missing number is 0 with flag 1.

    Returns:
        Aligned to the rows of `items`, D = 2 x numbers, in the order of the `numbers` struct; items without any
        number are absent. None where no item has any.
    """
    column = items[NUMBERS].combine_chunks()
    if not pa.types.is_struct(column.type):
        return None
    # `flatten` carries the nulls of a whole struct into its fields.
    values = np.stack([field.cast(pa.float64()).to_numpy(zero_copy_only=False) for field in column.flatten()], axis=1)
    missing = ~np.isfinite(values)
    present = ~missing.all(axis=1)
    if not present.any():
        return None
    scaled = np.stack([_scale(values[:, place], missing[:, place]) for place in range(values.shape[1])], axis=1)
    vectors: FloatMatrix = np.concatenate([scaled, missing.astype(np.float32)], axis=1)
    vectors[~present] = 0
    return Modality(vectors, present)


def _scale(values: np.ndarray, missing: np.ndarray) -> FloatVector:
    scaled = np.zeros(len(values), np.float32)
    known = values[~missing]
    if len(known):
        low, median, high = np.percentile(known, [25, 50, 75])
        scaled[~missing] = np.clip((known - median) / (high - low or 1.0), -_LIMIT, _LIMIT)
    return scaled
