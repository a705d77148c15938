"""A small log with structure that a recommender can learn."""

import numpy as np
import pyarrow as pa

from llm4rec.schema import ITEM_ID, TEST, TITLE, TRAIN, USER_ID, VALID, Corpus, Interactions

NUM_USERS, NUM_WARM, NUM_COLD, LENGTH = 60, 24, 2, 7
LOOP = 6  # items go round in loops of six: 0 1 2 3 4 5 0 ..., 6 7 ... 11 6 ...


def loops_corpus(seed: int = 0, test_items: str = "next") -> Corpus:
    """Users walk round one of four loops, loop 0 most of them; test items may be scrambled."""
    rng = np.random.default_rng(seed)
    loop = rng.choice(NUM_WARM // LOOP, NUM_USERS, p=[0.55, 0.15, 0.15, 0.15])
    start = rng.integers(0, LOOP, NUM_USERS)
    items = loop[:, None] * LOOP + (start[:, None] + np.arange(LENGTH)) % LOOP
    if test_items == "scrambled":
        items[:, -1] = rng.integers(0, NUM_WARM, NUM_USERS)
    split = np.tile([TRAIN] * (LENGTH - 2) + [VALID, TEST], NUM_USERS)
    size = NUM_USERS * LENGTH
    interactions = Interactions(
        user=np.repeat(np.arange(NUM_USERS), LENGTH).astype(np.int32),
        item=items.ravel().astype(np.int32),
        timestamp=np.tile(np.arange(LENGTH), NUM_USERS).astype(np.int64),
        value=np.ones(size, np.float32),
        event=np.zeros(size, np.int32),
        split=split.astype(np.int32),
    )
    names = [f"i{code}" for code in range(NUM_WARM + NUM_COLD)]
    users = pa.table({USER_ID: [f"u{code}" for code in range(NUM_USERS)]})
    return Corpus(interactions, pa.table({ITEM_ID: names, TITLE: names}), users, ("view",), NUM_WARM)
