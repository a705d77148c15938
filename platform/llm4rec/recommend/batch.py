"""Slates of many users as one table, and the list of users to make them for."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from llm4rec.errors import DataError
from llm4rec.recommend.slate import Slate
from llm4rec.schema import ITEM_ID, SLATE_SCHEMA, USER_ID


def slates_table(user_ids: Sequence[str], slates: Sequence[Slate], item_ids: Sequence[str]) -> pa.Table:
    """A table of `SLATE_SCHEMA`, one row a position, users in the order given.

    Args:
        user_ids: the user of each slate.
        slates: as many slates.
        item_ids: external ids by item code.
    """
    rows = [(user, slate) for user, slate in zip(user_ids, slates, strict=True) if len(slate.codes)]
    columns = {
        USER_ID: [user for user, slate in rows for _ in slate.codes],
        ITEM_ID: [item_ids[code] for _, slate in rows for code in slate.codes],
        "rank": _joined([np.arange(1, len(slate.codes) + 1, dtype=np.int32) for _, slate in rows]),
        "score": _joined([slate.scores for _, slate in rows]),
        "propensity": _joined([slate.propensity for _, slate in rows]),
    }
    return pa.table(columns, schema=SLATE_SCHEMA)


def read_user_ids(path: str | Path) -> list[str]:
    """The user ids of a file with one a line; blank lines and repeated ids are dropped.

    Raises:
        DataError: the file cannot be read, is not UTF-8 text or names nobody.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"recommend.users {str(path)!r} cannot be read: {error}; give a UTF-8 text file") from None
    user_ids = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not user_ids:
        raise DataError(f"recommend.users {str(path)!r} names no user; write one user id a line")
    return user_ids


def known_users(user_ids: Sequence[str], user_codes: Mapping[str, int]) -> tuple[list[int], list[str]]:
    """Codes of the users the corpus knows, in the order given, and one line about each that it does not."""
    codes = [user_codes[user_id] for user_id in user_ids if user_id in user_codes]
    unknown = [user_id for user_id in user_ids if user_id not in user_codes]
    return codes, [f"unknown user {user_id!r}: not in the corpus, no slate written" for user_id in unknown]


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(arrays) if arrays else np.empty(0)
